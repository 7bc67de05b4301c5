/* SPDX-License-Identifier: Apache-2.0 */
// Moves a victim from system call to system call: a point at each entry, at each exit, and in each
// call that it falls asleep in.
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "engine.h"

enum reached calls_move(struct trial *trial, pid_t victim, long k, long *at,
                        void (*unblock)(struct trial *)) {
  bool inside = false;
  // Point 0 is the start.
  for (*at = 0; *at < k;) {
    int status;
    if (ptrace(PTRACE_SYSCALL, victim, NULL, NULL) < 0) return BROKEN;
    for (;;) {
      pid_t stopped = waitpid(victim, &status, WNOHANG | __WALL);
      if (stopped == victim) break;
      if (stopped < 0) return BROKEN;
      if (stuck()) return BROKEN;
      if (!inside || !process_sleeps(victim)) continue;
      if (++*at == k) return REACHED;
      unblock(trial);
      if (!wait_stop(victim, &status)) return BROKEN;
      break;
    }
    if (!WIFSTOPPED(status)) return BROKEN;
    ++*at;
    if (WSTOPSIG(status) == SIGTRAP && at_end(victim)) return ENDED;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) return BROKEN;
    inside = !inside;
  }
  return REACHED;
}
