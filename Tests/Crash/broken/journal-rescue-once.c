/* SPDX-License-Identifier: Apache-2.0 */
// A journal whose rescuer drops the record before it has repeated the copy: a second rescuer finds
// nothing to repeat.
// Caught: journal.rescue owns: survivor: torn at word [0-9] of 6
#define cipc_journal_begin begin_right
#include "data/journal.c"
#undef cipc_journal_begin

int cipc_journal_begin(cipc_journal_t *journal, const cipc_journal_area_t *area, size_t offset,
                       size_t length, cipc_deadline_t deadline) {
  int status = cipc_mutex_lock(&journal->mutex, deadline);
  if (status == CIPC_OWNER_DIED) {
    if (journal->committed != 0) {
      __atomic_store_n(&journal->committed, 0, __ATOMIC_RELEASE);
      __atomic_signal_fence(__ATOMIC_SEQ_CST);
      redo(journal, area, journal->offset, journal->length);
    }
    if (journal->changing == 0) status = cipc_mutex_recover(&journal->mutex);
  }
  if (status >= 0 && cipc_journal_stage(area, offset, length) < 0) return CIPC_EINVAL;
  return status;
}
