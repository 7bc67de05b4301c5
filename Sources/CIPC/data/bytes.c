/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/bytes.h"

#include <stdbool.h>

#include "segment/mismatch.h"
#include "segment/object.h"

_Static_assert(sizeof(cipc_bytes_t) == sizeof(cipc_cell_t), "bytes are a cell");

// The length word in front of the bytes.
#define PREFIX sizeof(uint64_t)

// The slot that a sequence names: the length, then the bytes.
static uint64_t *slot_of(const cipc_bytes_t *bytes, uint64_t sequence, size_t capacity) {
  return cipc_cell_slot(&bytes->cell, sequence, PREFIX + capacity);
}

// The length that a slot claims, read once, as much of it as fits.
static size_t length_of(const uint64_t *slot, size_t capacity) {
  uint64_t claimed = __atomic_load_n(slot, __ATOMIC_RELAXED);
  return claimed < capacity ? (size_t)claimed : capacity;
}

static void fill(uint64_t *slot, const void *content, size_t length) {
  __atomic_store_n(slot, (uint64_t)length, __ATOMIC_RELAXED);
  cipc_cell_copy_in(slot + 1, content, length);
}

size_t cipc_bytes_footprint(size_t capacity) {
  return capacity > SIZE_MAX - PREFIX ? SIZE_MAX : cipc_cell_footprint(PREFIX + capacity);
}

int cipc_bytes_init(cipc_bytes_t *bytes, size_t capacity, const void *content, size_t length) {
  if (length > capacity) return CIPC_ECAPACITY;
  int status = cipc_mutex_init(&bytes->cell.mutex, NULL);
  if (status < 0) return status;
  bytes->cell.sequence = 0;
  fill(slot_of(bytes, 0, capacity), content, length);
  return 0;
}

// One try to copy; false when a writer has been at it, unless the caller keeps writers out.
static bool copy(const cipc_bytes_t *bytes, size_t capacity, void *buffer, size_t room,
                 size_t *length) {
  uint64_t before = __atomic_load_n(&bytes->cell.sequence, __ATOMIC_ACQUIRE);
  const uint64_t *slot = slot_of(bytes, before, capacity);
  *length = length_of(slot, capacity);
  if (*length <= room) cipc_cell_copy_out(buffer, slot + 1, *length);
  // Orders the copy before the second look; pairs with the release fence of the writer.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return __atomic_load_n(&bytes->cell.sequence, __ATOMIC_RELAXED) == before;
}

int cipc_bytes_read(cipc_bytes_t *bytes, size_t capacity, void *buffer, size_t room, size_t *length,
                    cipc_deadline_t deadline) {
  bool copied = false;
  for (int i = 0; i < CIPC_CELL_RETRIES && !copied; i++) {
    copied = copy(bytes, capacity, buffer, room, length);
  }
  if (!copied) {
    int status = cipc_cell_lock(&bytes->cell, deadline);
    if (status < 0) return status;
    (void)copy(bytes, capacity, buffer, room, length);
    status = cipc_cell_cancel(&bytes->cell);
    if (status < 0) return status;
  }
  return *length <= room ? 0 : CIPC_EMSGSIZE;
}

int cipc_bytes_begin(cipc_bytes_t *bytes, size_t capacity, const void **content, size_t *length,
                     cipc_deadline_t deadline) {
  int status = cipc_cell_lock(&bytes->cell, deadline);
  if (status < 0) return status;
  uint64_t sequence = __atomic_load_n(&bytes->cell.sequence, __ATOMIC_ACQUIRE);
  const uint64_t *slot = slot_of(bytes, sequence, capacity);
  *length = length_of(slot, capacity);
  *content = slot + 1;
  return 0;
}

// By the owner.
static int replace(cipc_bytes_t *bytes, size_t capacity, const void *content, size_t length) {
  uint64_t next = __atomic_load_n(&bytes->cell.sequence, __ATOMIC_RELAXED) + 1;
  // As in cipc_cell_replace: who sees a store below sees that its slot is no longer the current.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  fill(slot_of(bytes, next, capacity), content, length);
  // Commit point.
  __atomic_store_n(&bytes->cell.sequence, next, __ATOMIC_RELEASE);
  return cipc_mutex_release(&bytes->cell.mutex);
}

int cipc_bytes_commit(cipc_bytes_t *bytes, size_t capacity, const void *content, size_t length) {
  if (!cipc_mutex_is_owned(&bytes->cell.mutex)) return CIPC_EPERM;
  return length > capacity ? CIPC_ECAPACITY : replace(bytes, capacity, content, length);
}

int cipc_bytes_cancel(cipc_bytes_t *bytes) { return cipc_cell_cancel(&bytes->cell); }

int cipc_bytes_store(cipc_bytes_t *bytes, size_t capacity, const void *content, size_t length,
                     cipc_deadline_t deadline) {
  if (length > capacity) return CIPC_ECAPACITY;
  int status = cipc_cell_lock(&bytes->cell, deadline);
  return status < 0 ? status : replace(bytes, capacity, content, length);
}

// MARK: By name

static const cipc_element_t byte = {
    .size = 1, .stride = 1, .alignment = 1, .fingerprint = CIPC_FINGERPRINT_UINT8};

cipc_segment_type_t cipc_bytes_type(uint64_t capacity) {
  return cipc_object_type(CIPC_KIND_BYTES, 1, &byte, capacity);
}

cipc_segment_type_t cipc_string_type(uint64_t capacity) {
  return cipc_object_type(CIPC_KIND_STRING, 1, &byte, capacity);
}

typedef struct first {
  size_t capacity;
  const void *content;
  size_t length;
} first_t;

static int prepare(void *payload, void *context) {
  const first_t *first = context;
  return cipc_bytes_init(payload, first->capacity, first->content, first->length);
}

static int check(const cipc_segment_t *segment, const cipc_object_t *object) {
  (void)object;
  size_t size = cipc_segment_size(segment);
  size_t footprint = cipc_bytes_footprint((size_t)cipc_segment_count(segment));
  return footprint == size ? 0 : cipc_mismatch_numbers(CIPC_ESEGMENTCOUNT, size, footprint);
}

static int open_named(cipc_segment_t **segment, const char *name, cipc_segment_type_t type) {
  return cipc_object_open(segment, name, &(cipc_object_t){.type = type, .check = check});
}

static int open_or_create(cipc_segment_t **segment, const char *name, cipc_segment_type_t type,
                          const void *content, size_t length) {
  first_t first = {.capacity = (size_t)type.count, .content = content, .length = length};
  if (length > first.capacity) return CIPC_ECAPACITY;
  return cipc_object_make(segment, name,
                          &(cipc_object_t){.type = type,
                                           .size = cipc_bytes_footprint(first.capacity),
                                           .prepare = prepare,
                                           .context = &first,
                                           .check = check});
}

int cipc_bytes_open_named(cipc_segment_t **segment, const char *name, uint64_t capacity) {
  return open_named(segment, name, cipc_bytes_type(capacity));
}

int cipc_bytes_open_or_create(cipc_segment_t **segment, const char *name, size_t capacity,
                              const void *content, size_t length) {
  return open_or_create(segment, name, cipc_bytes_type(capacity), content, length);
}

int cipc_string_open_named(cipc_segment_t **segment, const char *name, uint64_t capacity) {
  return open_named(segment, name, cipc_string_type(capacity));
}

int cipc_string_open_or_create(cipc_segment_t **segment, const char *name, size_t capacity,
                               const void *content, size_t length) {
  return open_or_create(segment, name, cipc_string_type(capacity), content, length);
}
