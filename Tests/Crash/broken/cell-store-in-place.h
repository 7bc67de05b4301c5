/* SPDX-License-Identifier: Apache-2.0 */
// A cell whose store writes the slot which readers use.
// Caught: cell.store owns: (survivor without the lock|a reader in between): torn: .*
#include "cipc/cell.h"

static inline int store_in_place(cipc_cell_t *cell, const void *value, size_t size,
                                 cipc_deadline_t deadline) {
  int status = cipc_cell_lock(cell, deadline);
  if (status != 0) return status;
  uint64_t now = __atomic_load_n(&cell->sequence, __ATOMIC_RELAXED);
  cipc_cell_copy_in(cipc_cell_slot(cell, now, size), value, size);
  __atomic_store_n(&cell->sequence, now + 2, __ATOMIC_RELEASE);
  return cipc_mutex_unlock(&cell->mutex);
}
#define cipc_cell_store store_in_place
