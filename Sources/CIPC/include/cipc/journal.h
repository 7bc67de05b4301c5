/* SPDX-License-Identifier: Apache-2.0 */
/// Journals: changes of shared memory in place, which the next owner of the lock finds whole or not
/// at all.
///
/// A mutex, a record and a *redo area*. An update is prepared in the redo area; then the record is
/// marked as committed, and then the bytes are copied to where they belong. A process killed before
/// the mark has changed nothing. One killed after it has changed everything: the next owner of the
/// mutex repeats the copy before it goes on, as often as it takes, since a rescuer may be killed
/// too.
///
/// Unlike a cell, a journal guards data of any size with a redo area as large as the largest
/// update, and updates copy the bytes that they change alone. Readers take the lock: without it
/// they could see a copy halfway.
///
/// The lock is also there for changes in place that are no transactions (`cipc_journal_lock`). Only
/// the death of an owner during such a change is reported: an owner that died in a transaction left
/// nothing half-changed.
///
/// The caller says with each call where the memory is, from its private memory. Offsets and lengths
/// in the shared bytes are read once and bounded by that. For processes that trust each other: see
/// `cipc/mutex.h`. All functions may be called from any thread; a forked child is not the owner of
/// what its parent holds.
#ifndef CIPC_JOURNAL_H
#define CIPC_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "mutex.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// A journal, to be placed in shared memory at an address divisible by 8. The members are private.
typedef struct cipc_journal {
  cipc_mutex_t mutex;
  /// Nonzero while an owner changes the data in place, outside a transaction. Written by the owner.
  uint64_t changing;
  /// Nonzero while the record is to be copied to the data. Written by the owner; storing it is the
  /// commit point of an update.
  uint64_t committed;
  /// The record: which bytes of the data the redo area holds. Written by the owner before
  /// `committed`.
  uint64_t offset;
  uint64_t length;
} cipc_journal_t;

/// The memory that a journal guards and the memory that it uses, as mapped in this process. Both
/// stay the caller's. The redo area overlaps nothing.
typedef struct cipc_journal_area {
  void *data;
  size_t size;
  /// Where updates are prepared; the contents mean nothing. NULL with a capacity of 0.
  void *redo;
  /// Bytes of the redo area: the largest update. More than `size` is of no use.
  size_t capacity;
} cipc_journal_area_t;

/// Makes a journal in memory that no one uses yet. CIPC_ENOMEM. Does not block.
CIPC_API CIPC_CHECKED int cipc_journal_init(cipc_journal_t *journal);

/// Takes the lock for an update of `length` bytes from `offset` on, and copies these from the data
/// to the start of the redo area, where the caller changes them.
///
/// 0: the caller is the owner and ends with `cipc_journal_commit` or `cipc_journal_cancel`. An
/// update that an earlier owner did not live to finish was finished or dropped. CIPC_OWNER_DIED:
/// the same, and an owner died while it changed the data in place; see `cipc_journal_recover`.
/// CIPC_EINVAL: the range is not in the data. CIPC_ECAPACITY: it is larger than the redo area.
/// Otherwise as `cipc_mutex_lock`; not taken then.
CIPC_API CIPC_CHECKED int cipc_journal_begin(cipc_journal_t *journal,
                                             const cipc_journal_area_t *area, size_t offset,
                                             size_t length, cipc_deadline_t deadline);

/// Makes the start of the redo area the `length` bytes of the data from `offset` on, and releases
/// the lock. By the owner, with the range that it has begun with.
///
/// Commit point: the release store of `committed`. CIPC_EPERM: the caller is not the owner;
/// CIPC_EINVAL, CIPC_ECAPACITY: as `cipc_journal_begin`; nothing changed then.
CIPC_API CIPC_CHECKED int cipc_journal_commit(cipc_journal_t *journal,
                                              const cipc_journal_area_t *area, size_t offset,
                                              size_t length);

/// Releases the lock and leaves the data as it is. CIPC_EPERM: the caller is not the owner.
CIPC_API CIPC_CHECKED int cipc_journal_cancel(cipc_journal_t *journal);

/// Takes the lock to read the data, or to change it in place without a transaction.
///
/// 0: the caller is the owner and ends with `cipc_journal_unlock`. CIPC_OWNER_DIED: the same, and
/// an owner died while it changed the data in place; see `cipc_journal_recover`. The updates
/// of dead owners are finished or dropped by then. Otherwise as `cipc_mutex_lock`.
CIPC_API CIPC_CHECKED int cipc_journal_lock(cipc_journal_t *journal,
                                            const cipc_journal_area_t *area,
                                            cipc_deadline_t deadline);

/// Releases the lock. CIPC_EPERM: the caller is not the owner; nothing changed.
CIPC_API CIPC_CHECKED int cipc_journal_unlock(cipc_journal_t *journal);

/// Says that the data is in order again: the next owner gets 0. CIPC_EPERM: the caller is not the
/// owner.
CIPC_API CIPC_CHECKED int cipc_journal_recover(cipc_journal_t *journal);

// The steps that the functions above consist of, for a caller that takes `mutex` itself. It owns
// the mutex throughout.

/// The first step after `cipc_mutex_lock` returned CIPC_OWNER_DIED: finishes the update that was
/// committed. A caller may be killed in it, and it may be repeated.
///
/// 0: nothing is half-changed; the mutex is clean. CIPC_OWNER_DIED: the data was being changed in
/// place (or the record does not fit `area`); the mutex still says so.
CIPC_API CIPC_CHECKED int cipc_journal_settle(cipc_journal_t *journal,
                                              const cipc_journal_area_t *area);

/// Copies a range to the redo area. CIPC_EINVAL, CIPC_ECAPACITY.
CIPC_API CIPC_CHECKED int cipc_journal_stage(const cipc_journal_area_t *area, size_t offset,
                                             size_t length);

/// Copies a range back from the redo area: `cipc_journal_commit` without the release.
CIPC_API CIPC_CHECKED int cipc_journal_apply(cipc_journal_t *journal,
                                             const cipc_journal_area_t *area, size_t offset,
                                             size_t length);

/// Says that changes in place begin (nonzero) or have ended. From the first to the second, the
/// death of the owner is reported.
CIPC_INLINE void cipc_journal_mark(cipc_journal_t *journal, int changing) {
  // Behind the last change, and before the first: for the compiler, since a kill falls between two
  // instructions of one thread.
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  __atomic_store_n(&journal->changing, changing != 0 ? UINT64_C(1) : 0, __ATOMIC_RELEASE);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

CIPC_END_DECLS

#endif
