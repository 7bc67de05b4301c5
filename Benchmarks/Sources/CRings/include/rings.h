/* SPDX-License-Identifier: Apache-2.0 */
/// Rings used from C, so that the figures are those of the C library alone. A call that fails
/// prints a line and exits.
#ifndef RINGS_H
#define RINGS_H

#include "pairs.h"

typedef enum rings_kind { RINGS_MPMC, RINGS_SPSC } rings_kind_t;

/// One process puts records of 64 bytes (records.h), the other gets them: written into a buffer and
/// copied with `batch` 1, otherwise written and read in place, up to `batch` in one commit. A
/// `capacity` of 0 is what a ring of the kind has unless told.
floor_pair_t *rings_stream_create(int core, rings_kind_t kind, size_t batch, size_t capacity);

/// The same one by one with numbers of 8 bytes, as a queue of `Int` has them.
floor_pair_t *rings_numbers_create(int core, rings_kind_t kind, size_t capacity);

/// How blocking calls wait: as they do from the beginning, or by spinning alone.
typedef enum rings_wait { RINGS_ADAPTIVE, RINGS_SPINNING } rings_wait_t;

/// Two processes that take turns: each puts a record of 64 bytes for the other and gets one in a
/// round.
floor_pair_t *rings_ping_pong_create(int core, rings_kind_t kind, rings_wait_t wait);

/// One process puts records of `size` bytes out of its buffer, the other gets them into its own.
floor_pair_t *rings_copies_create(int core, rings_kind_t kind, size_t size, size_t capacity);

typedef enum rings_waiter { RINGS_WAITS_FOR_RECORD, RINGS_WAITS_FOR_ROOM } rings_waiter_t;

/// A peer that waits for ever; there is nothing to run.
floor_pair_t *rings_waiter_create(int core, rings_kind_t kind, rings_waiter_t waiter);

typedef struct rings_alone rings_alone_t;
/// A ring that one process puts into and gets from.
rings_alone_t *rings_alone_create(rings_kind_t kind);
/// Puts a record of 64 bytes and gets it.
void rings_alone_pairs(rings_alone_t *alone, size_t count);
void rings_alone_end(rings_alone_t *alone);

#endif
