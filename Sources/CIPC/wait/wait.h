/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_WAIT_PRIVATE_H
#define CIPC_WAIT_PRIVATE_H

#include <stdbool.h>

#include "base/clock.h"
#include "cipc/poller.h"
#include "cipc/wait.h"

// How long a slice is; tests make it so long that nothing can come of its end.
#ifdef CIPC_FAULTS
extern cipc_deadline_t cipc_wait_slice;
#else
#define cipc_wait_slice CIPC_SLICE_NANOSECONDS
#endif

// For steps that cannot go on: each says what to wait for, and returns CIPC_EAGAIN.
static inline int cipc_wait_for_word(cipc_wait_t *wait, const uint32_t *word, uint32_t expected) {
  *wait = (cipc_wait_t){.word = word, .expected = expected};
  return CIPC_EAGAIN;
}

static inline int cipc_wait_for_descriptor(cipc_wait_t *wait, int fd, unsigned directions) {
  *wait = (cipc_wait_t){.kind = CIPC_WAIT_DESCRIPTOR, .descriptor = fd, .directions = directions};
  return CIPC_EAGAIN;
}

// From 1 ms to 50 ms, twice as long as the pause before where that was the step's last word.
static inline int cipc_wait_for_pause(cipc_wait_t *wait) {
  int64_t pause = wait->kind == CIPC_WAIT_PAUSE ? wait->pause * 2 : 1000000;
  *wait = (cipc_wait_t){.kind = CIPC_WAIT_PAUSE, .pause = pause < 50000000 ? pause : 50000000};
  return CIPC_EAGAIN;
}

// How giving way went lately; one for each thread and what it waits for. All zero at first.
typedef struct cipc_giving_way {
  uint32_t skips;
  uint32_t skipped;
} cipc_giving_way_t;

// Lets another process have the processor once before this one sleeps; whether what is waited for
// has happened. Where both share a processor, the other one is often just behind its wake-up of us
// and about to do its part: then neither has to sleep, nor to be woken. Where that turns out wrong,
// it is tried more and more seldom.
bool cipc_wait_give_way(cipc_giving_way_t *past, bool (*has_happened)(const void *),
                        const void *context);

#endif
