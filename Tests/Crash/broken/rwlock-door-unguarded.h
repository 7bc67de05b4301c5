/* SPDX-License-Identifier: Apache-2.0 */
// A lock whose readers go in without looking for a writer once they have a place.
// Caught: rwlock.read-trylock owns: survivor: read: done .0. instead of -35
#include "cipc/rwlock.h"

static inline int read_regardless(cipc_rwlock_t *lock, uint32_t lines, cipc_deadline_t deadline) {
  cipc_participant_t thread = cipc_participant_this_thread();
  cipc_participant_t found = CIPC_PARTICIPANT_NOBODY;
  cipc_participant_t *place = &cipc_rwlock_places(lock)[cipc_rwlock_place(thread, lines, 0)];
  if (__atomic_compare_exchange_n(place, &found, thread, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    return 0;
  }
  return cipc_rwlock_read_slowly(lock, lines, 0, deadline);
}
#define cipc_rwlock_read_lock read_regardless
