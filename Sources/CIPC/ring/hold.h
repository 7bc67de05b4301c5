/* SPDX-License-Identifier: Apache-2.0 */
// A process's hold on a ring.
#ifndef CIPC_RING_HOLD_H
#define CIPC_RING_HOLD_H

#include <stdbool.h>

#include "ring/layout.h"

// How a process waits on one side; hints, relaxed.
typedef struct cipc_backoff {
  // Pauses between looks.
  uint32_t pauses;
  // Waits to come that do not spin, and how many that will be after the next spin in vain.
  uint32_t skip;
  uint32_t penalty;
} cipc_backoff_t;

typedef enum cipc_ring_side { CIPC_RING_ITEMS, CIPC_RING_SPACE, CIPC_RING_WHOLE } cipc_ring_side_t;
#define CIPC_RING_SIDES 3u

typedef struct cipc_tier {
  // Bytes into the payload, and units; fixed when the ring was opened.
  size_t offset;
  uint64_t units;
  // Mapped twice in a row, when it is first used; set by one compare-and-swap.
  unsigned char *base;
  // Steps of its memory, from 1: where consumers of this hold were last, and up to which it was
  // entered into the page table for reading since they came here. Relaxed.
  uint64_t step;
  uint64_t entered;
} cipc_tier_t;

struct cipc_ring {
  cipc_segment_t *segment;
  cipc_ring_control_t *control;
  // Behind which bytes are free: the control's head, or its `low`.
  cipc_index_t *low;
  unsigned flags;
  uint32_t tier_count;
  // Units that a record has before its bytes.
  uint64_t header;
  uint64_t capacity;  // units
  // Units that can be in the first tier while there is nothing in others.
  uint64_t first_space;
  uint64_t records;  // as many as can wait, at most the largest number
  size_t longest;    // bytes of a record
  cipc_tier_t tiers[CIPC_RING_TIERS];

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
  // When a consumer of this hold was last on its way through tiers beyond the first.
  cipc_deadline_t busy_at;
  cipc_backoff_t backoff[CIPC_RING_SIDES];

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
  size_t lease_capacity;
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

// Units from one position of a tier to another that is `records` records on.
static inline uint64_t cipc_tier_used(const cipc_tier_t *tier, uint64_t from, uint64_t to,
                                      uint64_t records) {
  uint64_t used = (to - from) & (tier->units - 1);
  return used == 0 && records != 0 ? tier->units : used;
}

// Notes that this process does something through this hold.
static inline void cipc_ring_note(cipc_participant_t *mark) {
  cipc_participant_t self = cipc_participant_current();
  if (__builtin_expect(__atomic_load_n(mark, __ATOMIC_RELAXED) != self, 0)) {
    __atomic_store_n(mark, self, __ATOMIC_RELAXED);
  }
}

#endif
