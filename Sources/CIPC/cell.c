/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/cell.h"

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

int cipc_cell_init(cipc_cell_t *cell, const void *value, size_t size) {
  int status = cipc_mutex_init(&cell->mutex, NULL);
  if (status < 0) return status;
  cell->sequence = 0;
  cipc_cell_copy_in(cipc_cell_slot(cell, 0, size), value, size);
  return 0;
}

int cipc_cell_read_locked(cipc_cell_t *cell, void *value, size_t size, cipc_deadline_t deadline) {
  int status = cipc_cell_begin(cell, value, size, deadline);
  return status < 0 ? status : cipc_cell_cancel(cell);
}
