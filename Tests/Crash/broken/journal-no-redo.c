/* SPDX-License-Identifier: Apache-2.0 */
// A journal whose rescuer does not repeat the copy.
// Caught: journal.update-one owns: the update was there when .* not in the end
#define cipc_journal_begin begin_right
#include "data/journal.c"
#undef cipc_journal_begin

int cipc_journal_begin(cipc_journal_t *journal, const cipc_journal_area_t *area, size_t offset,
                       size_t length, cipc_deadline_t deadline) {
  int status = cipc_mutex_lock(&journal->mutex, deadline);
  if (status == CIPC_OWNER_DIED) {
    journal->committed = 0;
    if (journal->changing == 0) status = cipc_mutex_recover(&journal->mutex);
  }
  if (status >= 0 && cipc_journal_stage(area, offset, length) < 0) return CIPC_EINVAL;
  return status;
}
