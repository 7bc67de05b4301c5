/* SPDX-License-Identifier: Apache-2.0 */
/// Sleeping on a word in shared memory, as everything does here that waits for another process.
///
/// What can be waited for has a *step*: a function that tries without blocking, and when it is in
/// vain says CIPC_EAGAIN and names the word to sleep on. Whoever waits calls in turn the step and
/// `cipc_wait_sleep`:
///
///     int look = 0;
///     for (;;) {
///       cipc_wait_t wait;
///       int status = cipc_semaphore_step(semaphore, owner, look, &wait);
///       if (status != CIPC_EAGAIN) return status;
///       status = cipc_wait_sleep(&wait, deadline);
///       if (status < 0) return status;
///       look = status == CIPC_WAIT_LOOK;
///     }
///
/// A step with `look` also looks for the dead and takes back what they held. That is due every
/// 200 ms, since a process that is killed wakes nobody, and may have been woken for nothing.
#ifndef CIPC_WAIT_H
#define CIPC_WAIT_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// Where to sleep, and the value of the word while it is worth sleeping.
typedef struct cipc_wait {
  const uint32_t *word;
  uint32_t expected;
} cipc_wait_t;

/// A result of waiting: call the step with `look`.
#define CIPC_WAIT_LOOK 1

/// Sleeps while the word has the value expected, until it is woken or the deadline passes.
///
/// 0: woken, or the word differs; try again. CIPC_WAIT_LOOK: try again and look for the dead: the
/// caller has waited for 200 ms, however often it was woken meanwhile. CIPC_ETIMEDOUT: the deadline
/// passed; the caller was told to look for the dead within the last 200 ms before that, if need be
/// by one CIPC_WAIT_LOOK behind the deadline, so that nobody who only polls passes over them for
/// ever. -EFAULT, CIPC_EINVAL: the word is not mapped, or not aligned to four bytes. Signals do not
/// end it. Any thread.
CIPC_API CIPC_CHECKED int cipc_wait_sleep(const cipc_wait_t *wait, cipc_deadline_t deadline);

CIPC_END_DECLS

#endif
