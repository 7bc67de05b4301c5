/* SPDX-License-Identifier: Apache-2.0 */
// What the rooms of a ring share: its bytes, and a process's hold on it.
//
// A ring is a ladder of up to eight *rungs*, byte rings of growing size. The tail is in one of
// them; a producer that finds it full goes on in a larger one, and consumers follow. The rungs
// between the head's and the tail's, by way of `closed`, are the *chain*. From the ground floor up:
// ladder.c (rungs: where things go, and their memory), patience.c (spinning and sleeping),
// producer.c and consumer.c (a side each), lease.c (records that are taken and not done), ring.c
// (opening and closing).
#ifndef CIPC_RING_PRIVATE_H
#define CIPC_RING_PRIVATE_H

#include <stdbool.h>
#include <string.h>

#include "cipc/mutex.h"
#include "cipc/ring.h"

#define CIPC_RING_RUNGS 8u
// Positions and sizes are in units of eight bytes.
#define CIPC_RING_UNIT 8u
// The first rung, to which a ring returns when little is in it; and what all of a ring with at most
// that capacity has.
#define CIPC_RING_FIRST (UINT64_C(1) << 16)
#define CIPC_RING_SINGLE (UINT64_C(1) << 20)

// MARK: Indices

// Where a record begins: the rung, the position in it in units, and the record's number. One word,
// so that a single store moves on by any of the three: bits 0 to 27 the number, 28 to 59 the
// position, 60 to 62 the rung. Bit 63 of the tail says that the stream is finished.
typedef uint64_t cipc_index_t;

#define CIPC_INDEX_NUMBERS 28
#define CIPC_INDEX_NUMBER_MASK ((UINT64_C(1) << CIPC_INDEX_NUMBERS) - 1)
#define CIPC_INDEX_POSITION_MASK UINT64_C(0xffffffff)
#define CIPC_INDEX_RUNG_SHIFT 60
#define CIPC_INDEX_RUNG_MASK (UINT64_C(7) << CIPC_INDEX_RUNG_SHIFT)
#define CIPC_INDEX_FINISHED (UINT64_C(1) << 63)

static inline uint32_t cipc_index_rung(cipc_index_t index) {
  return (uint32_t)(index >> CIPC_INDEX_RUNG_SHIFT) & (CIPC_RING_RUNGS - 1);
}
static inline uint64_t cipc_index_position(cipc_index_t index) {
  return (index >> CIPC_INDEX_NUMBERS) & CIPC_INDEX_POSITION_MASK;
}
static inline uint64_t cipc_index_number(cipc_index_t index) {
  return index & CIPC_INDEX_NUMBER_MASK;
}
static inline cipc_index_t cipc_index_make(uint32_t rung, uint64_t position, uint64_t number) {
  return (uint64_t)rung << CIPC_INDEX_RUNG_SHIFT | position << CIPC_INDEX_NUMBERS |
         (number & CIPC_INDEX_NUMBER_MASK);
}
// Whether an index has come to another rung, or back to the beginning of its own: as good a time as
// any for what is to be done now and then.
static inline bool cipc_index_has_turned(cipc_index_t from, cipc_index_t to) {
  return (to >> CIPC_INDEX_NUMBERS) < (from >> CIPC_INDEX_NUMBERS) ||
         cipc_index_rung(from) != cipc_index_rung(to);
}
// Records from one index to a later one.
static inline uint64_t cipc_index_records(cipc_index_t from, cipc_index_t to) {
  return (to - from) & CIPC_INDEX_NUMBER_MASK;
}

// MARK: Shared bytes

// The payload of a ring's segment begins with this; the rungs follow from the next page on. The
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
  // Written by anyone. Nonzero: there has been somebody else, or he was expected: another process
  // that used the ring, not one that was forked and has it for no reason of its own. And how many
  // have left.
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
  // Where the content of a rung that the tail has left ends, and in the place of the rung, which
  // one it goes on in. Means nothing for the rung in which the tail is.
  cipc_index_t closed[CIPC_RING_RUNGS];
  // Units of each rung, from its beginning, that have memory for certain; that may have some.
  uint64_t backed[CIPC_RING_RUNGS];
  uint64_t touched[CIPC_RING_RUNGS];

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

  // sleepers.h: for records, for room, for everything to be acknowledged.
  uint32_t items;
  uint32_t pad4[31];
  uint32_t room;
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

// MARK: A process's hold

// How a process waits on one side; hints, relaxed.
typedef struct cipc_patience {
  // Pauses between looks.
  uint32_t pauses;
  // Waits to come that do not spin, and how many that will be after the next spin in vain.
  uint32_t skip;
  uint32_t penalty;
} cipc_patience_t;

typedef enum cipc_ring_side { CIPC_RING_ITEMS, CIPC_RING_ROOM, CIPC_RING_WHOLE } cipc_ring_side_t;
#define CIPC_RING_SIDES 3u

typedef struct cipc_rung {
  // Bytes into the payload, and units; fixed when the ring was opened.
  size_t offset;
  uint64_t units;
  // Mapped twice in a row, when it is first used; set by one compare-and-swap.
  unsigned char *base;
  // Steps of its memory, from 1: where consumers of this hold were last, and up to which it was
  // entered into the page table for reading since they came here. Relaxed.
  uint64_t step;
  uint64_t entered;
} cipc_rung_t;

struct cipc_ring {
  cipc_segment_t *segment;
  cipc_ring_control_t *control;
  // Behind which bytes are free: the control's head, or its `low`.
  cipc_index_t *low;
  unsigned flags;
  uint32_t rung_count;
  // Units that a record has before its bytes.
  uint64_t header;
  uint64_t capacity;  // units
  // Units that can be in the first rung while there is nothing in others.
  uint64_t first_room;
  uint64_t records;  // as many as can wait, at most the largest number
  size_t longest;    // bytes of a record
  cipc_rung_t rungs[CIPC_RING_RUNGS];

  // The process that has used this hold last: a forked child has its parent's. Relaxed.
  cipc_participant_t user;
  // Likewise the one that has used a side through this hold, and that has offered the ring to
  // another: by what a process did it is known what may still come of it (*Alone* in cipc/ring.h).
  // One that puts while another thread waits for a record has come to that side before.
  cipc_participant_t producing, consuming, offering;
  // CIPC_RING_ALONE_*. Relaxed.
  int when_alone;
  uint32_t is_shut;
  int64_t spin;
  cipc_deadline_t next_look;
  // When a consumer of this hold was last on its way through rungs beyond the first.
  cipc_deadline_t busy_at;
  cipc_patience_t patience[CIPC_RING_SIDES];

  // Under the producers' side.
  struct {
    bool is_open;
    uint32_t count;
    cipc_index_t next;
    cipc_index_t last;
    size_t last_length;
  } batch;

  // Under the consumers' side.
  struct {
    bool is_open;
    cipc_index_t next;
  } shown;
  // Tickets of the leases of this hold, in the order in which they were taken.
  uint64_t *leases;
  size_t lease_count;
  size_t lease_room;
  // Whose they are: a forked child has its parent's list, and none of its leases.
  cipc_participant_t lessee;

  // SPSC: the process that claimed the side through this hold: a forked child is another.
  cipc_participant_t producer;
  cipc_participant_t consumer;
};

static inline bool cipc_ring_has_locks(const cipc_ring_t *ring) {
  return (ring->flags & CIPC_RING_SPSC) == 0;
}
static inline bool cipc_ring_is_leased(const cipc_ring_t *ring) {
  return ring->low != &ring->control->head;
}
static inline bool cipc_ring_was_shut(const cipc_ring_t *ring) {
  return __atomic_load_n(&ring->is_shut, __ATOMIC_RELAXED) != 0;
}

// Units that a record of `length` bytes takes. `length` is at most the longest record's.
static inline uint64_t cipc_ring_units(const cipc_ring_t *ring, size_t length) {
  return ring->header + ((uint64_t)length + CIPC_RING_UNIT - 1) / CIPC_RING_UNIT;
}

// Units from one position of a rung to another that is `records` records on.
static inline uint64_t cipc_rung_used(const cipc_rung_t *rung, uint64_t from, uint64_t to,
                                      uint64_t records) {
  uint64_t used = (to - from) & (rung->units - 1);
  return used == 0 && records != 0 ? rung->units : used;
}

// Notes that this process uses the ring: one that did not make it is somebody else.
void cipc_ring_meet(cipc_ring_t *ring, cipc_participant_t self);

// Notes that this process does something through this hold.
static inline void cipc_ring_note(cipc_participant_t *mark) {
  cipc_participant_t self = cipc_participant_current();
  if (__builtin_expect(__atomic_load_n(mark, __ATOMIC_RELAXED) != self, 0)) {
    __atomic_store_n(mark, self, __ATOMIC_RELAXED);
  }
}

// Whether a call may go on: 0; CIPC_ECLOSED.
static inline int cipc_ring_begin(cipc_ring_t *ring) {
  if (__builtin_expect(cipc_ring_was_shut(ring), 0)) return CIPC_ECLOSED;
  cipc_participant_t self = cipc_participant_current();
  if (__builtin_expect(__atomic_load_n(&ring->user, __ATOMIC_RELAXED) != self, 0)) {
    cipc_ring_meet(ring, self);
  }
  return 0;
}

// MARK: ladder.c

// How many rungs a ring of this kind has, and their sizes; 0 for a configuration that no ring has.
// `size` is that of the payload, `backed` how much of it has memory from the beginning.
uint32_t cipc_ladder_plan(unsigned flags, uint64_t capacity, cipc_rung_t *rungs, size_t *size,
                          size_t *backed);

// Whether an index from shared memory is one of this ring's at all.
static inline bool cipc_ladder_has(const cipc_ring_t *ring, cipc_index_t index) {
  uint32_t rung = cipc_index_rung(index);
  return rung < ring->rung_count && cipc_index_position(index) < ring->rungs[rung].units;
}

// The memory of a rung, mapped if need be: 0; CIPC_ENOMEM, -errno.
int cipc_ladder_map(cipc_ring_t *ring, uint32_t rung, unsigned char **base);
void cipc_ladder_unmap(cipc_ring_t *ring);

// The words at an index of the ring's whose rung is mapped.
static inline uint64_t *cipc_ladder_at(const cipc_ring_t *ring, cipc_index_t index) {
  unsigned char *base =
      __atomic_load_n(&ring->rungs[cipc_index_rung(index)].base, __ATOMIC_RELAXED);
  return (uint64_t *)(void *)(base + cipc_index_position(index) * CIPC_RING_UNIT);
}

// What lies between two indices, the former of them at or before the latter.
typedef struct cipc_ladder_extent {
  // Units in all, and in the rung of the latter.
  uint64_t units;
  uint64_t last;
  // A bit for each rung of the chain.
  uint32_t chain;
} cipc_ladder_extent_t;

// 0; CIPC_ERINGINDEX: one of them is not an index of the ring's, or they are not in one chain.
int cipc_ladder_measure(const cipc_ring_t *ring, cipc_index_t from, cipc_index_t to,
                        cipc_ladder_extent_t *extent);

// `cipc_ladder_place` where it is not as simple as mostly.
int cipc_ladder_place_slowly(cipc_ring_t *ring, cipc_index_t tail, uint64_t units,
                             cipc_index_t *place);

// Where `units` can be written behind `tail`, and that there is memory; with the producers' side.
// Writes `closed` where that is in another rung, which nobody looks at before the tail moves.
//
// 0; CIPC_EAGAIN: no room; CIPC_ERINGINDEX; CIPC_ENOMEM, CIPC_ENOSPC, -errno.
static inline int cipc_ladder_place(cipc_ring_t *ring, cipc_index_t tail, uint64_t units,
                                    cipc_index_t *place) {
  const cipc_ring_control_t *control = ring->control;
  const cipc_rung_t *first = &ring->rungs[0];
  cipc_index_t low = __atomic_load_n(&control->seen_low, __ATOMIC_RELAXED);
  uint64_t position = cipc_index_position(tail);
  uint64_t records = cipc_index_records(low, tail);
  uint64_t used = cipc_rung_used(first, cipc_index_position(low), position, records);
  // All in the first rung, which is mapped, with room as far as was last seen.
  if (__builtin_expect(
          ((low | tail) & CIPC_INDEX_RUNG_MASK) == 0 && used + units <= ring->first_room &&
              records < ring->records &&
              position + units <= __atomic_load_n(&control->backed[0], __ATOMIC_RELAXED) &&
              position + units <= first->units,
          1)) {
    *place = tail;
    return 0;
  }
  return cipc_ladder_place_slowly(ring, tail, units, place);
}

// The index behind a record of `units`.
static inline cipc_index_t cipc_ladder_behind(const cipc_ring_t *ring, cipc_index_t index,
                                              uint64_t units) {
  uint32_t rung = cipc_index_rung(index);
  uint64_t position = (cipc_index_position(index) + units) & (ring->rungs[rung].units - 1);
  return cipc_index_make(rung, position, cipc_index_number(index) + 1);
}

// Goes to where the record at `index` really is, if its rung was closed there; `*limit` is where
// what can be read in that rung ends. `end` is behind the last record: a tail. They differ.
//
// 0, and the rung is mapped; CIPC_ERINGINDEX; CIPC_ENOMEM, -errno.
int cipc_ladder_follow_slowly(cipc_ring_t *ring, cipc_index_t *index, cipc_index_t end,
                              cipc_index_t *limit);
static inline int cipc_ladder_follow(cipc_ring_t *ring, cipc_index_t *index, cipc_index_t end,
                                     cipc_index_t *limit) {
  // The first rung is always mapped.
  if (__builtin_expect(((*index | end) & CIPC_INDEX_RUNG_MASK) == 0, 1)) {
    *limit = end;
    return 0;
  }
  return cipc_ladder_follow_slowly(ring, index, end, limit);
}

// Reads the length of the record at an index that was followed, once, and checks it: 0, and where
// the next one is; CIPC_ERINGRECORD.
static inline int cipc_ladder_read(const cipc_ring_t *ring, cipc_index_t index, cipc_index_t limit,
                                   size_t *length, cipc_index_t *next) {
  const cipc_rung_t *rung = &ring->rungs[cipc_index_rung(index)];
  uint64_t used = cipc_rung_used(rung, cipc_index_position(index), cipc_index_position(limit),
                                 cipc_index_records(index, limit));
  // Once: it is the others' to write.
  uint32_t claimed = (uint32_t)__atomic_load_n(cipc_ladder_at(ring, index), __ATOMIC_RELAXED);
  uint64_t units = cipc_ring_units(ring, claimed);
  if (__builtin_expect(units > used, 0)) return CIPC_ERINGRECORD;
  *length = claimed;
  *next = cipc_ladder_behind(ring, index, units);
  return 0;
}

// With the producers' side: gives back all memory outside of the chain.
void cipc_ladder_trim(cipc_ring_t *ring);

// With the consumers' side: once nothing has gone through the rungs beyond the first for a while,
// returns an empty ring to the first, and gives back some of the memory outside of the chain, if
// there is any. Does nothing while somebody has the producers' side.
void cipc_ladder_tidy(cipc_ring_t *ring);

// With the consumers' side, and once `cipc_index_has_turned`: notes the way, and tidies.
void cipc_ladder_turn(cipc_ring_t *ring, cipc_index_t to);

// MARK: patience.c

// What is tried. `limit` is until when to wait for the side. CIPC_EAGAIN: sleep and try again.
typedef int (*cipc_ring_attempt_t)(cipc_ring_t *ring, void *request, cipc_deadline_t limit);

// Tries until the deadline.
int cipc_patience_wait(cipc_ring_t *ring, cipc_ring_side_t side, cipc_ring_attempt_t attempt,
                       void *request, cipc_deadline_t deadline);

// Tries once: a step, as wait.h says.
int cipc_patience_step(cipc_ring_t *ring, cipc_ring_side_t side, cipc_ring_attempt_t attempt,
                       void *request, int look, cipc_wait_t *wait);

// How often this thread has put something: it may be waiting for the answer next.
extern __thread uint32_t cipc_patience_puts __attribute__((visibility("hidden")));

// Gives the other processor the lines, for some 15 to 50 ns a time.
void cipc_patience_pause(uint32_t count);

// Whether those who only try are to look for the dead by now.
bool cipc_patience_is_time(cipc_ring_t *ring);

// MARK: producer.c, consumer.c

// Takes a side: 0; CIPC_ETIMEDOUT, CIPC_ECLOSED, CIPC_EBUSY, CIPC_EDEADLK, other statuses of
// mutexes.
int cipc_producer_enter(cipc_ring_t *ring, cipc_deadline_t limit);
void cipc_producer_leave(cipc_ring_t *ring);
int cipc_consumer_enter(cipc_ring_t *ring, cipc_deadline_t limit);
// The same, by a process that takes nothing: it puts in order what others left.
int cipc_consumer_visit(cipc_ring_t *ring, cipc_deadline_t limit);
void cipc_consumer_leave(cipc_ring_t *ring);

// With the consumers' side: the record at `index`, if there is one. 0, CIPC_EAGAIN, CIPC_EFINISHED,
// and what cipc_ladder_follow and cipc_ladder_read say.
int cipc_consumer_find(cipc_ring_t *ring, cipc_index_t *index, size_t *length, cipc_index_t *next);

// SPSC: makes this process the holder of a side, if nobody alive is. 0; CIPC_RING_CLAIMED: it was
// not before, and what the hold has under that side is not its own; CIPC_EBUSY.
#define CIPC_RING_CLAIMED 1
int cipc_ring_claim(cipc_participant_t *word, cipc_participant_t *mine);

// MARK: lease.c

// With the consumers' side: looks for leases of the dead, and moves `low` on.
void cipc_lease_sweep(cipc_ring_t *ring);

// With the consumers' side: leases the next record. As cipc_consumer_find; CIPC_ENOMEM.
int cipc_lease_take(cipc_ring_t *ring, cipc_ring_record_t *record);

// With the consumers' side: what a lease would say where nothing is at the head, for which
// `status` is CIPC_EAGAIN or CIPC_EFINISHED: 0: something was handed back; CIPC_EAGAIN.
int cipc_lease_look(const cipc_ring_t *ring, cipc_index_t head, int status);

// With the consumers' side: ends a lease that is the caller's.
int cipc_lease_end(cipc_ring_t *ring, uint64_t ticket, uint64_t owner);

// Hands back all that was leased through this hold.
void cipc_lease_abandon(cipc_ring_t *ring);

#endif
