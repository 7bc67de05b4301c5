/* SPDX-License-Identifier: Apache-2.0 */
// A ring that goes back to its first rung before it says so where it was: killed in between, nobody
// finds the way.
// Caught: ladder.go-back owns: a record of 0 bytes has number 0
#define cipc_ladder_tidy tidy_right
#include "ring/ladder.c"
#undef cipc_ladder_tidy

void cipc_ladder_tidy(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  if (ring->rung_count == 1 || cipc_producer_enter(ring, CIPC_IMMEDIATELY) < 0) return;
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_RELAXED);
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  if (cipc_index_records(low, tail) == 0 && cipc_index_rung(tail) != 0) {
    cipc_index_t first = cipc_index_make(0, 0, cipc_index_number(tail));
    __atomic_store_n(&control->seen_low, low, __ATOMIC_RELAXED);
    __atomic_store_n(&control->tail, first, __ATOMIC_SEQ_CST);
    go_back(ring, tail);
  }
  cipc_producer_leave(ring);
  tidy_right(ring);
}
