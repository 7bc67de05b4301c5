/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/journal.h"

#include <stdbool.h>
#include <string.h>

_Static_assert(sizeof(cipc_journal_t) == sizeof(cipc_mutex_t) + 32, "journal layout");

static bool is_within(uint64_t offset, uint64_t length, size_t size) {
  return offset <= size && length <= size - offset;
}

static int check_range(const cipc_journal_area_t *area, size_t offset, size_t length) {
  if (!is_within(offset, length, area->size)) return CIPC_EINVAL;
  return length <= area->capacity ? 0 : CIPC_ECAPACITY;
}

static void redo(cipc_journal_t *journal, const cipc_journal_area_t *area, size_t offset,
                 size_t length) {
  // memcpy takes no NULL, not even for nothing.
  if (length != 0) memcpy((unsigned char *)area->data + offset, area->redo, length);
  // Behind the copy. Killed before it, the next owner copies once more.
  __atomic_store_n(&journal->committed, 0, __ATOMIC_RELEASE);
}

int cipc_journal_init(cipc_journal_t *journal) {
  memset(journal, 0, sizeof *journal);
  return cipc_mutex_init(&journal->mutex, NULL);
}

int cipc_journal_stage(const cipc_journal_area_t *area, size_t offset, size_t length) {
  int status = check_range(area, offset, length);
  if (status < 0 || length == 0) return status;
  memcpy(area->redo, (const unsigned char *)area->data + offset, length);
  return 0;
}

int cipc_journal_apply(cipc_journal_t *journal, const cipc_journal_area_t *area, size_t offset,
                       size_t length) {
  int status = check_range(area, offset, length);
  if (status < 0) return status;
  __atomic_store_n(&journal->offset, offset, __ATOMIC_RELAXED);
  __atomic_store_n(&journal->length, length, __ATOMIC_RELAXED);
  // Commit point.
  __atomic_store_n(&journal->committed, 1, __ATOMIC_RELEASE);
  // A release store lets later writes come before it. Towards other processors that is settled by
  // the lock, whether it is released or inherited; the compiler is told here.
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  redo(journal, area, offset, length);
  return 0;
}

int cipc_journal_settle(cipc_journal_t *journal, const cipc_journal_area_t *area) {
  if (__atomic_load_n(&journal->committed, __ATOMIC_ACQUIRE) != 0) {
    uint64_t offset = __atomic_load_n(&journal->offset, __ATOMIC_RELAXED);
    uint64_t length = __atomic_load_n(&journal->length, __ATOMIC_RELAXED);
    if (is_within(offset, length, area->size) && length <= area->capacity) {
      redo(journal, area, (size_t)offset, (size_t)length);
    } else {
      // Nobody knows what was meant to change: told before the record is gone.
      cipc_journal_mark(journal, 1);
      __atomic_store_n(&journal->committed, 0, __ATOMIC_RELEASE);
    }
  }
  if (__atomic_load_n(&journal->changing, __ATOMIC_RELAXED) != 0) return CIPC_OWNER_DIED;
  return cipc_mutex_recover(&journal->mutex);
}

static int take(cipc_journal_t *journal, const cipc_journal_area_t *area,
                cipc_deadline_t deadline) {
  int status = cipc_mutex_lock(&journal->mutex, deadline);
  return status == CIPC_OWNER_DIED ? cipc_journal_settle(journal, area) : status;
}

// Releases as the owner. What is still to be repaired stays marked.
static int leave(cipc_journal_t *journal) {
  if (journal->mutex.dirty == 0) cipc_journal_mark(journal, 0);
  return cipc_mutex_release(&journal->mutex);
}

int cipc_journal_begin(cipc_journal_t *journal, const cipc_journal_area_t *area, size_t offset,
                       size_t length, cipc_deadline_t deadline) {
  int status = check_range(area, offset, length);
  if (status == 0) status = take(journal, area, deadline);
  if (status < 0) return status;
  // The range was checked.
  (void)!cipc_journal_stage(area, offset, length);
  return status;
}

int cipc_journal_commit(cipc_journal_t *journal, const cipc_journal_area_t *area, size_t offset,
                        size_t length) {
  if (!cipc_mutex_is_owned(&journal->mutex)) return CIPC_EPERM;
  int status = cipc_journal_apply(journal, area, offset, length);
  return status < 0 ? status : leave(journal);
}

int cipc_journal_cancel(cipc_journal_t *journal) { return cipc_journal_unlock(journal); }

int cipc_journal_lock(cipc_journal_t *journal, const cipc_journal_area_t *area,
                      cipc_deadline_t deadline) {
  int status = take(journal, area, deadline);
  if (status >= 0) cipc_journal_mark(journal, 1);
  return status;
}

int cipc_journal_unlock(cipc_journal_t *journal) {
  return cipc_mutex_is_owned(&journal->mutex) ? leave(journal) : CIPC_EPERM;
}

int cipc_journal_recover(cipc_journal_t *journal) { return cipc_mutex_recover(&journal->mutex); }
