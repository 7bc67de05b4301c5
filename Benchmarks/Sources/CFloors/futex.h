/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOORS_FUTEX_H
#define FLOORS_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fail.h"

static inline void futex_wake(uint32_t *word) {
  if (syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) < 0) fail("futex", errno);
}

/// Sleeps while the word has a value.
static inline void futex_wait(uint32_t *word, uint32_t value) {
  while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value) {
    if (syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0) < 0 && errno != EAGAIN &&
        errno != EINTR) {
      fail("futex", errno);
    }
  }
}

#endif
