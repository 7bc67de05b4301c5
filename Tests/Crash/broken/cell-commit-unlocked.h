/* SPDX-License-Identifier: Apache-2.0 */
// A cell that gives the lock up before it stores the sequence: updates of others are lost.
// Caught: cell.update owns: the last value is [0-9]+: an update was lost
#include "cipc/cell.h"

static inline int commit_unlocked(cipc_cell_t *cell, const void *value, size_t size) {
  uint64_t next = __atomic_load_n(&cell->sequence, __ATOMIC_RELAXED) + 1;
  cipc_cell_copy_in(cipc_cell_slot(cell, next, size), value, size);
  int status = cipc_mutex_unlock(&cell->mutex);
  __atomic_store_n(&cell->sequence, next, __ATOMIC_RELEASE);
  return status;
}
#define cipc_cell_commit commit_unlocked
