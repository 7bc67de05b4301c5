/* SPDX-License-Identifier: Apache-2.0 */
// Futex words shared between processes. The only room that names the system call.
#ifndef CIPC_FUTEX_H
#define CIPC_FUTEX_H

#include <stdint.h>

#include "cipc/clock.h"

// Sleeps while `*word` is `expected`, until woken, the deadline, or the end of a slice
// (CIPC_SLICE_NANOSECONDS), whichever is first.
//
// 0: look again: the word differs, a wake-up came, a signal, or the slice ended. CIPC_ETIMEDOUT:
// the deadline passed. Other -errno: the word is not mapped or not aligned.
int cipc_futex_wait(const uint32_t *word, uint32_t expected, cipc_deadline_t deadline);

// As cipc_futex_wait, without slices: until the deadline itself.
//
// 0: woken, or the word differs. -EINTR: a signal. CIPC_ETIMEDOUT and other -errno as above.
int cipc_futex_wait_until(const uint32_t *word, uint32_t expected, cipc_deadline_t deadline);

// A word to sleep on beside others. Has the layout of the kernel's struct futex_waitv.
typedef struct cipc_futex_word {
  uint64_t expected;
  uint64_t address;
  uint32_t flags;
  uint32_t reserved;
} cipc_futex_word_t;

// What cipc_futex_wait_any takes at most.
#define CIPC_FUTEX_WORDS_MAX 128

cipc_futex_word_t cipc_futex_word(const uint32_t *word, uint32_t expected);

// Sleeps while all of the words are as expected (Linux 5.16).
//
// The index of one that was woken; others may have been as well. CIPC_EAGAIN: one of them differs.
// -EINTR; CIPC_ETIMEDOUT; CIPC_ENOSYS, CIPC_EPERM: not to be had here; -EFAULT, CIPC_EINVAL: one is
// not mapped or not aligned.
int cipc_futex_wait_any(const cipc_futex_word_t *words, unsigned count, cipc_deadline_t deadline);

// Wakes up to `count` sleepers of any process that maps the word. The number woken, or -errno.
int cipc_futex_wake(const uint32_t *word, int count);

#endif
