/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/cell.h"

#include "mutex.h"

size_t cipc_cell_footprint(size_t size) {
  size_t slots = 0;
  size_t total = 0;
  if (__builtin_add_overflow(size, 7, &slots) ||
      __builtin_mul_overflow(slots / 8, 2 * sizeof(uint64_t), &slots) ||
      __builtin_add_overflow(slots, sizeof(cipc_cell_t), &total)) {
    return SIZE_MAX;
  }
  return total;
}

static void copy_in(uint64_t *slot, const void *value, size_t size) {
  const char *in = value;
  size_t words = size / 8;
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

int cipc_cell_init(cipc_cell_t *cell, const void *value, size_t size) {
  int status = cipc_mutex_init(&cell->mutex, NULL);
  if (status < 0) return status;
  cell->sequence = 0;
  copy_in(cipc_cell_slot(cell, 0, size), value, size);
  return 0;
}

static int lock(cipc_cell_t *cell, cipc_deadline_t deadline) {
  int status = cipc_mutex_lock(&cell->mutex, deadline);
  // Nothing is torn: the sequence names a slot that the dead owner did not write to.
  return status == CIPC_OWNER_DIED ? cipc_mutex_recover(&cell->mutex) : status;
}

static void copy_current(const cipc_cell_t *cell, void *value, size_t size) {
  uint64_t sequence = __atomic_load_n(&cell->sequence, __ATOMIC_ACQUIRE);
  cipc_cell_copy_out(value, cipc_cell_slot(cell, sequence, size), size);
}

int cipc_cell_begin(cipc_cell_t *cell, void *value, size_t size, cipc_deadline_t deadline) {
  int status = lock(cell, deadline);
  if (status == 0) copy_current(cell, value, size);
  return status;
}

int cipc_cell_commit(cipc_cell_t *cell, const void *value, size_t size) {
  if (!cipc_mutex_is_owned(&cell->mutex)) return CIPC_EPERM;
  uint64_t next = __atomic_load_n(&cell->sequence, __ATOMIC_RELAXED) + 1;
  // A reader that sees any of the stores below also sees the sequence of the update before,
  // and knows that the slot it copied was no longer the current one.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  copy_in(cipc_cell_slot(cell, next, size), value, size);
  // Commit point.
  __atomic_store_n(&cell->sequence, next, __ATOMIC_RELEASE);
  return cipc_mutex_unlock(&cell->mutex);
}

int cipc_cell_store(cipc_cell_t *cell, const void *value, size_t size, cipc_deadline_t deadline) {
  int status = lock(cell, deadline);
  return status < 0 ? status : cipc_cell_commit(cell, value, size);
}

int cipc_cell_cancel(cipc_cell_t *cell) { return cipc_mutex_unlock(&cell->mutex); }

int cipc_cell_read_locked(cipc_cell_t *cell, void *value, size_t size, cipc_deadline_t deadline) {
  int status = lock(cell, deadline);
  if (status < 0) return status;
  copy_current(cell, value, size);
  return cipc_mutex_unlock(&cell->mutex);
}
