/* SPDX-License-Identifier: Apache-2.0 */
// Waiting for a ring: trying, spinning for a while, then sleeping.
#ifndef CIPC_RING_BACKOFF_H
#define CIPC_RING_BACKOFF_H

#include "ring/hold.h"

// What is tried. `limit` is until when to wait for the side. CIPC_EAGAIN: sleep and try again.
typedef int (*cipc_ring_attempt_t)(cipc_ring_t *ring, void *request, cipc_deadline_t limit);

// Tries until the deadline.
int cipc_backoff_wait(cipc_ring_t *ring, cipc_ring_side_t side, cipc_ring_attempt_t attempt,
                      void *request, cipc_deadline_t deadline);

// Tries once: a step, as wait.h says.
int cipc_backoff_step(cipc_ring_t *ring, cipc_ring_side_t side, cipc_ring_attempt_t attempt,
                      void *request, int look, cipc_wait_t *wait);

// How often this thread has put something: it may be waiting for the answer next.
extern __thread uint32_t cipc_backoff_puts __attribute__((visibility("hidden")));

// Whether those who only try are to look for the dead by now.
bool cipc_backoff_is_time(cipc_ring_t *ring);

#endif
