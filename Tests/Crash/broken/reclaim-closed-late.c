/* SPDX-License-Identifier: Apache-2.0 */
// A ring that goes back to its first tier before it says so where it was: killed in between, nobody
// finds the way.
// Caught: tiers.go-back owns: a record of 0 bytes has number 0
#define cipc_reclaim_tidy tidy_right
#include "ring/reclaim.c"
#undef cipc_reclaim_tidy

void cipc_reclaim_tidy(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  if (ring->tier_count == 1 || cipc_producers_enter(ring, CIPC_IMMEDIATELY) < 0) return;
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_RELAXED);
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  if (cipc_index_records(low, tail) == 0 && cipc_index_tier(tail) != 0) {
    cipc_index_t first = cipc_index_make(0, 0, cipc_index_number(tail));
    __atomic_store_n(&control->seen_low, low, __ATOMIC_RELAXED);
    __atomic_store_n(&control->tail, first, __ATOMIC_SEQ_CST);
    go_back(ring, tail);
  }
  cipc_producers_leave(ring);
  tidy_right(ring);
}
