/* SPDX-License-Identifier: Apache-2.0 */
// A lock whose waiters rely on being woken, and never look.
// Caught: rwlock.read-trylock owns: survivor [01]: write lock: the deadline passed
#include "base/futex.h"
#include "cipc/wait.h"

static inline int sleep_until_woken(const cipc_wait_t *wait, cipc_deadline_t deadline) {
  int status = cipc_futex_wait_until(wait->word, wait->expected, deadline);
  return status == -EINTR ? 0 : status;
}

#define cipc_wait_sleep(wait, deadline) sleep_until_woken(wait, deadline)
#include "sync/rwlock.c"
