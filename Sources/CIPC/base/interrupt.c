/* SPDX-License-Identifier: Apache-2.0 */
#include "base/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/procfs.h"

// How long a signal is held back at most.
#define STEP INT64_C(20000000)

static __thread struct {
  int when;
  // Nonzero: between pause and resume, how deep.
  unsigned pauses;
  // Set by handlers of this thread. Volatile: they run between any two instructions.
  volatile sig_atomic_t is_raised;
} mine;

int cipc_interruptible(int when) {
  if (when < CIPC_INTERRUPT_NEVER || when > CIPC_INTERRUPT_SLICES) return CIPC_EINVAL;
  int before = mine.when;
  mine.when = when;
  if (when == CIPC_INTERRUPT_NEVER) mine.is_raised = 0;
  return before;
}

void cipc_interrupt(void) {
  if (mine.when != CIPC_INTERRUPT_NEVER) mine.is_raised = 1;
}

bool cipc_interrupt_is_on(void) { return mine.when != CIPC_INTERRUPT_NEVER && mine.pauses == 0; }

int cipc_interrupt_arrived(void) {
  if (!cipc_interrupt_is_on()) return 0;
  mine.is_raised = 0;
  return CIPC_EINTR;
}

int cipc_interrupt_check(void) { return mine.is_raised ? cipc_interrupt_arrived() : 0; }

int cipc_interrupt_slice_ended(void) {
  return mine.when == CIPC_INTERRUPT_SLICES ? cipc_interrupt_arrived() : cipc_interrupt_check();
}

void cipc_interrupt_pause(void) { mine.pauses++; }
void cipc_interrupt_resume(void) { mine.pauses--; }

int cipc_interrupt_poll(struct pollfd *entries, nfds_t count, cipc_deadline_t deadline) {
  bool is_on = deadline > CIPC_IMMEDIATELY && cipc_interrupt_is_on();
  if (is_on && cipc_interrupt_check() < 0) return CIPC_EINTR;
  cipc_deadline_t until = is_on ? cipc_clock_slice(deadline) : deadline;
  int ready = poll(entries, count, cipc_clock_poll_timeout(until));
  if (ready < 0) return errno != EINTR ? -errno : is_on ? cipc_interrupt_arrived() : 0;
  return ready == 0 && until < deadline ? cipc_interrupt_slice_ended() : ready;
}

// MARK: Signals held back

void cipc_interrupt_hold(cipc_interrupt_hold_t *hold) {
  hold->is_on = cipc_interrupt_is_on();
  if (!hold->is_on) return;
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
  sigset_t all;
  (void)sigfillset(&all);
  // A fault of this thread's that is held back ends the process, whatever its handler would do.
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) (void)sigdelset(&all, faults[i]);
  hold->slice = cipc_clock_slice(CIPC_NO_DEADLINE);
  hold->is_on = pthread_sigmask(SIG_BLOCK, &all, &hold->before) == 0;
}

cipc_deadline_t cipc_interrupt_step(const cipc_interrupt_hold_t *hold, cipc_deadline_t otherwise,
                                    cipc_deadline_t deadline) {
  cipc_deadline_t end = hold->is_on ? cipc_clock_deadline(STEP) : otherwise;
  return end < deadline ? end : deadline;
}

// The signals that have handlers, as bits from 0; all where that cannot be told. From /proc: this
// library does not touch how signals are handled (sigaction), not even to look.
static uint64_t handled_signals(void) {
  char text[4096];
  if (cipc_procfs_read("/proc/self/status", text, sizeof text) < 0) return UINT64_MAX;
  const char *field = strstr(text, "\nSigCgt:");
  return field != NULL ? strtoull(field + sizeof "\nSigCgt:" - 1, NULL, 16) : UINT64_MAX;
}

// Whether a signal that is held back is the caller's to know of: not if the kernel ignores it or
// ends the process by it. `*is_any`: whether there is one at all.
static bool has_arrived(const sigset_t *before, bool *is_any) {
  sigset_t pending;
  *is_any = false;
  if (sigpending(&pending) < 0) return false;
  uint64_t arrived = 0;
  for (int signal = 1; signal <= 64; signal++) {
    if (sigismember(&pending, signal) == 1 && sigismember(before, signal) != 1) {
      arrived |= UINT64_C(1) << (signal - 1);
    }
  }
  *is_any = arrived != 0;
  return arrived != 0 && (arrived & handled_signals()) != 0;
}

int cipc_interrupt_held(cipc_interrupt_hold_t *hold) {
  if (!hold->is_on) return 0;
  bool is_any;
  // The handler runs when the caller lets go, and may raise it once more.
  if (has_arrived(&hold->before, &is_any)) return cipc_interrupt_arrived();
  if (is_any) {
    // Has the kernel do with the others what it does.
    sigset_t held;
    (void)pthread_sigmask(SIG_SETMASK, &hold->before, &held);
    (void)pthread_sigmask(SIG_SETMASK, &held, NULL);
  }
  if (cipc_clock_now() < hold->slice) return cipc_interrupt_check();
  hold->slice = cipc_clock_slice(CIPC_NO_DEADLINE);
  return cipc_interrupt_slice_ended();
}

void cipc_interrupt_let_go(const cipc_interrupt_hold_t *hold) {
  if (hold->is_on) (void)pthread_sigmask(SIG_SETMASK, &hold->before, NULL);
}
