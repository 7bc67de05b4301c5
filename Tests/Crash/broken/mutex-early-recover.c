/* SPDX-License-Identifier: Apache-2.0 */
// A mutex that counts as repaired from the moment that it is made consistent.
// Caught: mutex.lock owns: the victim owned when it was killed, and the next was told nothing
#include "cipc/mutex.h"

static int consistent_and_forget(cipc_mutex_t *mutex) {
  mutex->dirty = 0;
  return pthread_mutex_consistent(&mutex->native);
}

#define pthread_mutex_consistent(native) consistent_and_forget(mutex)
#include "sync/mutex.c"
