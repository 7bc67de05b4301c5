/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <limits.h>

#define NANOSECONDS_PER_SECOND INT64_C(1000000000)

cipc_deadline_t cipc_clock_now(void) {
  struct timespec now = {0, 0};
  // Cannot fail: the clock exists on every kernel and the pointer is ours.
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * NANOSECONDS_PER_SECOND + (int64_t)now.tv_nsec;
}

cipc_deadline_t cipc_clock_deadline(int64_t nanoseconds) {
  if (nanoseconds <= 0) return CIPC_IMMEDIATELY;
  cipc_deadline_t now = cipc_clock_now();
  return nanoseconds >= CIPC_NO_DEADLINE - now ? CIPC_NO_DEADLINE : now + nanoseconds;
}

cipc_deadline_t cipc_clock_slice(cipc_deadline_t deadline) {
  // The kernel takes no negative times.
  if (deadline < CIPC_IMMEDIATELY) return CIPC_IMMEDIATELY;
  cipc_deadline_t slice = cipc_clock_now() + CIPC_SLICE_NANOSECONDS;
  return slice < deadline ? slice : deadline;
}

int cipc_clock_poll_timeout(cipc_deadline_t deadline) {
  if (deadline == CIPC_NO_DEADLINE) return -1;
  cipc_deadline_t now = cipc_clock_now();
  if (deadline <= now) return 0;
  int64_t milliseconds = (deadline - now - 1) / INT64_C(1000000) + 1;
  return milliseconds > INT_MAX ? INT_MAX : (int)milliseconds;
}

struct timespec cipc_clock_timespec(cipc_deadline_t deadline) {
  struct timespec time;
  time.tv_sec = (time_t)(deadline / NANOSECONDS_PER_SECOND);
  time.tv_nsec = (long)(deadline % NANOSECONDS_PER_SECOND);
  return time;
}
