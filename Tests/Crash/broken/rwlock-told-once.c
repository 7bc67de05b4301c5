/* SPDX-License-Identifier: Apache-2.0 */
// A lock that forgets the death of a writer once it has told another.
// Caught: rwlock.write-lock owns: first told 1, then 0, and nobody had recovered
#include <stdint.h>

static inline uint32_t open_and_forget(uint32_t *word, uint32_t kept) {
  uint32_t dirty = 4;
  uint32_t full = 16;
  return __atomic_fetch_and(word, kept == (dirty | full) ? full : kept, __ATOMIC_SEQ_CST);
}

#define __atomic_fetch_and(word, kept, order) open_and_forget(word, kept)
#include "sync/rwlock.c"
