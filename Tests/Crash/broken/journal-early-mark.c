/* SPDX-License-Identifier: Apache-2.0 */
// A journal whose update is committed before its record says where it belongs.
// Caught: journal.update-one owns: the update was there when .* not in the end
#define cipc_journal_commit commit_right
#include "data/journal.c"
#undef cipc_journal_commit

int cipc_journal_commit(cipc_journal_t *journal, const cipc_journal_area_t *area, size_t offset,
                        size_t length) {
  __atomic_store_n(&journal->committed, 1, __ATOMIC_RELEASE);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  journal->offset = offset;
  journal->length = length;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  redo(journal, area, offset, length);
  return leave(journal);
}
