/* SPDX-License-Identifier: Apache-2.0 */
/// Waits that return when a signal arrives, for runtimes that run their handlers between two calls
/// of C: Python, Ruby, Lua.
///
/// Usually a signal does not end a wait: the handler runs, and the wait goes on. A thread that says
/// `cipc_interruptible(CIPC_INTERRUPT_SIGNALS)` has every wait of its own return CIPC_EINTR
/// instead, also where the handler was installed with SA_RESTART. So does a mutex or a place in a
/// queue of threads, within 20 ms:
///
///     cipc_interruptible(CIPC_INTERRUPT_SIGNALS);
///     int status;
///     do {
///       status = cipc_ring_get(ring, buffer, sizeof buffer, &length, deadline);
///     } while (status == CIPC_EINTR && run_the_handlers());
///
/// CIPC_EINTR may also come for a signal that was handled already. A call that does not wait never
/// returns it, and deadlines are times, so that calling again makes no wait longer.
///
/// *Going on.* A call that returned CIPC_EINTR has done nothing, and can be made again as if it had
/// not been made. Some calls have done a part by then, or other parties count on them:
/// - Receiving keeps what has arrived of a message in the connection: receive again.
/// - Sending cannot take back the bytes that are out. `cipc_connection_send` and `cipc_frame_write`
///   return CIPC_EINTR before the first byte only; `cipc_connection_send_on` at any time, and goes
///   on with the same message. `cipc_frame_read` likewise ends before the first byte only.
/// - A barrier counts on the parties that have arrived. `cipc_barrier_wait` does not return
///   CIPC_EINTR; `cipc_barrier_wait_on` does, and goes on with the same arrival.
/// - `cipc_condition_wait` has left the condition, and returns as soon as it has the mutex, as
///   after any spurious wake-up. The caller checks what it waits for, and misses nothing.
/// - An event that is set and cleared between two calls is missed, unless the caller waits in steps
///   (cipc_event_begin, cipc_event_step, cipc_wait_sleep). All steps can be called again.
/// - `cipc_address_connect` begins anew; so does starting a child: the child that was being started
///   does not run. `cipc_address_resolve` asks the system's resolver, which no signal ends.
///
/// *The moment before.* When a signal arrives just before a wait begins, its handler runs, and the
/// wait does not know of it. Two ways to close that gap:
/// - A handler in C calls `cipc_interrupt()`: the wait that this thread is in or comes to next
///   returns, at once or within 200 ms.
/// - CIPC_INTERRUPT_SLICES, where the handler is not the program's own: waits return CIPC_EINTR
///   every 200 ms in any case, so that the runtime can look.
///
/// The setting is the thread's alone. Where a runtime moves its tasks between threads, as Go does,
/// lock the thread (runtime.LockOSThread) or set it before each call, which costs some
/// instructions. A forked child has the setting of the thread that forked it. Not for threads that
/// call the Swift library, which does not expect CIPC_EINTR.
#ifndef CIPC_INTERRUPT_H
#define CIPC_INTERRUPT_H

#include "status.h"

CIPC_BEGIN_DECLS

enum {
  /// Signals do not end waits. The default.
  CIPC_INTERRUPT_NEVER = 0,
  /// A signal whose handler has run ends a wait.
  CIPC_INTERRUPT_SIGNALS = 1,
  /// Every 200 ms of waiting end a wait as well.
  CIPC_INTERRUPT_SLICES = 2
};

/// Says when waits of the calling thread return CIPC_EINTR: CIPC_INTERRUPT_*. Returns the setting
/// before; CIPC_EINVAL: not one of these, and nothing has changed. Does not block.
CIPC_API int cipc_interruptible(int when);

/// Makes the wait that the calling thread is in, or else its next one, return CIPC_EINTR. For
/// signal handlers of threads that have called `cipc_interruptible`; elsewhere it does nothing.
/// Changes no errno.
CIPC_API void cipc_interrupt(void);

CIPC_END_DECLS

#endif
