/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_CLOCK_PRIVATE_H
#define CIPC_CLOCK_PRIVATE_H

#include <time.h>

#include "cipc/clock.h"

// A sleeper looks again at least this often: the wake-up meant for it may have
// been swallowed by a waiter that was killed just after being woken.
#define CIPC_SLICE_NANOSECONDS INT64_C(200000000)

// The end of the next slice, or the deadline where that comes first; never negative.
cipc_deadline_t cipc_clock_slice(cipc_deadline_t deadline);

// Milliseconds for poll(2) until the deadline, rounded up so that a wait never
// ends early; -1 for CIPC_NO_DEADLINE.
int cipc_clock_poll_timeout(cipc_deadline_t deadline);

struct timespec cipc_clock_timespec(cipc_deadline_t deadline);

#endif
