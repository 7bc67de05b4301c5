/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_GUARD_PRIVATE_H
#define CIPC_GUARD_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/futex.h"

// A lock that each object of a kind has, in memory of one process, and all of which a fork takes:
// there may be thousands. Tools that follow pthread mutexes take such a number for a mistake;
// ThreadSanitizer ends the program when a thread holds more than 128 of them.

// All zero: free. 1: taken. 2: taken, and somebody may sleep on it.
typedef struct cipc_guard {
  uint32_t word;
} cipc_guard_t;

static inline void cipc_guard_lock(cipc_guard_t *guard) {
  uint32_t found = 0;
  if (__atomic_compare_exchange_n(&guard->word, &found, 1, false, __ATOMIC_ACQUIRE,
                                  __ATOMIC_RELAXED)) {
    return;
  }
  while (__atomic_exchange_n(&guard->word, 2, __ATOMIC_ACQUIRE) != 0) {
    (void)cipc_futex_wait_until(&guard->word, 2, CIPC_NO_DEADLINE);
  }
}

// Whoever takes it next may free the object at once: the wake-up is only for an address by then.
static inline void cipc_guard_unlock(cipc_guard_t *guard) {
  if (__atomic_exchange_n(&guard->word, 0, __ATOMIC_RELEASE) == 2) {
    (void)cipc_futex_wake(&guard->word, 1);
  }
}

#endif
