/* SPDX-License-Identifier: Apache-2.0 */
// A cell that names the new slot before it is written.
#define cipc_cell_commit commit_right
#include "cell.c"
#undef cipc_cell_commit

int cipc_cell_commit(cipc_cell_t *cell, const void *value, size_t size) {
  uint64_t next = __atomic_load_n(&cell->sequence, __ATOMIC_RELAXED) + 1;
  __atomic_store_n(&cell->sequence, next, __ATOMIC_RELEASE);
  copy_in(cipc_cell_slot(cell, next, size), value, size);
  return cipc_mutex_unlock(&cell->mutex);
}
