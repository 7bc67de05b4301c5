/* SPDX-License-Identifier: Apache-2.0 */
// A cell that names the new slot before it is written.
// Caught: cell.update owns: (survivor without the lock|a reader in between): torn: .*
#include "cipc/cell.h"

static inline int commit_early(cipc_cell_t *cell, const void *value, size_t size) {
  uint64_t next = __atomic_load_n(&cell->sequence, __ATOMIC_RELAXED) + 1;
  __atomic_store_n(&cell->sequence, next, __ATOMIC_RELEASE);
  cipc_cell_copy_in(cipc_cell_slot(cell, next, size), value, size);
  return cipc_mutex_unlock(&cell->mutex);
}
#define cipc_cell_commit commit_early
