/* SPDX-License-Identifier: Apache-2.0 */
/// Participants: who uses a segment, as one word that two processes can compare,
/// and the proof that one of them is dead.
///
/// The word is 22 bits of pid (the kernel's largest) and 42 bits of start time in
/// clock ticks since boot: a recycled pid has another start time, so an identity
/// is never met again before 1,393 years of uptime at 100 ticks a second. `exec` keeps pid and
/// start time, so a program that executes another is still the same participant.
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
/// A result of `cipc_participant_check`: proven dead.
#define CIPC_PARTICIPANT_DEAD 1

/// The pid within an identity; 0 for nobody. Pure.
static inline pid_t cipc_participant_pid(cipc_participant_t participant) {
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
static inline cipc_participant_t cipc_participant_current(void) {
  const cipc_participant_t *page = __atomic_load_n(&cipc_participant_page, __ATOMIC_ACQUIRE);
  if (__builtin_expect(page != NULL, 1)) {
    cipc_participant_t self = __atomic_load_n(page, __ATOMIC_RELAXED);
    if (__builtin_expect(self != CIPC_PARTICIPANT_NOBODY, 1)) return self;
  }
  return cipc_participant_self();
}

/// The identity of a live process, for the caller's pid namespace.
///
/// CIPC_ESRCH: no such process. -errno: /proc could not be read.
CIPC_API CIPC_CHECKED int cipc_participant_of(pid_t pid, cipc_participant_t *participant);

/// Whether a participant is alive. Never blocks.
///
/// 0: alive, stopped included. CIPC_PARTICIPANT_DEAD: proven dead; that does not change again.
/// A process that has exited is dead although its parent has not reaped it.
/// CIPC_EINVAL: nobody. -errno: could not be told, such as CIPC_EMFILE.
CIPC_API CIPC_CHECKED int cipc_participant_check(cipc_participant_t participant);

/// The inode of the caller's pid namespace; 0 where /proc is not mounted.
CIPC_API uint64_t cipc_participant_namespace(void);

CIPC_END_DECLS

#endif
