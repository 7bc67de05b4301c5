/* SPDX-License-Identifier: Apache-2.0 */
/// Participants: the processes and threads that use a segment or hold something in it. An
/// *identity* is one word that all processes can compare, and from which it can be proven that the
/// participant is dead.
///
/// The word is 22 bits of pid (the kernel's largest) and 41 bits of start time in clock ticks since
/// boot: a recycled pid has another start time, so an identity does not come back before 696 years
/// of uptime at 100 ticks a second. The highest bit tells the two kinds apart:
/// - a *process*; `exec` keeps pid and start time, so a program that executes another is still
///   the same participant, although it has let go of everything;
/// - a *thread*: its number and its own start time. A thread that has ended is dead while its
///   process lives on, the first one of a program included. The thread that calls `exec` becomes
///   the first one; all others are dead after it.
///
/// Identities mean something in one pid namespace only; segments carry theirs and
/// are refused in another.
#ifndef CIPC_PARTICIPANT_H
#define CIPC_PARTICIPANT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "status.h"

CIPC_BEGIN_DECLS

/// An identity; 0 is nobody.
typedef uint64_t cipc_participant_t;

#define CIPC_PARTICIPANT_NOBODY ((cipc_participant_t)0)
/// The bit that the identity of a thread has, and that of a process has not.
#define CIPC_PARTICIPANT_THREAD ((cipc_participant_t)1 << 63)
/// The number of the process or thread within an identity; 0 for nobody. Pure.
CIPC_INLINE pid_t cipc_participant_pid(cipc_participant_t participant) {
  return (pid_t)(participant & 0x3fffffu);
}

/// The identity of the calling process. Read once per process and kept; a forked
/// child notices that it is another process without a system call. Nobody (0) where /proc is
/// not mounted. Any thread; safe after fork; not in signal handlers.
CIPC_API cipc_participant_t cipc_participant_self(void);

/// Private: where the identity of this process is kept, in a page that a forked child finds
/// empty. NULL until first asked for.
CIPC_API extern cipc_participant_t *cipc_participant_page;

/// Private: `cipc_participant_self`, in two loads: locks ask on each operation.
CIPC_INLINE cipc_participant_t cipc_participant_current(void) {
  const cipc_participant_t *page = __atomic_load_n(&cipc_participant_page, __ATOMIC_ACQUIRE);
  if (__builtin_expect(page != NULL, 1)) {
    cipc_participant_t self = __atomic_load_n(page, __ATOMIC_RELAXED);
    if (__builtin_expect(self != CIPC_PARTICIPANT_NOBODY, 1)) return self;
  }
  return cipc_participant_self();
}

/// Private: the identity of this thread, and of the process that asked for it.
typedef struct cipc_participant_kept {
  cipc_participant_t process;
  cipc_participant_t thread;
} cipc_participant_kept_t;
CIPC_API extern __thread cipc_participant_kept_t cipc_participant_kept;

/// Private: `cipc_participant_this_thread` where nothing is kept yet.
CIPC_API cipc_participant_t cipc_participant_this_thread_slowly(void);

/// The identity of the calling thread. Read once per thread and kept, in a forked child anew; no
/// system call afterwards. Nobody (0) where /proc is not mounted. Any thread; safe after fork; not
/// in signal handlers.
CIPC_INLINE cipc_participant_t cipc_participant_this_thread(void) {
  cipc_participant_t process = cipc_participant_current();
  // A forked child finds what its parent's thread kept, with another process beside it.
  if (__builtin_expect(
          process != CIPC_PARTICIPANT_NOBODY && cipc_participant_kept.process == process, 1)) {
    return cipc_participant_kept.thread;
  }
  return cipc_participant_this_thread_slowly();
}

/// The identity of a live process, for the caller's pid namespace.
///
/// CIPC_ESRCH: no such process. CIPC_EPERM: /proc hides it from the caller. -errno: /proc could
/// not be read.
CIPC_API CIPC_CHECKED int cipc_participant_of(pid_t pid, cipc_participant_t *participant);

/// Whether a participant, a process or a thread, is alive. Never blocks.
///
/// 0: alive, stopped included. CIPC_PARTICIPANT_DEAD: proven dead; that does not change again. A
/// process that has exited is dead although its parent has not reaped it. CIPC_EINVAL: nobody.
/// -errno: unknown, such as CIPC_EMFILE, or CIPC_EPERM where /proc hides other users' processes
/// (hidepid); take the participant for alive.
CIPC_API CIPC_CHECKED int cipc_participant_check(cipc_participant_t participant);

/// The inode of the caller's pid namespace; 0 where /proc is not mounted.
CIPC_API uint64_t cipc_participant_namespace(void);

CIPC_END_DECLS

#endif
