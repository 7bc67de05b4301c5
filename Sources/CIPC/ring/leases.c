/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/leases.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ring/reclaim.h"
#include "ring/tiers.h"
#include "wait/eventcount.h"

// Steps through the leased records. `index` is where the walk is; false at the head, or where the
// words make no sense.
typedef struct walk {
  cipc_index_t index, next;
  size_t length;
} walk_t;

static bool step(cipc_ring_t *ring, walk_t *walk, cipc_index_t head) {
  walk->index = walk->next;
  if (!cipc_tiers_has(ring, walk->index) || cipc_index_records(walk->index, head) == 0) {
    return false;
  }
  cipc_index_t limit;
  return cipc_tiers_follow(ring, &walk->index, head, &limit) == 0 &&
         cipc_tiers_read(ring, walk->index, limit, &walk->length, &walk->next) == 0;
}

static bool begin(const cipc_ring_t *ring, walk_t *walk, cipc_index_t *head) {
  *head = __atomic_load_n(&ring->control->head, __ATOMIC_RELAXED);
  walk->next = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  // More than fit: scribbled over, and 2^28 steps to nowhere.
  return cipc_tiers_has(ring, *head) &&
         cipc_index_records(walk->next, *head) <= ring->capacity / ring->header;
}

static uint64_t *owner_of(const cipc_ring_t *ring, cipc_index_t index) {
  return cipc_tiers_at(ring, index) + 1;
}

// Moves `low` behind all that is done.
static void move_low(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  cipc_index_t head;
  walk_t walk;
  if (!begin(ring, &walk, &head)) return;
  cipc_index_t before = walk.next, low = before;
  while (step(ring, &walk, head) &&
         __atomic_load_n(owner_of(ring, walk.index), __ATOMIC_ACQUIRE) == CIPC_RING_DONE) {
    low = walk.next;
  }
  if (low == before) return;
  // Commit point of freeing what is done; who is killed before leaves it to the next.
  __atomic_store_n(&control->low, low, __ATOMIC_SEQ_CST);
  if (cipc_index_has_turned(before, low)) cipc_reclaim_turn(ring, low);
  cipc_eventcount_wake(&control->space, INT_MAX);
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_SEQ_CST);
  if (cipc_index_records(low, tail) != 0) return;
  cipc_eventcount_wake(&control->done, INT_MAX);
  // Nothing can be handed back any more.
  if ((tail & CIPC_INDEX_FINISHED) != 0) cipc_eventcount_wake(&control->items, INT_MAX);
}

// MARK: The dead

static bool is_dead(cipc_participant_t owner, cipc_participant_t *living) {
  // Mostly the same few in a row.
  if (owner == *living) return false;
  // CIPC_EINVAL: scribbled over, so nobody.
  int status = cipc_participant_check(owner);
  if (status == CIPC_PARTICIPANT_DEAD || status == CIPC_EINVAL) return true;
  *living = owner;
  return false;
}

void cipc_leases_sweep(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  cipc_participant_t living = cipc_participant_current();
  cipc_index_t head;
  walk_t walk;
  uint32_t returned = 0;
  if (!begin(ring, &walk, &head)) return;
  while (step(ring, &walk, head)) {
    uint64_t owner = __atomic_load_n(owner_of(ring, walk.index), __ATOMIC_RELAXED);
    if (owner == CIPC_PARTICIPANT_NOBODY || owner == CIPC_RING_DONE || !is_dead(owner, &living)) {
      continue;
    }
    if ((ring->flags & CIPC_RING_TRACKED) != 0) {
      // Commit point of counting it as done.
      __atomic_store_n(owner_of(ring, walk.index), CIPC_RING_DONE, __ATOMIC_RELEASE);
      continue;
    }
    (void)__atomic_fetch_add(&control->returned, 1, __ATOMIC_RELAXED);
    // Commit point of handing it back.
    __atomic_store_n(owner_of(ring, walk.index), CIPC_PARTICIPANT_NOBODY, __ATOMIC_SEQ_CST);
    returned++;
  }
  if (returned != 0) cipc_eventcount_wake(&control->items, returned);
  move_low(ring);
}

// MARK: Taking

// With the consumers' side: has the list of leases be this process's.
static cipc_participant_t become_lessee(cipc_ring_t *ring) {
  cipc_participant_t self = cipc_participant_current();
  if (ring->lessee != self) ring->lease_count = 0;
  ring->lessee = self;
  return self;
}

static int make_space(cipc_ring_t *ring) {
  if (ring->lease_count < ring->lease_capacity) return 0;
  size_t capacity = ring->lease_capacity == 0 ? 16 : 2 * ring->lease_capacity;
  uint64_t *leases = realloc(ring->leases, capacity * sizeof *leases);
  if (leases == NULL) return CIPC_ENOMEM;
  ring->leases = leases;
  ring->lease_capacity = capacity;
  return 0;
}

static void describe(cipc_ring_t *ring, cipc_index_t index, size_t length, uint32_t deliveries,
                     cipc_ring_record_t *record) {
  *record = (cipc_ring_record_t){.data = cipc_tiers_at(ring, index) + ring->header,
                                 .length = length,
                                 .ticket = index,
                                 .deliveries = deliveries};
  ring->leases[ring->lease_count++] = index;
}

static uint32_t count_delivery(const cipc_ring_t *ring, cipc_index_t index, size_t length) {
  uint64_t *word = cipc_tiers_at(ring, index);
  uint64_t before = __atomic_load_n(word, __ATOMIC_RELAXED) >> 32;
  uint64_t now = before < UINT32_MAX ? before + 1 : before;
  __atomic_store_n(word, now << 32 | (uint32_t)length, __ATOMIC_RELAXED);
  return (uint32_t)now;
}

static int take_returned(cipc_ring_t *ring, cipc_participant_t self, cipc_ring_record_t *record) {
  cipc_ring_control_t *control = ring->control;
  cipc_index_t head;
  walk_t walk;
  if (!begin(ring, &walk, &head)) return CIPC_ERINGINDEX;
  while (step(ring, &walk, head)) {
    uint64_t *owner = owner_of(ring, walk.index);
    if (__atomic_load_n(owner, __ATOMIC_RELAXED) != CIPC_PARTICIPANT_NOBODY) continue;
    uint32_t deliveries = count_delivery(ring, walk.index, walk.length);
    // Commit point of leasing what was handed back.
    __atomic_store_n(owner, self, __ATOMIC_RELEASE);
    (void)__atomic_fetch_sub(&control->returned, 1, __ATOMIC_RELAXED);
    describe(ring, walk.index, walk.length, deliveries, record);
    return 0;
  }
  // Somebody was killed between the two words.
  __atomic_store_n(&control->returned, 0, __ATOMIC_RELAXED);
  return CIPC_EAGAIN;
}

// What others have leased may yet be handed back.
static int wait_for_leases(const cipc_ring_t *ring, cipc_index_t head, int status) {
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  bool may_return = (ring->flags & CIPC_RING_LEASED) != 0 && cipc_index_records(low, head) != 0;
  return may_return ? CIPC_EAGAIN : status;
}

int cipc_leases_look(const cipc_ring_t *ring, cipc_index_t head, int status) {
  if (__atomic_load_n(&ring->control->returned, __ATOMIC_RELAXED) != 0) return 0;
  return wait_for_leases(ring, head, status);
}

int cipc_leases_take(cipc_ring_t *ring, cipc_ring_record_t *record) {
  cipc_ring_control_t *control = ring->control;
  // Behind the taking of the side: what is leased after shutting would not go back.
  if (cipc_ring_was_shut(ring)) return CIPC_ECLOSED;
  cipc_participant_t self = become_lessee(ring);
  if (self == CIPC_PARTICIPANT_NOBODY) return CIPC_ESRCH;
  int status = make_space(ring);
  if (status < 0) return status;
  if (__atomic_load_n(&control->returned, __ATOMIC_RELAXED) != 0) {
    status = take_returned(ring, self, record);
    if (status != CIPC_EAGAIN) return status;
  }
  cipc_index_t index = __atomic_load_n(&control->head, __ATOMIC_RELAXED), next;
  if (!cipc_tiers_has(ring, index)) return CIPC_ERINGINDEX;
  size_t length;
  status = cipc_tiers_find(ring, &index, &length, &next);
  if (status == CIPC_EAGAIN || status == CIPC_EFINISHED) {
    cipc_reclaim_tidy(ring);
    return wait_for_leases(ring, index, status);
  }
  if (status < 0) return status;
  uint32_t deliveries = count_delivery(ring, index, length);
  __atomic_store_n(owner_of(ring, index), self, __ATOMIC_RELAXED);
  // Commit point of leasing.
  __atomic_store_n(&control->head, next, __ATOMIC_SEQ_CST);
  describe(ring, index, length, deliveries, record);
  return 0;
}

// MARK: Ending

static bool forget(cipc_ring_t *ring, uint64_t ticket) {
  for (size_t i = 0; i < ring->lease_count; i++) {
    if (ring->leases[i] != ticket) continue;
    memmove(&ring->leases[i], &ring->leases[i + 1],
            (ring->lease_count - i - 1) * sizeof *ring->leases);
    ring->lease_count--;
    return true;
  }
  return false;
}

int cipc_leases_end(cipc_ring_t *ring, uint64_t ticket, uint64_t owner) {
  uint64_t self = become_lessee(ring);
  if (!forget(ring, ticket)) return CIPC_EPERM;
  uint64_t *word = owner_of(ring, ticket);
  // Before the record is anybody's: one too many is found out, one too few would be lost.
  bool is_return = owner == CIPC_PARTICIPANT_NOBODY;
  if (is_return) (void)__atomic_fetch_add(&ring->control->returned, 1, __ATOMIC_RELAXED);
  // Commit point of acknowledging, and of handing back. Not this process's: scribbled over.
  if (!__atomic_compare_exchange_n(word, &self, owner, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
    return CIPC_EPERM;
  }
  if (is_return) {
    cipc_eventcount_wake(&ring->control->items, 1);
  } else {
    move_low(ring);
  }
  return 0;
}

int cipc_leases_end_first(cipc_ring_t *ring, uint64_t owner) {
  (void)become_lessee(ring);
  return ring->lease_count == 0 ? CIPC_EPERM : cipc_leases_end(ring, ring->leases[0], owner);
}

void cipc_leases_abandon(cipc_ring_t *ring) {
  bool is_done = (ring->flags & CIPC_RING_TRACKED) != 0;
  (void)become_lessee(ring);
  while (ring->lease_count != 0) {
    int status = cipc_leases_end(ring, ring->leases[ring->lease_count - 1],
                                 is_done ? CIPC_RING_DONE : CIPC_PARTICIPANT_NOBODY);
    (void)status;
  }
}
