/* SPDX-License-Identifier: Apache-2.0 */
// Moves a victim instruction by instruction. The only file that knows the machine.
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"

#if !defined(__x86_64__)
#error "the crash harness steps x86-64 only"
#endif

#define INT3 0xccUL
// Enough for the loops of glibc that spin on nothing, far below a second of stepping.
#define STEPS_MAXIMUM (POINTS_MAXIMUM - 1)

// Breakpoints in the program itself: they stop a victim that runs freely. The second nop keeps the
// two functions from being folded into one.
__attribute__((noinline)) void crash_begin(void) { __asm__ volatile("int3; nop"); }
__attribute__((noinline)) void crash_end(void) { __asm__ volatile("int3; nop; nop"); }

static uintptr_t peek(pid_t pid, size_t offset) {
  return (uintptr_t)ptrace(PTRACE_PEEKUSER, pid, (void *)offset, NULL);
}

static uintptr_t program_counter(pid_t pid) { return peek(pid, offsetof(struct user, regs.rip)); }

bool at_end(pid_t victim) {
  uintptr_t end = (uintptr_t)&crash_end;
  uintptr_t now = program_counter(victim);
  // Stepped to it, or behind its breakpoint.
  return now == end || now == end + 1;
}

// An alarm without SA_RESTART ends this wait when the victim is stuck.
bool wait_stop(pid_t victim, int *status) {
  return waitpid(victim, status, __WALL) == victim && WIFSTOPPED(*status);
}

static bool trapped(int status) { return WSTOPSIG(status) == SIGTRAP; }

enum reached stepper_start(pid_t victim) {
  int status;
  // TRACEME stops by itself only for a signal: the one of `crash_begin`.
  if (!wait_stop(victim, &status) || !trapped(status)) return BROKEN;
  if (ptrace(PTRACE_SETOPTIONS, victim, NULL,
             (void *)(uintptr_t)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)) < 0) {
    return BROKEN;
  }
  return REACHED;
}

char process_state(pid_t pid) {
  char path[32];
  char text[512];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  size_t length = fread(text, 1, sizeof text - 1, file);
  (void)fclose(file);
  text[length] = '\0';
  const char *behind_name = strrchr(text, ')');
  return behind_name != NULL && behind_name[1] == ' ' ? behind_name[2] : 0;
}

bool process_sleeps(pid_t pid) { return process_state(pid) == 'S'; }

enum reached stepper_until_blocked(struct trial *trial, pid_t victim) {
  (void)trial;
  for (;;) {
    int status;
    if (ptrace(PTRACE_SYSCALL, victim, NULL, NULL) < 0 || !wait_stop(victim, &status)) {
      return BROKEN;
    }
    if (trapped(status) && at_end(victim)) return ENDED;
    if (WSTOPSIG(status) != (SIGTRAP | 0x80)) return BROKEN;
    // A step from the entry of a call ends at its return: the first stop after a wait is the first
    // instruction behind it.
    if (ptrace(PTRACE_SINGLESTEP, victim, NULL, NULL) < 0) return BROKEN;
    for (;;) {
      pid_t stopped = waitpid(victim, &status, WNOHANG | __WALL);
      if (stopped == victim) break;
      if (stopped < 0) return BROKEN;
      if (stuck()) return BROKEN;
      if (process_sleeps(victim)) return REACHED;
    }
    if (!WIFSTOPPED(status) || !trapped(status)) return BROKEN;
  }
}

enum reached stepper_woken(struct trial *trial, pid_t victim) {
  int status;
  if (!wait_stop(victim, &status) || !trapped(status)) return BROKEN;
  long result = (long)peek(victim, offsetof(struct user, regs.rax));
  // The end of a slice came before the wake-up.
  bool timed_out = result == CIPC_ETIMEDOUT;
  return timed_out == trial->operation->times_out ? REACHED : MISSED;
}

static bool step(pid_t victim) {
  int status;
  return ptrace(PTRACE_SINGLESTEP, victim, NULL, NULL) == 0 && wait_stop(victim, &status) &&
         trapped(status);
}

// Lets the victim run until it is at a place for the n-th time.
static enum reached run_to(pid_t victim, uintptr_t place, long visits) {
  void *address = (void *)place;
  unsigned long word = (unsigned long)ptrace(PTRACE_PEEKTEXT, victim, address, NULL);
  for (;;) {
    int status;
    if (ptrace(PTRACE_POKETEXT, victim, address, (void *)((word & ~0xffUL) | INT3)) < 0 ||
        ptrace(PTRACE_CONT, victim, NULL, NULL) < 0 || !wait_stop(victim, &status) ||
        !trapped(status)) {
      return BROKEN;
    }
    if (program_counter(victim) != place + 1) return UNLIKE;
    if (ptrace(PTRACE_POKETEXT, victim, address, (void *)word) < 0 ||
        ptrace(PTRACE_POKEUSER, victim, (void *)offsetof(struct user, regs.rip), address) < 0) {
      return BROKEN;
    }
    if (--visits == 0) return REACHED;
    if (!step(victim)) return BROKEN;
  }
}

// For each point the cheapest way there: to which earlier point to run, with a breakpoint that is
// hit as often as the program has been at that place by then, and step from there.
static void find_jumps(struct unit *unit) {
  enum { BUCKETS = 1 << 17, STEPS_PER_VISIT = 4 };
  static int32_t last[BUCKETS];
  memset(last, -1, sizeof last);
  long best = 0;
  long best_cost = STEPS_PER_VISIT;
  for (int32_t i = 0; i < unit->points; i++) {
    uintptr_t place = unit->trace[i];
    size_t bucket = (place * UINT64_C(0x9e3779b97f4a7c15)) >> 47;
    while (last[bucket] >= 0 && unit->trace[last[bucket]] != place) bucket = (bucket + 1) % BUCKETS;
    unit->visits[i] = last[bucket] < 0 ? 1 : unit->visits[last[bucket]] + 1;
    last[bucket] = i;
    // Stepping on from `best` costs a step for each point in between.
    long cost = (long)unit->visits[i] * STEPS_PER_VISIT;
    if (cost <= best_cost + (i - best)) {
      best = i;
      best_cost = cost;
    }
    unit->jump[i] = (int32_t)best;
  }
}

enum reached stepper_step(struct trial *trial, struct unit *unit, pid_t victim, long k, bool record,
                          bool jump, long *at) {
  long at_step = 0;
  if (jump && k < unit->points && unit->jump[k] > 0) {
    at_step = unit->jump[k];
    enum reached reached = run_to(victim, unit->trace[at_step], unit->visits[at_step]);
    if (reached != REACHED) return reached;
  }
  for (;; at_step++) {
    *at = at_step;
    uintptr_t place = program_counter(victim);
    if (record) unit->trace[at_step] = place;
    if (at_end(victim)) {
      if (record) {
        unit->points = at_step + 1;
        find_jumps(unit);
      }
      return ENDED;
    }
    if (at_step == k) return REACHED;
    if (at_step == STEPS_MAXIMUM) {
      violate(trial, "the operation takes more than %d instructions", STEPS_MAXIMUM);
      return BROKEN;
    }
    if (!step(victim)) return BROKEN;
  }
}
