/* SPDX-License-Identifier: Apache-2.0 */
/// Waiting for descriptors without a thread for each: the process has one waiter
/// thread, and a callback on it tells that a descriptor is ready or that a
/// deadline passed.
///
/// The thread ("cipc-poller", all signals blocked) starts with the first wait and
/// stays. Any number of waits may be under way, also on one descriptor. All
/// functions may be called from any thread, and from a callback. Callbacks run
/// one after the other, so they must be short. A forked child has none of its
/// parent's waits and starts anew.
#ifndef CIPC_POLLER_H
#define CIPC_POLLER_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// Ready to read, or at its end. A pidfd is once its process has ended.
#define CIPC_POLLER_READABLE 1u
/// Ready to write, or the reader is gone.
#define CIPC_POLLER_WRITABLE 2u
/// The wait takes the descriptor over and closes it when it ends.
#define CIPC_POLLER_OWNED 4u

/// Called once: with 0 when the descriptor is ready, with CIPC_ETIMEDOUT when the
/// deadline passed first. The wait is over by then.
typedef void (*cipc_poller_callback_t)(void *context, int status);

/// Names a wait; never used again for another one.
typedef uint64_t cipc_poller_ticket_t;

/// Starts to wait until `fd` is ready for the directions in `flags`, or `deadline`.
///
/// Returns at once; the callback may run before it does. Without CIPC_POLLER_OWNED the wait works
/// on a duplicate, so that the caller may close its descriptor at any time, which does *not* end
/// the wait: cancel it. With it, `fd` is taken over also when the call fails. With `fd` -1 only the
/// deadline is waited for. CIPC_EINVAL: no direction. -EPERM: the descriptor cannot be waited for
/// (a regular file). CIPC_EBADF, CIPC_EMFILE, CIPC_ENFILE, CIPC_ENOMEM, CIPC_EAGAIN (no thread can
/// be started), CIPC_ENOSPC (too many waits of this user).
CIPC_API CIPC_CHECKED int cipc_poller_wait(int fd, unsigned flags, cipc_deadline_t deadline,
                                           cipc_poller_callback_t callback, void *context,
                                           cipc_poller_ticket_t *ticket);

/// Ends a wait. 0: its callback has not been called and will not be. CIPC_ENOENT:
/// it was called, or is being called at this moment. Does not block.
CIPC_API CIPC_CHECKED int cipc_poller_cancel(cipc_poller_ticket_t ticket);

/// One of several descriptors to wait for.
typedef struct cipc_poller_interest {
  int fd;
  /// CIPC_POLLER_READABLE, CIPC_POLLER_WRITABLE, or both.
  unsigned directions;
} cipc_poller_interest_t;

/// Makes a descriptor that is readable while any of those given is ready, for waiting on all of
/// them where one can be waited for. The caller closes it. It keeps none of them open: a descriptor
/// that is closed is waited for no longer.
///
/// Returns the descriptor; CIPC_EINVAL for no direction; CIPC_EEXIST for a descriptor
/// given twice; CIPC_EBADF; -EPERM for one that cannot be waited for; CIPC_EMFILE,
/// CIPC_ENFILE, CIPC_ENOMEM, CIPC_ENOSPC.
CIPC_API CIPC_CHECKED int cipc_poller_gather(const cipc_poller_interest_t *interests, size_t count);

/// Blocks until any of the descriptors is ready, without the poller's thread.
///
/// 0; CIPC_ETIMEDOUT; CIPC_EBADF: one of them is not open; CIPC_EINVAL: no direction, or
/// more of them than the limit of open descriptors; CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_poller_poll(const cipc_poller_interest_t *interests, size_t count,
                                           cipc_deadline_t deadline);

CIPC_END_DECLS

#endif
