/* SPDX-License-Identifier: Apache-2.0 */
// An event whose waiters rely on being woken. A setter that is killed before it has woken them does
// not.
// Caught: event.set contended: it was set, and survivor [01] waited in vain
#include "base/futex.h"
#include "cipc/wait.h"

#define cipc_wait_sleep(wait, deadline) \
  cipc_futex_wait_until((wait)->word, (wait)->expected, (deadline))
#include "sync/event.c"
