/* SPDX-License-Identifier: Apache-2.0 */
// A mutex whose waiters rely on being woken. A waiter that is killed just after it was woken, with
// a third in possession by then, takes the wake-up with it.
// Caught: mutex.lock overtaken: survivor [01]: lock: the deadline passed
#include "base/clock.h"

#define cipc_clock_slice(deadline) (deadline)
#include "sync/mutex.c"
