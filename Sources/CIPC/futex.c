/* SPDX-License-Identifier: Apache-2.0 */
#include "futex.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

int cipc_futex_wait_until(const uint32_t *word, uint32_t expected, cipc_deadline_t deadline) {
  // The kernel takes no negative times.
  struct timespec until = cipc_clock_timespec(deadline > 0 ? deadline : 0);
  // FUTEX_WAIT_BITSET takes an absolute time on CLOCK_MONOTONIC, plain FUTEX_WAIT a relative one
  // that starts anew after each signal.
  long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
                        deadline == CIPC_NO_DEADLINE ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
  return result == 0 || errno == EAGAIN ? 0 : -errno;
}

int cipc_futex_wait(const uint32_t *word, uint32_t expected, cipc_deadline_t deadline) {
  cipc_deadline_t slice = cipc_clock_slice(deadline);
  int status = cipc_futex_wait_until(word, expected, slice);
  if (status == -EINTR) return 0;
  return status == CIPC_ETIMEDOUT && slice < deadline ? 0 : status;
}

int cipc_futex_wake(const uint32_t *word, int count) {
  long result = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
  return result < 0 ? -errno : (int)result;
}
