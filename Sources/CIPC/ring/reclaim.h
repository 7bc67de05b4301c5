/* SPDX-License-Identifier: Apache-2.0 */
// Going back to the first tier, and giving memory back.
#ifndef CIPC_RING_RECLAIM_H
#define CIPC_RING_RECLAIM_H

#include "ring/hold.h"

// With the consumers' side: once nothing has gone through the tiers beyond the first for a while,
// returns an empty ring to the first, and gives back some of the memory of tiers that are not in
// use, if there is any. Does nothing while somebody has the producers' side.
void cipc_reclaim_tidy(cipc_ring_t *ring);

// With the consumers' side, and once `cipc_index_has_turned`: notes the way, and tidies.
void cipc_reclaim_turn(cipc_ring_t *ring, cipc_index_t to);

#endif
