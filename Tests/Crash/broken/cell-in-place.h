/* SPDX-License-Identifier: Apache-2.0 */
// A cell that writes the slot which readers use.
// Caught: cell.update owns: (survivor without the lock|a reader in between): torn: .*
#include "cipc/cell.h"

static inline int commit_in_place(cipc_cell_t *cell, const void *value, size_t size) {
  uint64_t now = __atomic_load_n(&cell->sequence, __ATOMIC_RELAXED);
  cipc_cell_copy_in(cipc_cell_slot(cell, now, size), value, size);
  __atomic_store_n(&cell->sequence, now + 2, __ATOMIC_RELEASE);
  return cipc_mutex_unlock(&cell->mutex);
}
#define cipc_cell_commit commit_in_place
