/* SPDX-License-Identifier: Apache-2.0 */
// A cell that writes the slot which readers use.
#define cipc_cell_commit commit_right
#include "cell.c"
#undef cipc_cell_commit

int cipc_cell_commit(cipc_cell_t *cell, const void *value, size_t size) {
  uint64_t now = __atomic_load_n(&cell->sequence, __ATOMIC_RELAXED);
  copy_in(cipc_cell_slot(cell, now, size), value, size);
  __atomic_store_n(&cell->sequence, now + 2, __ATOMIC_RELEASE);
  return cipc_mutex_unlock(&cell->mutex);
}
