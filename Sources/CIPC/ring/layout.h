/* SPDX-License-Identifier: Apache-2.0 */
// A ring's shared bytes.
//
// A ring is made of up to eight *tiers*, byte rings of growing size. The tail is in one of them; a
// producer that finds it full goes on in a larger one, and consumers follow. The tiers between the
// head's and the tail's, by way of `closed`, are the ones in use.
#ifndef CIPC_RING_LAYOUT_H
#define CIPC_RING_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>

#include "cipc/mutex.h"
#include "cipc/ring.h"

#define CIPC_RING_TIERS 8u
// Positions and sizes are in units of eight bytes.
#define CIPC_RING_UNIT 8u
// The first tier, to which a ring returns when little is in it; and what all of a ring with at most
// that capacity has.
#define CIPC_RING_FIRST (UINT64_C(1) << 16)
#define CIPC_RING_SINGLE (UINT64_C(1) << 20)

// MARK: Indices

// Where a record begins: the tier, the position in it in units, and the record's number. One word,
// so that a single store moves on by any of the three: bits 0 to 27 the number, 28 to 59 the
// position, 60 to 62 the tier. Bit 63 of the tail says that the stream is finished.
typedef uint64_t cipc_index_t;

#define CIPC_INDEX_NUMBERS 28
#define CIPC_INDEX_NUMBER_MASK ((UINT64_C(1) << CIPC_INDEX_NUMBERS) - 1)
#define CIPC_INDEX_POSITION_MASK UINT64_C(0xffffffff)
#define CIPC_INDEX_TIER_SHIFT 60
#define CIPC_INDEX_TIER_MASK (UINT64_C(7) << CIPC_INDEX_TIER_SHIFT)
#define CIPC_INDEX_FINISHED (UINT64_C(1) << 63)

static inline uint32_t cipc_index_tier(cipc_index_t index) {
  return (uint32_t)(index >> CIPC_INDEX_TIER_SHIFT) & (CIPC_RING_TIERS - 1);
}
static inline uint64_t cipc_index_position(cipc_index_t index) {
  return (index >> CIPC_INDEX_NUMBERS) & CIPC_INDEX_POSITION_MASK;
}
static inline uint64_t cipc_index_number(cipc_index_t index) {
  return index & CIPC_INDEX_NUMBER_MASK;
}
static inline cipc_index_t cipc_index_make(uint32_t tier, uint64_t position, uint64_t number) {
  return (uint64_t)tier << CIPC_INDEX_TIER_SHIFT | position << CIPC_INDEX_NUMBERS |
         (number & CIPC_INDEX_NUMBER_MASK);
}
// Whether an index has come to another tier, or back to the beginning of its own: as good a time as
// any for what is to be done now and then.
static inline bool cipc_index_has_turned(cipc_index_t from, cipc_index_t to) {
  return (to >> CIPC_INDEX_NUMBERS) < (from >> CIPC_INDEX_NUMBERS) ||
         cipc_index_tier(from) != cipc_index_tier(to);
}
// Records from one index to a later one.
static inline uint64_t cipc_index_records(cipc_index_t from, cipc_index_t to) {
  return (to - from) & CIPC_INDEX_NUMBER_MASK;
}

// MARK: Shared bytes

// The payload of a ring's segment begins with this; the tiers follow from the next page on. The
// members that producers write and those that consumers write lie 128 bytes apart or more, since
// processors fetch lines in pairs.
typedef struct cipc_ring_control {
  // Written by the creator before anyone else can see them.
  uint32_t flags;
  // Written by anyone. Nonzero: a process has or had it open that is not among the segment's
  // participants, so that nobody can tell who is left.
  uint32_t is_uncounted;
  uint64_t capacity;
  uint64_t records;
  cipc_participant_t creator;
  // Written by anyone. Nonzero: another process used the ring, or was expected to; a forked child
  // that merely inherited it does not count. And how many have left.
  uint32_t is_shared;
  uint32_t departures;
  uint64_t pad0[11];

  // Producers' side: written with `producers`, or by the process that `producer` names.
  cipc_mutex_t producers;
  // Commit point of putting and of finishing.
  cipc_index_t tail;
  // What the head (of leased rings `low`) was when it was last looked at: never ahead of it.
  cipc_index_t seen_low;
  // SPSC: who produces. Claimed by one compare-and-swap.
  cipc_participant_t producer;
  uint64_t pad1[5];
  // Where the content of a tier that the tail has left ends, and in the place of the tier, which
  // one it goes on in. Means nothing for the tier in which the tail is.
  cipc_index_t closed[CIPC_RING_TIERS];
  // Units of each tier, from its beginning, that have memory for certain; that may have some.
  uint64_t backed[CIPC_RING_TIERS];
  uint64_t touched[CIPC_RING_TIERS];

  // Consumers' side, likewise.
  uint64_t pad2[8];
  cipc_mutex_t consumers;
  // Commit point of getting, and of leasing.
  cipc_index_t head;
  // What the tail was when it was last looked at.
  cipc_index_t seen_tail;
  // SPSC: who consumes.
  cipc_participant_t consumer;
  // Leased: all before it are acknowledged; derived from the records, never ahead.
  cipc_index_t low;
  // Leased: how many records between `low` and the head were handed back. Never too low.
  uint64_t returned;
  uint64_t pad3[11];

  // eventcount.h: for records, for space, for everything to be acknowledged.
  uint32_t items;
  uint32_t pad4[31];
  uint32_t space;
  uint32_t pad5[31];
  uint32_t done;
  uint32_t pad6[31];
} cipc_ring_control_t;

_Static_assert(offsetof(cipc_ring_control_t, producers) == 128, "lines of the producers");
_Static_assert(offsetof(cipc_ring_control_t, tail) == 192, "lines of the producers");
_Static_assert(offsetof(cipc_ring_control_t, closed) == 256, "lines of the producers");
_Static_assert(offsetof(cipc_ring_control_t, consumers) == 512, "lines of the consumers");
_Static_assert(offsetof(cipc_ring_control_t, head) == 576, "lines of the consumers");
_Static_assert(offsetof(cipc_ring_control_t, items) == 704, "the words' lines");
_Static_assert(sizeof(cipc_ring_control_t) == 704 + 3 * 128, "no padding");

// A record is a word {length (32 bits), deliveries (32 bits)}, in leased rings the word of its
// owner, and its bytes. The owner is nobody, a process, or this: acknowledged.
#define CIPC_RING_DONE UINT64_MAX

#endif
