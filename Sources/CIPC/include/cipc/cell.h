/* SPDX-License-Identifier: Apache-2.0 */
/// Cells: one value in shared memory, updated as a whole.
///
/// Two slots and a sequence word behind a mutex. An update writes the slot that is not in use and
/// then stores the sequence: that store is the commit point. A process
/// killed before it has changed nothing, one killed after it has changed everything. Readers take
/// no lock: they copy the current slot and look whether the sequence has moved.
///
/// The size is the caller's, in its private memory: nothing in the shared bytes
/// can make an access leave the cell.
///
/// Also here: lock-free atomic integers of 1, 2, 4 and 8 bytes.
#ifndef CIPC_CELL_H
#define CIPC_CELL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "clock.h"
#include "element.h"
#include "mutex.h"
#include "segment.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// A cell, to be placed in shared memory at an address divisible by 64, with
/// `cipc_cell_footprint` bytes of room. The members are private.
typedef struct cipc_cell {
  cipc_mutex_t mutex;
  /// Updates so far; its lowest bit names the current slot. Written by the owner of the mutex;
  /// storing it is the commit point of an update.
  uint64_t sequence;
  // Both slots follow, each of `size` rounded up to 8 bytes. The current one is only read.
} cipc_cell_t;

/// How often a reader tries without the lock before it takes the lock.
#define CIPC_CELL_RETRIES 64

/// Bytes that a cell for values of `size` bytes needs; SIZE_MAX when that cannot be represented.
CIPC_API size_t cipc_cell_footprint(size_t size);

/// Makes a cell that holds `value` in memory that no one uses yet. CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_cell_init(cipc_cell_t *cell, const void *value, size_t size);

/// Private: the slot that a sequence names.
CIPC_INLINE uint64_t *cipc_cell_slot(const cipc_cell_t *cell, uint64_t sequence, size_t size) {
  return (uint64_t *)(uintptr_t)(cell + 1) + (sequence & 1) * ((size + 7) / 8);
}

/// Private: copies out of shared words, each read once.
CIPC_INLINE void cipc_cell_copy_out(void *value, const uint64_t *slot, size_t size) {
  size_t words = size / 8;
  char *out = (char *)value;
  for (size_t i = 0; i < words; i++) {
    uint64_t word = __atomic_load_n(&slot[i], __ATOMIC_RELAXED);
    memcpy(out + i * 8, &word, 8);
  }
  if (size % 8 != 0) {
    uint64_t word = __atomic_load_n(&slot[words], __ATOMIC_RELAXED);
    memcpy(out + words * 8, &word, size % 8);
  }
}

/// Private: copies into shared words.
CIPC_INLINE void cipc_cell_copy_in(uint64_t *slot, const void *value, size_t size) {
  size_t words = size / 8;
  const char *in = (const char *)value;
  for (size_t i = 0; i < words; i++) {
    uint64_t word;
    memcpy(&word, in + i * 8, 8);
    __atomic_store_n(&slot[i], word, __ATOMIC_RELAXED);
  }
  if (size % 8 != 0) {
    uint64_t word = 0;
    memcpy(&word, in + words * 8, size % 8);
    __atomic_store_n(&slot[words], word, __ATOMIC_RELAXED);
  }
}

/// Private: takes the cell's mutex.
CIPC_CHECKED CIPC_INLINE int cipc_cell_lock(cipc_cell_t *cell, cipc_deadline_t deadline) {
  int status = cipc_mutex_lock(&cell->mutex, deadline);
  // Nothing is torn: the sequence names a slot that the dead owner did not write to.
  return status == CIPC_OWNER_DIED ? cipc_mutex_recover(&cell->mutex) : status;
}

/// Private: makes `value` the cell's value and releases the cell. By a caller that has taken it.
CIPC_CHECKED CIPC_INLINE int cipc_cell_replace(cipc_cell_t *cell, const void *value, size_t size) {
  uint64_t next = __atomic_load_n(&cell->sequence, __ATOMIC_RELAXED) + 1;
  // A reader that sees any of the stores below also sees the sequence of the update before,
  // and knows that the slot it copied was no longer the current one.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  cipc_cell_copy_in(cipc_cell_slot(cell, next, size), value, size);
  // Commit point.
  __atomic_store_n(&cell->sequence, next, __ATOMIC_RELEASE);
  return cipc_mutex_release(&cell->mutex);
}

/// Takes the cell's mutex for an update and copies the current value to `value`.
///
/// 0: the caller owns the cell and ends with `cipc_cell_commit` or `cipc_cell_cancel`. The death of
/// an earlier owner is settled here: its unfinished update never happened. Otherwise as
/// `cipc_mutex_lock`, CIPC_OWNER_DIED excepted.
CIPC_CHECKED CIPC_INLINE int cipc_cell_begin(cipc_cell_t *cell, void *value, size_t size,
                                             cipc_deadline_t deadline) {
  int status = cipc_cell_lock(cell, deadline);
  if (status != 0) return status;
  uint64_t sequence = __atomic_load_n(&cell->sequence, __ATOMIC_ACQUIRE);
  cipc_cell_copy_out(value, cipc_cell_slot(cell, sequence, size), size);
  return 0;
}

/// Makes `value` the cell's value and releases the cell. By the owner only.
///
/// Commit point: the release store of `sequence`. CIPC_EPERM: the caller is not the owner; nothing
/// changed.
CIPC_CHECKED CIPC_INLINE int cipc_cell_commit(cipc_cell_t *cell, const void *value, size_t size) {
  if (!cipc_mutex_is_owned(&cell->mutex)) return CIPC_EPERM;
  return cipc_cell_replace(cell, value, size);
}

/// Releases the cell and leaves the value as it is. CIPC_EPERM: the caller is not the owner.
CIPC_CHECKED CIPC_INLINE int cipc_cell_cancel(cipc_cell_t *cell) {
  return cipc_mutex_unlock(&cell->mutex);
}

/// Makes `value` the cell's value: begin and commit in one. As `cipc_mutex_lock`, CIPC_OWNER_DIED
/// excepted.
CIPC_CHECKED CIPC_INLINE int cipc_cell_store(cipc_cell_t *cell, const void *value, size_t size,
                                             cipc_deadline_t deadline) {
  int status = cipc_cell_lock(cell, deadline);
  return status != 0 ? status : cipc_cell_replace(cell, value, size);
}

/// Copies the value under the mutex: for readers that writers have overtaken
/// CIPC_CELL_RETRIES times. As `cipc_mutex_lock`, CIPC_OWNER_DIED excepted.
CIPC_API CIPC_CHECKED int cipc_cell_read_locked(cipc_cell_t *cell, void *value, size_t size,
                                                cipc_deadline_t deadline);

/// Private: one try of `cipc_cell_read`. Nonzero when `value` was not torn.
CIPC_INLINE int cipc_cell_try_read(const cipc_cell_t *cell, void *value, size_t size) {
  uint64_t before = __atomic_load_n(&cell->sequence, __ATOMIC_ACQUIRE);
  cipc_cell_copy_out(value, cipc_cell_slot(cell, before, size), size);
  // Orders the copy before the second look; pairs with the release fence of the writer.
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return __atomic_load_n(&cell->sequence, __ATOMIC_RELAXED) == before;
}

/// Copies the last committed value to `value`, without a lock unless writers overtake the reader
/// CIPC_CELL_RETRIES times. Never sees a part of an update.
///
/// 0. CIPC_ETIMEDOUT: writers overtook the reader, and the lock was not free before the deadline;
/// `value` is undefined. Otherwise as `cipc_mutex_lock`, CIPC_OWNER_DIED excepted.
CIPC_CHECKED CIPC_INLINE int cipc_cell_read(cipc_cell_t *cell, void *value, size_t size,
                                            cipc_deadline_t deadline) {
  for (int i = 0; i < CIPC_CELL_RETRIES; i++) {
    if (cipc_cell_try_read(cell, value, size)) return 0;
  }
  return cipc_cell_read_locked(cell, value, size, deadline);
}

/// Private: dispatches on the width, which is a constant wherever this is inlined.
#define CIPC_ATOMIC_DISPATCH(width, EXPRESSION) \
  switch (width) { \
    case 1: \
      EXPRESSION(uint8_t); \
    case 2: \
      EXPRESSION(uint16_t); \
    case 4: \
      EXPRESSION(uint32_t); \
    default: \
      EXPRESSION(uint64_t); \
  }

/// The atomic integer of `width` bytes (1, 2, 4 or 8) at `word`, which is aligned to its
/// width. Sequentially consistent, as are all that follow; lock-free; never fails; nothing to
/// repair when a process is killed. The commit point of each is its one instruction.
CIPC_INLINE uint64_t cipc_atomic_load(const void *word, size_t width){
#define CIPC_ATOMIC_LOAD(type) return __atomic_load_n((const type *)word, __ATOMIC_SEQ_CST)
    CIPC_ATOMIC_DISPATCH(width, CIPC_ATOMIC_LOAD)
#undef CIPC_ATOMIC_LOAD
}

/// Stores the low bytes of `value`.
CIPC_INLINE void cipc_atomic_store(void *word, size_t width, uint64_t value) {
#define CIPC_ATOMIC_STORE(type) \
  __atomic_store_n((type *)word, (type)value, __ATOMIC_SEQ_CST); \
  return
  CIPC_ATOMIC_DISPATCH(width, CIPC_ATOMIC_STORE)
#undef CIPC_ATOMIC_STORE
}

/// Stores eight bytes at an address divisible by 8, after all that was stored before: a reader that
/// sees it with `cipc_atomic_load` sees that too. Cheaper than `cipc_atomic_store`, since a later
/// load may come before it. The commit point is its one instruction.
CIPC_INLINE void cipc_atomic_publish(void *word, uint64_t value) {
  __atomic_store_n((uint64_t *)word, value, __ATOMIC_RELEASE);
}

/// Adds, wrapping around; returns the value before.
CIPC_INLINE uint64_t cipc_atomic_add(void *word, size_t width, uint64_t value){
#define CIPC_ATOMIC_ADD(type) return __atomic_fetch_add((type *)word, (type)value, __ATOMIC_SEQ_CST)
    CIPC_ATOMIC_DISPATCH(width, CIPC_ATOMIC_ADD)
#undef CIPC_ATOMIC_ADD
}

/// Stores `value`; returns the value before.
CIPC_INLINE uint64_t cipc_atomic_exchange(void *word, size_t width, uint64_t value){
#define CIPC_ATOMIC_EXCHANGE(type) \
  return __atomic_exchange_n((type *)word, (type)value, __ATOMIC_SEQ_CST)
    CIPC_ATOMIC_DISPATCH(width, CIPC_ATOMIC_EXCHANGE)
#undef CIPC_ATOMIC_EXCHANGE
}

/// Stores `value` if the integer is `*expected`; otherwise copies the integer to `*expected`.
/// Nonzero when it stored.
CIPC_INLINE
    int cipc_atomic_compare_exchange(void *word, size_t width, uint64_t *expected, uint64_t value) {
#define CIPC_ATOMIC_COMPARE(type) \
  do { \
    type found = (type)*expected; \
    int stored = __atomic_compare_exchange_n((type *)word, &found, (type)value, 0, \
                                             __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
    *expected = found; \
    return stored; \
  } while (0)
  CIPC_ATOMIC_DISPATCH(width, CIPC_ATOMIC_COMPARE)
#undef CIPC_ATOMIC_COMPARE
}

// MARK: By name

/// The type of a segment whose payload is a cell for a value of an element type: Swift's `Value`.
CIPC_API cipc_segment_type_t cipc_cell_type(const cipc_element_t *element);

/// Opens the value of that name, whose cell is at `cipc_segment_address(*segment)`; the caller
/// closes the segment. The cell's size is `element->size`; where that is 0, with
/// CIPC_FINGERPRINT_ANY, it is the `element_size` of `cipc_segment_type`.
///
///     cipc_segment_t *segment;
///     int status = cipc_cell_open_named(&segment, "total", cipc_element("float64"));
///     if (status < 0) return status;
///     double total;
///     status = cipc_cell_read(cipc_segment_address(segment), &total, sizeof total, deadline);
///
/// CIPC_EINVAL: `element` is NULL. Otherwise as `cipc_segment_open_named`: CIPC_ENOENT: there is
/// none. CIPC_ESEGMENT*: something else has the name; see `cipc_segment_refusal`. Does not block.
/// Any thread; safe after fork.
CIPC_API CIPC_CHECKED int cipc_cell_open_named(cipc_segment_t **segment, const char *name,
                                               const cipc_element_t *element);

/// Opens the value of that name, or makes it with `value` as its first value: CIPC_SEGMENT_CREATED
/// or 0. As `cipc_cell_open_named` and `cipc_segment_open_or_create`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_cell_open_or_create(cipc_segment_t **segment, const char *name,
                                                   const cipc_element_t *element,
                                                   const void *value);

/// The same for an atomic integer of 1, 2, 4 or 8 bytes: Swift's `SharedAtomic`. The integer is at
/// `cipc_segment_address(*segment)`, its width is `element->size`.
///
/// CIPC_EINVAL also for an element of another size.
CIPC_API cipc_segment_type_t cipc_atomic_type(const cipc_element_t *element);
CIPC_API CIPC_CHECKED int cipc_atomic_open_named(cipc_segment_t **segment, const char *name,
                                                 const cipc_element_t *element);
CIPC_API CIPC_CHECKED int cipc_atomic_open_or_create(cipc_segment_t **segment, const char *name,
                                                     const cipc_element_t *element, uint64_t value);

CIPC_END_DECLS

#endif
