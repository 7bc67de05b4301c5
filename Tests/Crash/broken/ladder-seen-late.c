/* SPDX-License-Identifier: Apache-2.0 */
// A ring that goes back to its first rung while producers still go by what they saw there long ago:
// killed before they see anew, the next goes where the head is.
#define cipc_ladder_tidy tidy_right
#include "ladder.c"
#undef cipc_ladder_tidy

void cipc_ladder_tidy(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  if (ring->rung_count == 1 || cipc_producer_enter(ring, CIPC_IMMEDIATELY) < 0) return;
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_RELAXED);
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  if (cipc_index_records(low, tail) == 0 && cipc_index_rung(tail) != 0) {
    uint64_t number = cipc_index_number(tail);
    __atomic_store_n(&control->closed[cipc_index_rung(tail)],
                     cipc_index_make(0, cipc_index_position(tail), number), __ATOMIC_RELAXED);
    __atomic_store_n(&control->tail, cipc_index_make(0, 0, number), __ATOMIC_SEQ_CST);
    go_back(ring, tail);
  }
  cipc_producer_leave(ring);
  tidy_right(ring);
}
