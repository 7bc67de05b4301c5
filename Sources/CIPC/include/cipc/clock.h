/* SPDX-License-Identifier: Apache-2.0 */
/// Deadlines. Every wait of CIPC takes one: an absolute time in nanoseconds on CLOCK_MONOTONIC, so
/// that a wait in several steps does not grow longer and a change of the wall clock moves nothing.
/// Signals end no wait, unless the thread has asked for it (interrupt.h): then the wait returns
/// CIPC_EINTR.
#ifndef CIPC_CLOCK_H
#define CIPC_CLOCK_H

#include <stdint.h>

#include "status.h"

CIPC_BEGIN_DECLS

/// Nanoseconds on CLOCK_MONOTONIC.
typedef int64_t cipc_deadline_t;

/// Wait for as long as it takes.
#define CIPC_NO_DEADLINE INT64_MAX
/// Do not wait: the operation is tried once and otherwise says CIPC_ETIMEDOUT.
#define CIPC_IMMEDIATELY INT64_C(0)

/// The time now. Never fails; async-signal-safe.
CIPC_API cipc_deadline_t cipc_clock_now(void);

/// The deadline `nanoseconds` from now. Zero and negative values give
/// CIPC_IMMEDIATELY, a sum beyond the range CIPC_NO_DEADLINE.
CIPC_API cipc_deadline_t cipc_clock_deadline(int64_t nanoseconds);

CIPC_END_DECLS

#endif
