/* SPDX-License-Identifier: Apache-2.0 */
// The consumers' side of a ring.
#ifndef CIPC_RING_CONSUMERS_H
#define CIPC_RING_CONSUMERS_H

#include "ring/hold.h"

// Takes the side; as cipc_producers_enter.
int cipc_consumers_enter(cipc_ring_t *ring, cipc_deadline_t limit);
// The same, by a process that takes nothing: it puts in order what others left.
int cipc_consumers_visit(cipc_ring_t *ring, cipc_deadline_t limit);
static inline void cipc_consumers_leave(cipc_ring_t *ring) {
  if (!cipc_ring_has_locks(ring)) return;
  // Cannot fail: this thread is the owner.
  int status = cipc_mutex_release(&ring->control->consumers);
  (void)status;
}

#endif
