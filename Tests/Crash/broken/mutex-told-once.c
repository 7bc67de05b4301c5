/* SPDX-License-Identifier: Apache-2.0 */
// A mutex that forgets a death once it has told somebody.
#define cipc_mutex_unlock unlock_right
#include "mutex.c"
#undef cipc_mutex_unlock

int cipc_mutex_unlock(cipc_mutex_t *mutex) {
  if (cipc_mutex_is_owned(mutex)) mutex->dirty = 0;
  return unlock_right(mutex);
}
