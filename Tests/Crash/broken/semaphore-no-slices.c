/* SPDX-License-Identifier: Apache-2.0 */
// A semaphore whose waiters rely on being woken. A holder that is killed wakes none of them.
// Caught: semaphore.acquire owns: survivor [01]: acquire: the deadline passed
#include "base/futex.h"
#include "cipc/wait.h"

#define cipc_wait_sleep(wait, deadline) \
  cipc_futex_wait_until((wait)->word, (wait)->expected, (deadline))
#include "sync/semaphore.c"
