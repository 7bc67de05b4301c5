/* SPDX-License-Identifier: Apache-2.0 */
// Getting records: copied, in place, leased.
#include <limits.h>
#include <string.h>

#include "ring/backoff.h"
#include "ring/consumers.h"
#include "ring/leases.h"
#include "ring/reclaim.h"
#include "ring/tiers.h"
#include "wait/eventcount.h"

static bool is_shown(const cipc_ring_t *ring) {
  if (!cipc_ring_has_locks(ring)) {
    return ring->shown.is_open && ring->consumer == cipc_participant_current();
  }
  return cipc_mutex_is_owned(&ring->control->consumers) && ring->shown.is_open;
}

// MARK: With the side

// The record at the head.
static int find_first(cipc_ring_t *ring, cipc_index_t *index, size_t *length, cipc_index_t *next) {
  cipc_index_t head = __atomic_load_n(&ring->control->head, __ATOMIC_RELAXED);
  if (!cipc_tiers_has(ring, head)) return CIPC_ERINGINDEX;
  *index = head;
  int status = cipc_tiers_find(ring, index, length, next);
  if (status == CIPC_EAGAIN || status == CIPC_EFINISHED) cipc_reclaim_tidy(ring);
  return status;
}

// Takes all that is before `next`.
static void advance(cipc_ring_t *ring, cipc_index_t next) {
  cipc_index_t head = __atomic_load_n(&ring->control->head, __ATOMIC_RELAXED);
  // Commit point of getting. Sequentially consistent, as eventcount.h wants it.
  __atomic_store_n(&ring->control->head, next, __ATOMIC_SEQ_CST);
  if (cipc_index_has_turned(head, next)) cipc_reclaim_turn(ring, next);
}

// MARK: Copying

typedef struct copying {
  void *buffer;
  size_t capacity;
  size_t *length;
} copying_t;

static int get_with_side(cipc_ring_t *ring, const copying_t *copying) {
  cipc_index_t index, next;
  int status = find_first(ring, &index, copying->length, &next);
  if (__builtin_expect(status < 0, 0)) return status;
  // A copy of the number, since the caller's is not ours to rely on.
  size_t length = *copying->length;
  if (length > copying->capacity) return CIPC_EMSGSIZE;
  if (length != 0) memcpy(copying->buffer, cipc_tiers_at(ring, index) + ring->header, length);
  advance(ring, next);
  return 0;
}

static int get_leased(cipc_ring_t *ring, const copying_t *copying) {
  cipc_ring_record_t record;
  int status = cipc_leases_take(ring, &record);
  if (status < 0) return status;
  *copying->length = record.length;
  if (record.length > copying->capacity) {
    status = cipc_leases_end(ring, record.ticket, CIPC_PARTICIPANT_NOBODY);
    return status < 0 ? status : CIPC_EMSGSIZE;
  }
  if (record.length != 0) memcpy(copying->buffer, record.data, record.length);
  return cipc_leases_end(ring, record.ticket, CIPC_RING_DONE);
}

static int get(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  int status = cipc_consumers_enter(ring, limit);
  if (status < 0) return status;
  bool is_leased = cipc_ring_is_leased(ring);
  status = is_leased ? get_leased(ring, request) : get_with_side(ring, request);
  cipc_consumers_leave(ring);
  if (__builtin_expect(status == 0 && !is_leased, 1)) {
    cipc_eventcount_wake(&ring->control->space, INT_MAX);
  }
  return status;
}

int cipc_ring_get(cipc_ring_t *ring, void *buffer, size_t capacity, size_t *length,
                  cipc_deadline_t deadline) {
  copying_t copying = {.buffer = buffer, .capacity = capacity, .length = length};
  int status = get(ring, &copying, deadline);
  if (__builtin_expect(status != CIPC_EAGAIN, 1)) return status;
  return cipc_backoff_wait(ring, CIPC_RING_ITEMS, get, &copying, deadline);
}

int cipc_ring_get_step(cipc_ring_t *ring, void *buffer, size_t capacity, size_t *length, int look,
                       cipc_wait_t *wait) {
  copying_t copying = {.buffer = buffer, .capacity = capacity, .length = length};
  return cipc_backoff_step(ring, CIPC_RING_ITEMS, get, &copying, look, wait);
}

// MARK: In place

static int show(cipc_ring_t *ring, cipc_ring_record_t *record) {
  cipc_index_t index = ring->shown.next, next;
  size_t length;
  int status = ring->shown.is_open ? cipc_tiers_find(ring, &index, &length, &next)
                                   : find_first(ring, &index, &length, &next);
  if (__builtin_expect(status < 0, 0)) return status;
  ring->shown.is_open = true;
  ring->shown.next = next;
  *record =
      (cipc_ring_record_t){.data = cipc_tiers_at(ring, index) + ring->header, .length = length};
  return 0;
}

static int show_first(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  int status = cipc_consumers_enter(ring, limit);
  if (status < 0) return status;
  status = show(ring, request);
  if (status < 0) cipc_consumers_leave(ring);
  return status;
}

int cipc_ring_peek(cipc_ring_t *ring, cipc_ring_record_t *record, cipc_deadline_t deadline) {
  if (cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  if (is_shown(ring)) return show(ring, record);
  int status = show_first(ring, record, deadline);
  if (__builtin_expect(status != CIPC_EAGAIN, 1)) return status;
  return cipc_backoff_wait(ring, CIPC_RING_ITEMS, show_first, record, deadline);
}

int cipc_ring_peek_step(cipc_ring_t *ring, cipc_ring_record_t *record, int look,
                        cipc_wait_t *wait) {
  if (cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  if (is_shown(ring)) return show(ring, record);
  return cipc_backoff_step(ring, CIPC_RING_ITEMS, show_first, record, look, wait);
}

// Ends the showing, whatever became of the records.
static void leave_shown(cipc_ring_t *ring) {
  ring->shown.is_open = false;
  cipc_consumers_leave(ring);
  if (!cipc_ring_has_locks(ring)) return;
  // Who tried while the side was held for as long as the caller liked sleeps for records, although
  // the producers of what is left, or the end, have woken him.
  cipc_index_t head = __atomic_load_n(&ring->control->head, __ATOMIC_RELAXED);
  cipc_index_t tail = __atomic_load_n(&ring->control->tail, __ATOMIC_SEQ_CST);
  uint32_t left = (uint32_t)cipc_index_records(head, tail);
  if ((tail & CIPC_INDEX_FINISHED) != 0) left = INT_MAX;
  if (left != 0) cipc_eventcount_wake(&ring->control->items, left);
}

int cipc_ring_release(cipc_ring_t *ring) {
  if (!is_shown(ring)) return CIPC_EPERM;
  advance(ring, ring->shown.next);
  leave_shown(ring);
  cipc_eventcount_wake(&ring->control->space, INT_MAX);
  return 0;
}

int cipc_ring_restore(cipc_ring_t *ring) {
  if (!is_shown(ring)) return CIPC_EPERM;
  leave_shown(ring);
  return 0;
}

// MARK: Leases

static int lease(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  int status = cipc_consumers_enter(ring, limit);
  if (status < 0) return status;
  status = cipc_leases_take(ring, request);
  cipc_consumers_leave(ring);
  return status;
}

int cipc_ring_lease(cipc_ring_t *ring, cipc_ring_record_t *record, cipc_deadline_t deadline) {
  if (!cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  int status = lease(ring, record, deadline);
  if (status != CIPC_EAGAIN) return status;
  return cipc_backoff_wait(ring, CIPC_RING_ITEMS, lease, record, deadline);
}

int cipc_ring_lease_step(cipc_ring_t *ring, cipc_ring_record_t *record, int look,
                         cipc_wait_t *wait) {
  if (!cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  return cipc_backoff_step(ring, CIPC_RING_ITEMS, lease, record, look, wait);
}

// `ticket` NULL: the first one.
static int end(cipc_ring_t *ring, const uint64_t *ticket, uint64_t owner, cipc_deadline_t limit) {
  if (!cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  int status = cipc_consumers_enter(ring, limit);
  if (status < 0) return status;
  status =
      ticket != NULL ? cipc_leases_end(ring, *ticket, owner) : cipc_leases_end_first(ring, owner);
  cipc_consumers_leave(ring);
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
  return cipc_backoff_wait(ring, CIPC_RING_WHOLE, is_all_done, NULL, deadline);
}

int cipc_ring_join_step(cipc_ring_t *ring, int look, cipc_wait_t *wait) {
  if (!cipc_ring_is_leased(ring)) return CIPC_EOPNOTSUPP;
  return cipc_backoff_step(ring, CIPC_RING_WHOLE, is_all_done, NULL, look, wait);
}
