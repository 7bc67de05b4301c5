/* SPDX-License-Identifier: Apache-2.0 */
// A ring that takes memory back without a look at what is in use.
// Caught: ladder.grow owns: a record of 0 bytes has number 0
#define cipc_ladder_trim trim_right
#include "ring/ladder.c"
#undef cipc_ladder_trim

void cipc_ladder_trim(cipc_ring_t *ring) {
  for (uint32_t rung = 1; rung < ring->rung_count; rung++) {
    uint64_t touched = ring->control->touched[rung];
    if (touched == 0) continue;
    ring->control->backed[rung] = 0;
    (void)cipc_segment_drop(ring->segment, ring->rungs[rung].offset, touched * CIPC_RING_UNIT);
    ring->control->touched[rung] = 0;
  }
}
