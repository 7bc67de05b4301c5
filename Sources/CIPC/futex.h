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

// Wakes up to `count` sleepers of any process that maps the word. The number woken, or -errno.
int cipc_futex_wake(const uint32_t *word, int count);

#endif
