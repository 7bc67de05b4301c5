/* SPDX-License-Identifier: Apache-2.0 */
// A ring that takes memory back without a look at what is in use.
// Caught: tiers.grow owns: a record of 0 bytes has number 0
#define cipc_tiers_trim trim_right
#include "ring/tiers.c"
#undef cipc_tiers_trim

void cipc_tiers_trim(cipc_ring_t *ring) {
  for (uint32_t tier = 1; tier < ring->tier_count; tier++) {
    uint64_t touched = ring->control->touched[tier];
    if (touched == 0) continue;
    ring->control->backed[tier] = 0;
    (void)cipc_segment_drop(ring->segment, ring->tiers[tier].offset, touched * CIPC_RING_UNIT);
    ring->control->touched[tier] = 0;
  }
}
