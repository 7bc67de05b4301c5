/* SPDX-License-Identifier: Apache-2.0 */
// A journal whose update counts as done before the copy is finished.
// Caught: journal.update-one owns: committed: no, out of turn
#define cipc_journal_commit commit_right
#include "data/journal.c"
#undef cipc_journal_commit

int cipc_journal_commit(cipc_journal_t *journal, const cipc_journal_area_t *area, size_t offset,
                        size_t length) {
  journal->offset = offset;
  journal->length = length;
  __atomic_store_n(&journal->committed, 1, __ATOMIC_RELEASE);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  __atomic_store_n(&journal->committed, 0, __ATOMIC_RELEASE);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  memcpy((unsigned char *)area->data + offset, area->redo, length);
  return leave(journal);
}
