/* SPDX-License-Identifier: Apache-2.0 */
// Records that somebody has taken and that are not done: those from `low` to the head.
#ifndef CIPC_RING_LEASES_H
#define CIPC_RING_LEASES_H

#include "ring/hold.h"

// With the consumers' side: looks for leases of the dead, and moves `low` on.
void cipc_leases_sweep(cipc_ring_t *ring);

// With the consumers' side: leases the next record. As cipc_tiers_find; CIPC_ENOMEM.
int cipc_leases_take(cipc_ring_t *ring, cipc_ring_record_t *record);

// With the consumers' side: what a lease would say where nothing is at the head, for which
// `status` is CIPC_EAGAIN or CIPC_EFINISHED: 0: something was handed back; CIPC_EAGAIN.
int cipc_leases_look(const cipc_ring_t *ring, cipc_index_t head, int status);

// With the consumers' side: ends a lease that is the caller's.
int cipc_leases_end(cipc_ring_t *ring, uint64_t ticket, uint64_t owner);

// With the consumers' side: ends the lease that was taken first.
int cipc_leases_end_first(cipc_ring_t *ring, uint64_t owner);

// With the consumers' side: hands back all that was leased through this hold.
void cipc_leases_abandon(cipc_ring_t *ring);

#endif
