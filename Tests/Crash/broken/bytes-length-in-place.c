/* SPDX-License-Identifier: Apache-2.0 */
// Bytes whose length is changed in the slot that readers use.
// Caught: bytes.update owns: survivor without the lock: torn: .*
#define cipc_bytes_commit commit_right
#include "data/bytes.c"
#undef cipc_bytes_commit

int cipc_bytes_commit(cipc_bytes_t *bytes, size_t capacity, const void *content, size_t length) {
  uint64_t now = bytes->cell.sequence;
  *slot_of(bytes, now, capacity) = length;
  *slot_of(bytes, now + 1, capacity) = length;
  cipc_cell_copy_in(slot_of(bytes, now + 1, capacity) + 1, content, length);
  __atomic_store_n(&bytes->cell.sequence, now + 1, __ATOMIC_RELEASE);
  return cipc_mutex_release(&bytes->cell.mutex);
}
