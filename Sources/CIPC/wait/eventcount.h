/* SPDX-License-Identifier: Apache-2.0 */
// A word on which processes sleep until something changes that is written elsewhere: a sequence,
// and a bit that says that there may be sleepers, so that who changes something need not ask the
// kernel.
//
// Who waits: looks; `mark`; looks again, sequentially consistent; sleeps while the word is as
// marked. Who changes: changes, sequentially consistent; `wake`. Either the change sees the mark,
// or the second look sees the change. The mark is sticky, not a count: that would leak with who is
// killed.
#ifndef CIPC_EVENTCOUNT_H
#define CIPC_EVENTCOUNT_H

#include <limits.h>
#include <stdint.h>

#include "base/futex.h"

#define CIPC_EVENTCOUNT_MARK 1u
#define CIPC_EVENTCOUNT_STEP 2u

// Marks that somebody is about to sleep; the value to sleep on.
static inline uint32_t cipc_eventcount_mark(uint32_t *word) {
  return __atomic_fetch_or(word, CIPC_EVENTCOUNT_MARK, __ATOMIC_SEQ_CST) | CIPC_EVENTCOUNT_MARK;
}

// Wakes up to `count` sleepers, whatever the mark says.
static inline void cipc_eventcount_wake_marked(uint32_t *word, uint32_t count) {
  // A new sequence: who has looked in vain and is not asleep yet will not fall asleep.
  uint32_t now = __atomic_add_fetch(word, CIPC_EVENTCOUNT_STEP, __ATOMIC_SEQ_CST);
  int woken = cipc_futex_wake(word, count < INT_MAX ? (int)count : INT_MAX);
  if (woken < 0 || (uint32_t)woken >= count) return;
  // Nobody is left asleep, so the mark goes, and with it the system calls of those who come after
  // this. Whoever has fallen asleep in between is woken without it, to set it again.
  uint32_t idle = (now + CIPC_EVENTCOUNT_STEP) & ~CIPC_EVENTCOUNT_MARK;
  if (__atomic_compare_exchange_n(word, &now, idle, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
    (void)cipc_futex_wake(word, INT_MAX);
  }
}

// Wakes up to `count` sleepers if there may be any.
static inline void cipc_eventcount_wake(uint32_t *word, uint32_t count) {
  if (__builtin_expect(__atomic_load_n(word, __ATOMIC_SEQ_CST) & CIPC_EVENTCOUNT_MARK, 0)) {
    cipc_eventcount_wake_marked(word, count);
  }
}

#endif
