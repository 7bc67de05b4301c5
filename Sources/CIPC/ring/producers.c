/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/producers.h"

#include <limits.h>

#include "base/tries.h"
#include "ring/tiers.h"
#include "segment/segment.h"
#include "wait/eventcount.h"

void cipc_ring_meet(cipc_ring_t *ring, cipc_participant_t self) {
  __atomic_store_n(&ring->user, self, __ATOMIC_RELAXED);
  if (cipc_segment_holds(ring->segment) == 0) {
    __atomic_store_n(&ring->control->is_uncounted, 1, __ATOMIC_RELAXED);
  }
  if (__atomic_load_n(&ring->control->creator, __ATOMIC_RELAXED) == self) return;
  __atomic_store_n(&ring->control->is_shared, 1, __ATOMIC_RELAXED);
}

int cipc_ring_claim(cipc_participant_t *word, cipc_participant_t *mine, bool *is_new) {
  *is_new = false;
  cipc_participant_t self = cipc_participant_current();
  if (__builtin_expect(*mine == self && self != CIPC_PARTICIPANT_NOBODY, 1)) return 0;
  if (self == CIPC_PARTICIPANT_NOBODY) return CIPC_ESRCH;
  cipc_participant_t found = __atomic_load_n(word, __ATOMIC_ACQUIRE);
  for (int i = 0; found != self; i++) {
    if (i == CIPC_TRIES) return CIPC_EBUSY;
    if (found != CIPC_PARTICIPANT_NOBODY &&
        cipc_participant_check(found) != CIPC_PARTICIPANT_DEAD) {
      return CIPC_EBUSY;
    }
    // Commit point of claiming. Only from the very identity that is dead.
    if (__atomic_compare_exchange_n(word, &found, self, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_ACQUIRE)) {
      break;
    }
  }
  *mine = self;
  *is_new = true;
  return 0;
}

int cipc_producers_enter(cipc_ring_t *ring, cipc_deadline_t limit) {
  int status = cipc_ring_begin(ring);
  if (__builtin_expect(status < 0, 0)) return status;
  cipc_ring_note(&ring->producing);
  if (!cipc_ring_has_locks(ring)) {
    bool is_new;
    status = cipc_ring_claim(&ring->control->producer, &ring->producer, &is_new);
    if (status < 0) return status;
    if (is_new) ring->batch.is_open = false;
    return ring->batch.is_open ? CIPC_EDEADLK : 0;
  }
  status = cipc_mutex_lock(&ring->control->producers, limit);
  if (__builtin_expect(status < 0, 0)) return status;
  // It may still be that of a thread which ended with it, although another process was told of
  // that; or, in a forked child, of another thread of the parent's.
  ring->batch.is_open = false;
  if (__builtin_expect(status == 0, 1)) return 0;
  // What the dead had not committed was never put. What it had, it may have told nobody of.
  cipc_tiers_trim(ring);
  cipc_eventcount_wake(&ring->control->items, INT_MAX);
  return cipc_mutex_recover(&ring->control->producers);
}
