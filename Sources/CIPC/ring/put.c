/* SPDX-License-Identifier: Apache-2.0 */
// Putting records: copied, several at once, in place.
#include <limits.h>
#include <string.h>

#include "ring/backoff.h"
#include "ring/producers.h"
#include "ring/tiers.h"
#include "wait/eventcount.h"

// Whether this thread is between reserve and commit.
static bool is_reserving(const cipc_ring_t *ring) {
  if (!cipc_ring_has_locks(ring)) {
    return ring->batch.is_open && ring->producer == cipc_participant_current();
  }
  return cipc_mutex_is_owned(&ring->control->producers) && ring->batch.is_open;
}

// MARK: With the side

static int reserve(cipc_ring_t *ring, size_t length, void **payload) {
  cipc_index_t tail = ring->batch.next;
  if (!ring->batch.is_open) {
    tail = __atomic_load_n(&ring->control->tail, __ATOMIC_RELAXED);
    if (__builtin_expect((tail & CIPC_INDEX_FINISHED) != 0, 0)) return CIPC_EFINISHED;
  }
  uint64_t units = cipc_ring_units(ring, length);
  cipc_index_t place;
  int status = cipc_tiers_place(ring, tail, units, &place);
  if (__builtin_expect(status < 0, 0)) return status;
  uint64_t *words = cipc_tiers_at(ring, place);
  __atomic_store_n(&words[0], (uint64_t)length, __ATOMIC_RELAXED);
  if (ring->header > 1) __atomic_store_n(&words[1], CIPC_PARTICIPANT_NOBODY, __ATOMIC_RELAXED);
  ring->batch.count = ring->batch.is_open ? ring->batch.count + 1 : 1;
  ring->batch.is_open = true;
  ring->batch.last = place;
  ring->batch.last_length = length;
  ring->batch.next = cipc_tiers_behind(ring, place, units);
  *payload = words + ring->header;
  return 0;
}

// Commits what is reserved and leaves.
static void commit(cipc_ring_t *ring) {
  uint32_t count = ring->batch.count;
  ring->batch.is_open = false;
  // Commit point of putting. Sequentially consistent, as eventcount.h wants it.
  __atomic_store_n(&ring->control->tail, ring->batch.next, __ATOMIC_SEQ_CST);
  cipc_producers_leave(ring);
  cipc_eventcount_wake(&ring->control->items, count);
  cipc_backoff_puts++;
}

// MARK: Copying

static int put(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  const cipc_ring_bytes_t *bytes = request;
  int status = cipc_producers_enter(ring, limit);
  if (status < 0) return status;
  void *payload;
  status = reserve(ring, bytes->length, &payload);
  if (__builtin_expect(status < 0, 0)) {
    cipc_producers_leave(ring);
    return status;
  }
  if (bytes->length != 0) memcpy(payload, bytes->data, bytes->length);
  commit(ring);
  return 0;
}

int cipc_ring_put(cipc_ring_t *ring, const void *data, size_t length, cipc_deadline_t deadline) {
  if (__builtin_expect(length > ring->longest, 0)) return CIPC_ECAPACITY;
  cipc_ring_bytes_t bytes = {.data = data, .length = length};
  int status = put(ring, &bytes, deadline);
  if (__builtin_expect(status != CIPC_EAGAIN, 1)) return status;
  return cipc_backoff_wait(ring, CIPC_RING_SPACE, put, &bytes, deadline);
}

int cipc_ring_put_step(cipc_ring_t *ring, const void *data, size_t length, int look,
                       cipc_wait_t *wait) {
  if (length > ring->longest) return CIPC_ECAPACITY;
  cipc_ring_bytes_t bytes = {.data = data, .length = length};
  return cipc_backoff_step(ring, CIPC_RING_SPACE, put, &bytes, look, wait);
}

typedef struct bundle {
  const cipc_ring_bytes_t *records;
  size_t count;
  int put;
} bundle_t;

static int put_bundle(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  bundle_t *bundle = request;
  int status = cipc_producers_enter(ring, limit);
  if (status < 0) return status;
  for (bundle->put = 0; (size_t)bundle->put < bundle->count; bundle->put++) {
    const cipc_ring_bytes_t *bytes = &bundle->records[bundle->put];
    void *payload;
    // One that is too large ends the bundle; it is an error where it is the first.
    status =
        bytes->length > ring->longest ? CIPC_ECAPACITY : reserve(ring, bytes->length, &payload);
    if (status < 0) break;
    if (bytes->length != 0) memcpy(payload, bytes->data, bytes->length);
  }
  if (bundle->put == 0) {
    cipc_producers_leave(ring);
    return status;
  }
  commit(ring);
  return 0;
}

int cipc_ring_put_many(cipc_ring_t *ring, const cipc_ring_bytes_t *records, size_t count,
                       cipc_deadline_t deadline) {
  bundle_t bundle = {.records = records, .count = count < INT_MAX ? count : INT_MAX};
  if (count == 0) return 0;
  int status = put_bundle(ring, &bundle, deadline);
  if (status == CIPC_EAGAIN) {
    status = cipc_backoff_wait(ring, CIPC_RING_SPACE, put_bundle, &bundle, deadline);
  }
  return status < 0 ? status : bundle.put;
}

// MARK: In place

typedef struct reservation {
  size_t length;
  void *payload;
} reservation_t;

static int reserve_first(cipc_ring_t *ring, void *request, cipc_deadline_t limit) {
  reservation_t *reservation = request;
  int status = cipc_producers_enter(ring, limit);
  if (status < 0) return status;
  status = reserve(ring, reservation->length, &reservation->payload);
  if (status < 0) cipc_producers_leave(ring);
  return status;
}

int cipc_ring_reserve(cipc_ring_t *ring, size_t length, void **payload, cipc_deadline_t deadline) {
  if (length > ring->longest) return CIPC_ECAPACITY;
  if (is_reserving(ring)) return reserve(ring, length, payload);
  reservation_t reservation = {.length = length};
  int status = reserve_first(ring, &reservation, deadline);
  if (status == CIPC_EAGAIN) {
    status = cipc_backoff_wait(ring, CIPC_RING_SPACE, reserve_first, &reservation, deadline);
  }
  *payload = reservation.payload;
  return status;
}

int cipc_ring_reserve_step(cipc_ring_t *ring, size_t length, void **payload, int look,
                           cipc_wait_t *wait) {
  if (length > ring->longest) return CIPC_ECAPACITY;
  if (is_reserving(ring)) return reserve(ring, length, payload);
  reservation_t reservation = {.length = length};
  int status = cipc_backoff_step(ring, CIPC_RING_SPACE, reserve_first, &reservation, look, wait);
  *payload = reservation.payload;
  return status;
}

int cipc_ring_shorten(cipc_ring_t *ring, size_t length) {
  if (!is_reserving(ring)) return CIPC_EPERM;
  if (length > ring->batch.last_length) return CIPC_EINVAL;
  cipc_index_t last = ring->batch.last;
  __atomic_store_n(cipc_tiers_at(ring, last), (uint64_t)length, __ATOMIC_RELAXED);
  ring->batch.last_length = length;
  ring->batch.next = cipc_tiers_behind(ring, last, cipc_ring_units(ring, length));
  return 0;
}

int cipc_ring_commit(cipc_ring_t *ring) {
  if (!is_reserving(ring)) return CIPC_EPERM;
  commit(ring);
  // Producers that timed out while the side was held are asleep on `space`.
  if (cipc_ring_has_locks(ring)) cipc_eventcount_wake(&ring->control->space, INT_MAX);
  return 0;
}

int cipc_ring_cancel(cipc_ring_t *ring) {
  if (!is_reserving(ring)) return CIPC_EPERM;
  ring->batch.is_open = false;
  cipc_producers_leave(ring);
  if (cipc_ring_has_locks(ring)) cipc_eventcount_wake(&ring->control->space, INT_MAX);
  return 0;
}

// MARK: The end

int cipc_ring_finish(cipc_ring_t *ring, cipc_deadline_t deadline) {
  int status = cipc_producers_enter(ring, deadline);
  if (status < 0) return status;
  cipc_ring_control_t *control = ring->control;
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_RELAXED);
  bool is_index = cipc_tiers_has(ring, tail);
  // Commit point of finishing.
  if (is_index) __atomic_store_n(&control->tail, tail | CIPC_INDEX_FINISHED, __ATOMIC_SEQ_CST);
  cipc_producers_leave(ring);
  if (!is_index) return CIPC_ERINGINDEX;
  cipc_eventcount_wake(&control->items, INT_MAX);
  cipc_eventcount_wake(&control->space, INT_MAX);
  return 0;
}

int cipc_ring_is_finished(const cipc_ring_t *ring) {
  cipc_index_t tail = __atomic_load_n(&ring->control->tail, __ATOMIC_ACQUIRE);
  return (tail & CIPC_INDEX_FINISHED) != 0;
}
