/* SPDX-License-Identifier: Apache-2.0 */
// Records that somebody has taken and that are not done: those from `low` to the head.
#include <limits.h>
#include <stdlib.h>

#include "ring/ring.h"
#include "wait/sleepers.h"

// Steps through the leased records. `index` is where the walk is; false at the head, or where the
// words make no sense.
typedef struct walk {
  cipc_index_t index, next;
  size_t length;
} walk_t;

static bool step(cipc_ring_t *ring, walk_t *walk, cipc_index_t head) {
  walk->index = walk->next;
  if (!cipc_ladder_has(ring, walk->index) || cipc_index_records(walk->index, head) == 0) {
    return false;
  }
  cipc_index_t limit;
  return cipc_ladder_follow(ring, &walk->index, head, &limit) == 0 &&
         cipc_ladder_read(ring, walk->index, limit, &walk->length, &walk->next) == 0;
}

static bool begin(const cipc_ring_t *ring, walk_t *walk, cipc_index_t *head) {
  *head = __atomic_load_n(&ring->control->head, __ATOMIC_RELAXED);
  walk->next = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  // More than there is room for: scribbled over, and 2^28 steps to nowhere.
  return cipc_ladder_has(ring, *head) &&
         cipc_index_records(walk->next, *head) <= ring->capacity / ring->header;
}

static uint64_t *owner_of(const cipc_ring_t *ring, cipc_index_t index) {
  return cipc_ladder_at(ring, index) + 1;
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
  if (cipc_index_has_turned(before, low)) cipc_ladder_turn(ring, low);
  cipc_sleepers_wake(&control->room, INT_MAX);
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_SEQ_CST);
  if (cipc_index_records(low, tail) != 0) return;
  cipc_sleepers_wake(&control->done, INT_MAX);
  // Nothing can be handed back any more.
  if ((tail & CIPC_INDEX_FINISHED) != 0) cipc_sleepers_wake(&control->items, INT_MAX);
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

void cipc_lease_sweep(cipc_ring_t *ring) {
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
  if (returned != 0) cipc_sleepers_wake(&control->items, returned);
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

static int make_room(cipc_ring_t *ring) {
  if (ring->lease_count < ring->lease_room) return 0;
  size_t room = ring->lease_room == 0 ? 16 : 2 * ring->lease_room;
  uint64_t *leases = realloc(ring->leases, room * sizeof *leases);
  if (leases == NULL) return CIPC_ENOMEM;
  ring->leases = leases;
  ring->lease_room = room;
  return 0;
}

static void describe(cipc_ring_t *ring, cipc_index_t index, size_t length, uint32_t deliveries,
                     cipc_ring_record_t *record) {
  *record = (cipc_ring_record_t){.data = cipc_ladder_at(ring, index) + ring->header,
                                 .length = length,
                                 .ticket = index,
                                 .deliveries = deliveries};
  ring->leases[ring->lease_count++] = index;
}

static uint32_t count_delivery(const cipc_ring_t *ring, cipc_index_t index, size_t length) {
  uint64_t *word = cipc_ladder_at(ring, index);
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

int cipc_lease_look(const cipc_ring_t *ring, cipc_index_t head, int status) {
  if (__atomic_load_n(&ring->control->returned, __ATOMIC_RELAXED) != 0) return 0;
  return wait_for_leases(ring, head, status);
}

int cipc_lease_take(cipc_ring_t *ring, cipc_ring_record_t *record) {
  cipc_ring_control_t *control = ring->control;
  // Behind the taking of the side: what is leased after shutting would not go back.
  if (cipc_ring_was_shut(ring)) return CIPC_ECLOSED;
  cipc_participant_t self = become_lessee(ring);
  if (self == CIPC_PARTICIPANT_NOBODY) return CIPC_ESRCH;
  int status = make_room(ring);
  if (status < 0) return status;
  if (__atomic_load_n(&control->returned, __ATOMIC_RELAXED) != 0) {
    status = take_returned(ring, self, record);
    if (status != CIPC_EAGAIN) return status;
  }
  cipc_index_t index = __atomic_load_n(&control->head, __ATOMIC_RELAXED), next;
  if (!cipc_ladder_has(ring, index)) return CIPC_ERINGINDEX;
  size_t length;
  status = cipc_consumer_find(ring, &index, &length, &next);
  if (status == CIPC_EAGAIN || status == CIPC_EFINISHED) {
    cipc_ladder_tidy(ring);
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

int cipc_lease_end(cipc_ring_t *ring, uint64_t ticket, uint64_t owner) {
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
    cipc_sleepers_wake(&ring->control->items, 1);
  } else {
    move_low(ring);
  }
  return 0;
}

void cipc_lease_abandon(cipc_ring_t *ring) {
  bool is_done = (ring->flags & CIPC_RING_TRACKED) != 0;
  (void)become_lessee(ring);
  while (ring->lease_count != 0) {
    int status = cipc_lease_end(ring, ring->leases[ring->lease_count - 1],
                                is_done ? CIPC_RING_DONE : CIPC_PARTICIPANT_NOBODY);
    (void)status;
  }
}

// MARK: API

static int lease(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  int status = cipc_consumer_enter(ring, limit);
  if (status < 0) return status;
  status = cipc_lease_take(ring, request);
  cipc_consumer_leave(ring);
  return status;
}

int cipc_ring_lease(cipc_ring_t *ring, cipc_ring_record_t *record, cipc_deadline_t deadline) {
  if (!cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  int status = lease(ring, record, deadline);
  if (status != CIPC_EAGAIN) return status;
  return cipc_patience_wait(ring, CIPC_RING_ITEMS, lease, record, deadline);
}

int cipc_ring_lease_step(cipc_ring_t *ring, cipc_ring_record_t *record, int look,
                         cipc_wait_t *wait) {
  if (!cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  return cipc_patience_step(ring, CIPC_RING_ITEMS, lease, record, look, wait);
}

// `ticket` NULL: the first one.
static int end(cipc_ring_t *ring, const uint64_t *ticket, uint64_t owner, cipc_deadline_t limit) {
  if (!cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  int status = cipc_consumer_enter(ring, limit);
  if (status < 0) return status;
  (void)become_lessee(ring);
  if (ticket == NULL && ring->lease_count == 0) {
    status = CIPC_EPERM;
  } else {
    status = cipc_lease_end(ring, ticket != NULL ? *ticket : ring->leases[0], owner);
  }
  cipc_consumer_leave(ring);
  return status;
}

int cipc_ring_acknowledge(cipc_ring_t *ring, uint64_t ticket, cipc_deadline_t deadline) {
  return end(ring, &ticket, CIPC_RING_DONE, deadline);
}

int cipc_ring_acknowledge_first(cipc_ring_t *ring, cipc_deadline_t deadline) {
  return end(ring, NULL, CIPC_RING_DONE, deadline);
}

int cipc_ring_return(cipc_ring_t *ring, uint64_t ticket, cipc_deadline_t deadline) {
  return end(ring, &ticket, CIPC_PARTICIPANT_NOBODY, deadline);
}

static int is_all_done(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  (void)request;
  (void)limit;
  if (cipc_ring_was_shut(ring)) return CIPC_ECLOSED;
  cipc_index_t tail = __atomic_load_n(&ring->control->tail, __ATOMIC_SEQ_CST);
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_SEQ_CST);
  return cipc_index_records(low, tail) == 0 ? 0 : CIPC_EAGAIN;
}

int cipc_ring_join(cipc_ring_t *ring, cipc_deadline_t deadline) {
  if (!cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  return cipc_patience_wait(ring, CIPC_RING_WHOLE, is_all_done, NULL, deadline);
}

int cipc_ring_join_step(cipc_ring_t *ring, int look, cipc_wait_t *wait) {
  if (!cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  return cipc_patience_step(ring, CIPC_RING_WHOLE, is_all_done, NULL, look, wait);
}
