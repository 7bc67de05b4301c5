/* SPDX-License-Identifier: Apache-2.0 */
// A mutex that forgets a death once it has told one owner.
// Caught: mutex.lock owns: first told 1, then 0, and nobody had recovered
#include "cipc/mutex.h"

static inline int unlock_and_forget(cipc_mutex_t *mutex) {
  if (cipc_mutex_is_owned(mutex)) mutex->dirty = 0;
  return cipc_mutex_unlock(mutex);
}
#define cipc_mutex_unlock unlock_and_forget
