/* SPDX-License-Identifier: Apache-2.0 */
// A ring that thinks a tier has no memory any more before all of it is gone.
// Caught: tiers.go-back owns: [0-9]+ blocks of memory are left, and there were [0-9]+
#define cipc_reclaim_tidy tidy_right
#include "ring/reclaim.c"
#undef cipc_reclaim_tidy

void cipc_reclaim_tidy(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  uint64_t touched[CIPC_RING_TIERS];
  for (uint32_t tier = 1; tier < ring->tier_count; tier++) {
    touched[tier] = control->touched[tier];
    if (cipc_index_records(*ring->low, control->tail) == 0) control->touched[tier] = 0;
  }
  for (uint32_t tier = 1; tier < ring->tier_count; tier++) {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    control->touched[tier] = touched[tier];
  }
  tidy_right(ring);
}
