/* SPDX-License-Identifier: Apache-2.0 */
// A ring whose waiters rely on being woken. A process that is killed first wakes none.
// Caught: backoff.get woken: a record was there, and its waiter did not get it
#include "base/futex.h"
#include "cipc/wait.h"

#define cipc_wait_sleep(wait, deadline) \
  cipc_futex_wait_until((wait)->word, (wait)->expected, (deadline))
#include "ring/backoff.c"
