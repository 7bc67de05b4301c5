/* SPDX-License-Identifier: Apache-2.0 */
// The producers' side of a ring, and what a process does before it takes either side.
#ifndef CIPC_RING_PRODUCERS_H
#define CIPC_RING_PRODUCERS_H

#include "ring/hold.h"

// Notes that this process uses the ring: a process that did not make it is somebody else.
void cipc_ring_meet(cipc_ring_t *ring, cipc_participant_t self);

// Whether a call may go on: 0; CIPC_ECLOSED.
static inline int cipc_ring_begin(cipc_ring_t *ring) {
  if (__builtin_expect(cipc_ring_was_shut(ring), 0)) return CIPC_ECLOSED;
  cipc_participant_t self = cipc_participant_current();
  if (__builtin_expect(__atomic_load_n(&ring->user, __ATOMIC_RELAXED) != self, 0)) {
    cipc_ring_meet(ring, self);
  }
  return 0;
}

// SPSC: makes this process the holder of a side, if nobody alive is. 0, and `*is_new` says whether
// it was not before, so that what the hold has under that side is not its own; CIPC_EBUSY,
// CIPC_ESRCH.
int cipc_ring_claim(cipc_participant_t *word, cipc_participant_t *mine, bool *is_new);

// Takes the side: 0; CIPC_ETIMEDOUT, CIPC_ECLOSED, CIPC_EBUSY, CIPC_EDEADLK, other statuses of
// mutexes.
int cipc_producers_enter(cipc_ring_t *ring, cipc_deadline_t limit);
static inline void cipc_producers_leave(cipc_ring_t *ring) {
  if (!cipc_ring_has_locks(ring)) return;
  // Cannot fail: this thread is the owner.
  int status = cipc_mutex_release(&ring->control->producers);
  (void)status;
}

#endif
