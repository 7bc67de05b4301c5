/* SPDX-License-Identifier: Apache-2.0 */
// A ring that thinks a rung has no memory any more before all of it is gone.
// Caught: ladder.go-back owns: [0-9]+ blocks of memory are left, and there were [0-9]+
#define cipc_ladder_tidy tidy_right
#include "ring/ladder.c"
#undef cipc_ladder_tidy

void cipc_ladder_tidy(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  uint64_t touched[CIPC_RING_RUNGS];
  for (uint32_t rung = 1; rung < ring->rung_count; rung++) {
    touched[rung] = control->touched[rung];
    if (cipc_index_records(*ring->low, control->tail) == 0) control->touched[rung] = 0;
  }
  for (uint32_t rung = 1; rung < ring->rung_count; rung++) {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    control->touched[rung] = touched[rung];
  }
  tidy_right(ring);
}
