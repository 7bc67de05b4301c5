/* SPDX-License-Identifier: Apache-2.0 */
#include "base/futex.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
// FUTEX_32 of linux/futex.h.
#define WORD_OF_32_BITS 2u

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

cipc_futex_word_t cipc_futex_word(const uint32_t *word, uint32_t expected) {
  return (cipc_futex_word_t){
      .expected = expected, .address = (uintptr_t)word, .flags = WORD_OF_32_BITS, .reserved = 0};
}

int cipc_futex_wait_any(const cipc_futex_word_t *words, unsigned count, cipc_deadline_t deadline) {
  struct timespec time = cipc_clock_timespec(deadline > 0 ? deadline : 0);
  // The kernel's timespec has 64 bits in both members on every machine.
  const int64_t until[2] = {(int64_t)time.tv_sec, (int64_t)time.tv_nsec};
  long result = syscall(SYS_futex_waitv, words, count, 0,
                        deadline == CIPC_NO_DEADLINE ? NULL : until, CLOCK_MONOTONIC);
  return result < 0 ? -errno : (int)result;
}

int cipc_futex_wake(const uint32_t *word, int count) {
  long result = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
  return result < 0 ? -errno : (int)result;
}
