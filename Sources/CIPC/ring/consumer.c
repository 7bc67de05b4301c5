/* SPDX-License-Identifier: Apache-2.0 */
// The consumers' side of a ring.
#include <limits.h>

#include "ring/ring.h"
#include "wait/sleepers.h"

// MARK: The side

int cipc_consumer_enter(cipc_ring_t *ring, cipc_deadline_t limit) {
  cipc_ring_note(&ring->consuming);
  return cipc_consumer_visit(ring, limit);
}

int cipc_consumer_visit(cipc_ring_t *ring, cipc_deadline_t limit) {
  int status = cipc_ring_begin(ring);
  if (__builtin_expect(status < 0, 0)) return status;
  if (!cipc_ring_has_locks(ring)) {
    status = cipc_ring_claim(&ring->control->consumer, &ring->consumer);
    if (status == CIPC_RING_CLAIMED) ring->shown.is_open = false;
    if (status != 0) return status < 0 ? status : 0;
    return ring->shown.is_open ? CIPC_EDEADLK : 0;
  }
  status = cipc_mutex_lock(&ring->control->consumers, limit);
  if (__builtin_expect(status < 0, 0)) return status;
  // As in cipc_producer_enter.
  ring->shown.is_open = false;
  if (__builtin_expect(status == 0, 1)) return 0;
  // What the dead had not committed is still there. What it had, it may have told nobody of.
  if (cipc_ring_is_leased(ring)) cipc_lease_sweep(ring);
  // It may have been giving memory back, in several steps.
  cipc_ladder_tidy(ring);
  cipc_sleepers_wake(&ring->control->room, INT_MAX);
  cipc_sleepers_wake(&ring->control->done, INT_MAX);
  return cipc_mutex_recover(&ring->control->consumers);
}

void cipc_consumer_leave(cipc_ring_t *ring) {
  if (!cipc_ring_has_locks(ring)) return;
  // Cannot fail: this thread is the owner.
  int status = cipc_mutex_release(&ring->control->consumers);
  (void)status;
}

static bool is_shown(const cipc_ring_t *ring) {
  if (!cipc_ring_has_locks(ring)) {
    return ring->shown.is_open && ring->consumer == cipc_participant_current();
  }
  return cipc_mutex_is_owned(&ring->control->consumers) && ring->shown.is_open;
}

// MARK: With the side

int cipc_consumer_find(cipc_ring_t *ring, cipc_index_t *index, size_t *length, cipc_index_t *next) {
  cipc_ring_control_t *control = ring->control;
  cipc_index_t end = __atomic_load_n(&control->seen_tail, __ATOMIC_RELAXED);
  if (!cipc_ladder_has(ring, end) || cipc_index_records(*index, end) == 0) {
    // Acquire: what lies before it is written.
    end = __atomic_load_n(&control->tail, __ATOMIC_SEQ_CST);
    if (!cipc_ladder_has(ring, end)) return CIPC_ERINGINDEX;
    bool is_finished = (end & CIPC_INDEX_FINISHED) != 0;
    end &= ~CIPC_INDEX_FINISHED;
    __atomic_store_n(&control->seen_tail, end, __ATOMIC_RELAXED);
    if (cipc_index_records(*index, end) == 0) return is_finished ? CIPC_EFINISHED : CIPC_EAGAIN;
  }
  cipc_index_t limit;
  int status = cipc_ladder_follow(ring, index, end, &limit);
  return status < 0 ? status : cipc_ladder_read(ring, *index, limit, length, next);
}

// The record at the head.
static int find_first(cipc_ring_t *ring, cipc_index_t *index, size_t *length, cipc_index_t *next) {
  cipc_index_t head = __atomic_load_n(&ring->control->head, __ATOMIC_RELAXED);
  if (!cipc_ladder_has(ring, head)) return CIPC_ERINGINDEX;
  *index = head;
  int status = cipc_consumer_find(ring, index, length, next);
  if (status == CIPC_EAGAIN || status == CIPC_EFINISHED) cipc_ladder_tidy(ring);
  return status;
}

// Takes all that is before `next`.
static void advance(cipc_ring_t *ring, cipc_index_t next) {
  cipc_index_t head = __atomic_load_n(&ring->control->head, __ATOMIC_RELAXED);
  // Commit point of getting. Sequentially consistent, as sleepers.h wants it.
  __atomic_store_n(&ring->control->head, next, __ATOMIC_SEQ_CST);
  if (cipc_index_has_turned(head, next)) cipc_ladder_turn(ring, next);
}

// MARK: Copying

typedef struct copying {
  void *buffer;
  size_t room;
  size_t *length;
} copying_t;

static int get_with_side(cipc_ring_t *ring, const copying_t *copying) {
  cipc_index_t index, next;
  int status = find_first(ring, &index, copying->length, &next);
  if (__builtin_expect(status < 0, 0)) return status;
  // A copy of the number, since the caller's is not ours to rely on.
  size_t length = *copying->length;
  if (length > copying->room) return CIPC_EMSGSIZE;
  if (length != 0) memcpy(copying->buffer, cipc_ladder_at(ring, index) + ring->header, length);
  advance(ring, next);
  return 0;
}

static int get_leased(cipc_ring_t *ring, const copying_t *copying) {
  cipc_ring_record_t record;
  int status = cipc_lease_take(ring, &record);
  if (status < 0) return status;
  *copying->length = record.length;
  if (record.length > copying->room) {
    status = cipc_lease_end(ring, record.ticket, CIPC_PARTICIPANT_NOBODY);
    return status < 0 ? status : CIPC_EMSGSIZE;
  }
  if (record.length != 0) memcpy(copying->buffer, record.data, record.length);
  return cipc_lease_end(ring, record.ticket, CIPC_RING_DONE);
}

static int get(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  int status = cipc_consumer_enter(ring, limit);
  if (status < 0) return status;
  bool is_leased = cipc_ring_is_leased(ring);
  status = is_leased ? get_leased(ring, request) : get_with_side(ring, request);
  cipc_consumer_leave(ring);
  if (__builtin_expect(status == 0 && !is_leased, 1)) {
    cipc_sleepers_wake(&ring->control->room, INT_MAX);
  }
  return status;
}

int cipc_ring_get(cipc_ring_t *ring, void *buffer, size_t room, size_t *length,
                  cipc_deadline_t deadline) {
  copying_t copying = {.buffer = buffer, .room = room, .length = length};
  int status = get(ring, &copying, deadline);
  if (__builtin_expect(status != CIPC_EAGAIN, 1)) return status;
  return cipc_patience_wait(ring, CIPC_RING_ITEMS, get, &copying, deadline);
}

int cipc_ring_get_step(cipc_ring_t *ring, void *buffer, size_t room, size_t *length, int look,
                       cipc_wait_t *wait) {
  copying_t copying = {.buffer = buffer, .room = room, .length = length};
  return cipc_patience_step(ring, CIPC_RING_ITEMS, get, &copying, look, wait);
}

// MARK: In place

static int show(cipc_ring_t *ring, cipc_ring_record_t *record) {
  cipc_index_t index = ring->shown.next, next;
  size_t length;
  int status = ring->shown.is_open ? cipc_consumer_find(ring, &index, &length, &next)
                                   : find_first(ring, &index, &length, &next);
  if (__builtin_expect(status < 0, 0)) return status;
  ring->shown.is_open = true;
  ring->shown.next = next;
  *record =
      (cipc_ring_record_t){.data = cipc_ladder_at(ring, index) + ring->header, .length = length};
  return 0;
}

static int show_first(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  int status = cipc_consumer_enter(ring, limit);
  if (status < 0) return status;
  status = show(ring, request);
  if (status < 0) cipc_consumer_leave(ring);
  return status;
}

int cipc_ring_peek(cipc_ring_t *ring, cipc_ring_record_t *record, cipc_deadline_t deadline) {
  if (cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  if (is_shown(ring)) return show(ring, record);
  int status = show_first(ring, record, deadline);
  if (__builtin_expect(status != CIPC_EAGAIN, 1)) return status;
  return cipc_patience_wait(ring, CIPC_RING_ITEMS, show_first, record, deadline);
}

int cipc_ring_peek_step(cipc_ring_t *ring, cipc_ring_record_t *record, int look,
                        cipc_wait_t *wait) {
  if (cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  if (is_shown(ring)) return show(ring, record);
  return cipc_patience_step(ring, CIPC_RING_ITEMS, show_first, record, look, wait);
}

// Ends the showing, whatever became of the records.
static void leave_shown(cipc_ring_t *ring) {
  ring->shown.is_open = false;
  cipc_consumer_leave(ring);
  if (!cipc_ring_has_locks(ring)) return;
  // Who tried while the side was held for as long as the caller liked sleeps for records, although
  // the producers of what is left, or the end, have woken him.
  cipc_index_t head = __atomic_load_n(&ring->control->head, __ATOMIC_RELAXED);
  cipc_index_t tail = __atomic_load_n(&ring->control->tail, __ATOMIC_SEQ_CST);
  uint32_t left = (uint32_t)cipc_index_records(head, tail);
  if ((tail & CIPC_INDEX_FINISHED) != 0) left = INT_MAX;
  if (left != 0) cipc_sleepers_wake(&ring->control->items, left);
}

int cipc_ring_release(cipc_ring_t *ring) {
  if (!is_shown(ring)) return CIPC_EPERM;
  advance(ring, ring->shown.next);
  leave_shown(ring);
  cipc_sleepers_wake(&ring->control->room, INT_MAX);
  return 0;
}

int cipc_ring_restore(cipc_ring_t *ring) {
  if (!is_shown(ring)) return CIPC_EPERM;
  leave_shown(ring);
  return 0;
}
