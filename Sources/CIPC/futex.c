/* SPDX-License-Identifier: Apache-2.0 */
#include "futex.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

int cipc_futex_wait(const uint32_t *word, uint32_t expected, cipc_deadline_t deadline) {
  cipc_deadline_t slice = cipc_clock_slice(deadline);
  struct timespec until = cipc_clock_timespec(slice);
  // FUTEX_WAIT_BITSET takes an absolute time on CLOCK_MONOTONIC, plain FUTEX_WAIT a relative one
  // that starts anew after each signal.
  long result =
      syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, &until, NULL, FUTEX_BITSET_MATCH_ANY);
  if (result == 0) return 0;
  switch (errno) {
    case EAGAIN:
    case EINTR:
      return 0;
    case ETIMEDOUT:
      return slice < deadline ? 0 : CIPC_ETIMEDOUT;
    default:
      return -errno;
  }
}

int cipc_futex_wake(const uint32_t *word, int count) {
  long result = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
  return result < 0 ? -errno : (int)result;
}
