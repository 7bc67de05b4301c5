/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOORS_SPIN_H
#define FLOORS_SPIN_H

#include <sched.h>
#include <stdint.h>

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#else
  __asm__ volatile("" ::: "memory");
#endif
}

/// Between two looks of a wait that spins, given how many there were. Gives way now and then, where
/// the other may not have a core of its own.
static inline void spin(uint32_t looks) {
  if (looks % 4096 == 0) {
    (void)sched_yield();
  } else {
    pause_briefly();
  }
}

#endif
