/* SPDX-License-Identifier: Apache-2.0 */
// A lock that takes a writer killed while it waited for one killed inside.
// Caught: rwlock.write-lock owns: the victim did not write .* told of a death
#include "cipc/mutex.h"

static inline int recover_and_tell(uint32_t *state, cipc_mutex_t *mutex) {
  uint32_t dirty = 4;
  (void)__atomic_fetch_or(state, dirty, __ATOMIC_SEQ_CST);
  return cipc_mutex_recover(mutex);
}

#define cipc_mutex_recover(mutex) recover_and_tell(&lock->state, mutex)
#include "sync/rwlock.c"
