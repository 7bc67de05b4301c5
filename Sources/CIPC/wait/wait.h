/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_WAIT_PRIVATE_H
#define CIPC_WAIT_PRIVATE_H

#include <stdbool.h>

#include "base/clock.h"
#include "cipc/wait.h"

// How long a slice is; tests make it so long that nothing can come of its end.
#ifdef CIPC_FAULTS
extern cipc_deadline_t cipc_wait_slice;
#else
#define cipc_wait_slice CIPC_SLICE_NANOSECONDS
#endif

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
