/* SPDX-License-Identifier: Apache-2.0 */
/// Steps, and waiting between them: how every wait for another process works here.
///
/// Everything that can be waited for has a *step*: a function that tries without blocking. When it
/// fails, it returns CIPC_EAGAIN and says what to wait for: a word in shared memory, a descriptor
/// or a moment. A waiter calls the step and `cipc_wait_sleep` in turn:
///
///     int look = 0;
///     cipc_wait_t wait = {0};
///     for (;;) {
///       int status = cipc_semaphore_step(semaphore, owner, look, &wait);
///       if (status != CIPC_EAGAIN) return status;
///       status = cipc_wait_sleep(&wait, deadline);
///       if (status < 0) return status;
///       look = status == CIPC_WAIT_LOOK;
///     }
///
/// A step with `look` also looks for the dead and takes back what they held. That is due every 200
/// ms, since a killed process wakes no waiter, and may have been woken for nothing. Where the word
/// lies in a typed segment that this process has open, it is due as soon as any process finds a
/// participant of that segment dead, as its parent does when it waits for it.
#ifndef CIPC_WAIT_H
#define CIPC_WAIT_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "poller.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// What a step waits for.
typedef enum cipc_wait_kind {
  CIPC_WAIT_WORD,        ///< a word in shared memory that is to change
  CIPC_WAIT_DESCRIPTOR,  ///< a descriptor that is to be ready
  CIPC_WAIT_PAUSE,       ///< a moment, since nothing tells when it is worth trying again
} cipc_wait_kind_t;

/// What to wait for before the next step: all zero before the first one, and from then on the
/// step's, which makes its pauses longer from one to the next. What it names need not be released.
typedef struct cipc_wait {
  const uint32_t *word;   ///< where to sleep
  uint32_t expected;      ///< the value of the word while it is worth sleeping
  cipc_wait_kind_t kind;  ///< which of these fields count
  int descriptor;         ///< stays the object's: what was closed meanwhile is -1, or another file
  unsigned directions;    ///< CIPC_POLLER_READABLE, CIPC_POLLER_WRITABLE
  int64_t pause;          ///< nanoseconds
} cipc_wait_t;

/// How often that is due, in nanoseconds.
#define CIPC_WAIT_SLICE 200000000

/// Sleeps until what the step waits for may have come about, or the deadline passes: while the word
/// has the value expected, until the descriptor is ready, or for the pause.
///
/// 0: woken, or the word differs, or ready, or paused; try again. CIPC_WAIT_LOOK: try again and
/// look for the dead: the caller has waited for 200 ms, however often it was woken meanwhile, or a
/// participant has died. CIPC_ETIMEDOUT: the deadline passed; the caller was told to look for the
/// dead within the last 200 ms before that, if need be by one CIPC_WAIT_LOOK behind the deadline,
/// so that a caller that only polls does not pass over the dead for ever. The dead are a matter of
/// words alone. -EFAULT, CIPC_EINVAL: the word is not mapped, or not aligned to four bytes.
/// CIPC_EBADF: the descriptor is not open. CIPC_EINTR: interrupt.h. Any thread.
CIPC_API CIPC_CHECKED int cipc_wait_sleep(const cipc_wait_t *wait, cipc_deadline_t deadline);

/// Starts to wait without a thread of the caller's: `callback` is called once, with what
/// `cipc_wait_sleep` would have returned.
///
/// One thread per process ("cipc-words", all signals blocked) sleeps for all such waits; it starts
/// with the first one and stays. Callbacks run on it one after the other, so they must be short;
/// they may start and cancel waits. The callback may run before this returns, but never within.
/// CIPC_WAIT_LOOK goes to one wait per word and slice: the waiter that looks for the dead wakes the
/// others if there is reason to. CIPC_ETIMEDOUT comes without a look before it, and at the end of a
/// pause, too. Descriptors and pauses are the waiter thread's of cipc/poller.h, whose statuses
/// hold; with CIPC_POLLER_OWNED among its directions a descriptor is taken over.
///
/// The kernel lets a thread sleep on 127 words besides that thread's own. With more than these, and
/// before Linux 5.16 with any, the thread looks at words in turn, at each set of 127 every 10 ms
/// per set there is, and a wake-up is seen that much later.
///
/// The memory of the word may be unmapped meanwhile: then the callback gets -EFAULT, within 200 ms.
/// A forked child has none of its parent's waits and starts anew. CIPC_ENOMEM; CIPC_EAGAIN: no
/// thread can be started. Any thread.
CIPC_API CIPC_CHECKED int cipc_wait_start(const cipc_wait_t *wait, cipc_deadline_t deadline,
                                          cipc_poller_callback_t callback, void *context,
                                          cipc_poller_ticket_t *ticket);

/// Ends a wait. 0: its callback has not been called and will not be. CIPC_ENOENT:
/// it was called, or is being called at this moment; then the caller, if it does not try again,
/// owes the wake-up to another: `cipc_wait_pass`. Does not block.
CIPC_API CIPC_CHECKED int cipc_wait_cancel(cipc_poller_ticket_t ticket);

/// Wakes one sleeper of the word: for a waiter that gives up and may have been woken meanwhile. The
/// word need not be mapped any more. Any thread.
CIPC_API void cipc_wait_pass(const cipc_wait_t *wait);

CIPC_END_DECLS

#endif
