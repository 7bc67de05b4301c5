/* SPDX-License-Identifier: Apache-2.0 */
/// Reader-writer locks in shared memory that survive the death of any holder or waiter.
///
/// A robust mutex for writers, and for readers *places*: words in lines of 64 bytes of their own. A
/// reader puts its identity into a place by one compare-and-swap and looks whether a writer is
/// there. A writer takes the mutex, closes the door, and waits until no reader is inside. Each
/// thread begins at a line of its own, so that readers on several cores do not touch the same
/// memory.
///
/// Order: a writer that waits holds new readers back, so writers do not starve. Readers that waited
/// while a writer was inside are let in when it leaves, before the next writer, so readers do not
/// starve either.
///
/// Death, which is the thread's, as in mutexes:
/// - A dead reader's share comes back: the writer that waits for it looks every 200 ms.
/// - A writer that dies inside may have left half a change. Every later writer and reader gets
///   CIPC_OWNER_DIED, with what it asked for, until a writer says `cipc_rwlock_recover`.
/// - A waiter that dies has changed nothing, and its death is not reported.
///
/// A thread may read again while it reads: it is let in although a writer waits, and unlocks as
/// often. A thread that reads may not write, one that writes may neither read nor write again:
/// CIPC_EDEADLK. That rests on the identity of threads; shares that the step functions take for a
/// whole process are not told apart, and wait for each other.
///
/// `lines` is what the lock was made with, kept in the caller's private memory: then nothing in the
/// shared bytes can make an access leave the lock. When all places are taken, another reader waits
/// for one.
///
/// Caveats: those of `mutex.h`. For processes that trust each other.
#ifndef CIPC_RWLOCK_H
#define CIPC_RWLOCK_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "mutex.h"
#include "participant.h"
#include "segment.h"
#include "status.h"
#include "wait.h"

CIPC_BEGIN_DECLS

/// Bytes before the first line of places.
#define CIPC_RWLOCK_HEAD 128
/// Readers that a line has places for.
#define CIPC_RWLOCK_LINE_READERS 8
/// A good number of lines: 128 readers, in 1,152 bytes. A writer looks at all of them.
#define CIPC_RWLOCK_LINES 16
#define CIPC_RWLOCK_LINES_MAXIMUM 4096

/// A lock, to be placed in shared memory at an address divisible by 64, with
/// `cipc_rwlock_footprint` bytes of room. The members are private.
typedef struct cipc_rwlock {
  /// Owned by the one writer that is pending or inside. It guards what follows unless said
  /// otherwise.
  cipc_mutex_t mutex;
  /// Bits, in rwlock.c; 0: no writer, and nothing to know. By the owner of the mutex, except for
  /// the bits by which readers say that they wait. A futex for readers.
  uint32_t state;
  /// Counts events that callers may wait for because readers are in their way. By anyone; a futex.
  uint32_t exits;
  /// Odd while a waiter sleeps until the mutex is free, otherwise even. By anyone; a futex.
  uint32_t turn;
  uint32_t unused;
  /// The process that wrote last, or is writing; while a death is unrepaired, the dead one.
  cipc_participant_t writer;
  /// The participant that keeps the door closed without owning the mutex: a writer that waits in
  /// steps.
  cipc_participant_t pending;
  uint64_t room[(CIPC_RWLOCK_HEAD - sizeof(cipc_mutex_t) - 32) / 8];
  // The lines follow. A place is 0 or an identity, with bit 62 set (CIPC_RWLOCK_WAITING) while it
  // only waits.
} cipc_rwlock_t;

/// Private: in a place, beside an identity: waits, and is not inside. An identity has this bit only
/// after 348 years of uptime.
#define CIPC_RWLOCK_WAITING ((cipc_participant_t)1 << 62)

/// Not in any place.
#define CIPC_RWLOCK_NOWHERE UINT32_MAX

/// Bytes that a lock of so many lines needs; SIZE_MAX for a number that it cannot have.
CIPC_API size_t cipc_rwlock_footprint(uint32_t lines);

/// Makes a lock in memory that no one uses yet, for `8 * lines` readers at a time. There is nothing
/// to destroy.
///
/// CIPC_EINVAL: `lines` is not a power of two up to CIPC_RWLOCK_LINES_MAXIMUM. CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_rwlock_init(cipc_rwlock_t *lock, uint32_t lines);

/// Private: how far this thread has moved on from lines that others read in.
CIPC_API extern __thread uint32_t cipc_rwlock_shift;

/// Private: the places of a lock.
CIPC_INLINE cipc_participant_t *cipc_rwlock_places(const cipc_rwlock_t *lock) {
  return (cipc_participant_t *)(uintptr_t)((const char *)lock + CIPC_RWLOCK_HEAD);
}

/// Private: the k-th place that this thread tries; all of them for k up to the number of places.
CIPC_INLINE uint32_t cipc_rwlock_place(cipc_participant_t thread, uint32_t lines, uint32_t k) {
  // Threads that start one after the other have numbers next to each other: five lines apart, since
  // processors fetch lines in pairs.
  uint32_t line = (((uint32_t)thread + cipc_rwlock_shift + k) * 5) & (lines - 1);
  return line * CIPC_RWLOCK_LINE_READERS + k / lines;
}

/// Private: `cipc_rwlock_read_lock` when there is more to do. `claimed`: the thread's first place
/// has its identity.
CIPC_API CIPC_CHECKED int cipc_rwlock_read_slowly(cipc_rwlock_t *lock, uint32_t lines, int claimed,
                                                  cipc_deadline_t deadline);

/// Takes a share of the lock, waiting until the deadline while a writer is there.
///
/// 0: the caller reads. CIPC_OWNER_DIED: the caller reads, and an earlier writer died inside.
/// CIPC_ETIMEDOUT: not taken. CIPC_EDEADLK: this thread writes. CIPC_ESRCH: this thread has no
/// identity, since /proc is not mounted. CIPC_ENOTRECOVERABLE, CIPC_EINVAL: not a usable lock.
///
/// Any thread. A forked child has none of its parent's shares.
CIPC_CHECKED CIPC_INLINE int cipc_rwlock_read_lock(cipc_rwlock_t *lock, uint32_t lines,
                                                   cipc_deadline_t deadline) {
  cipc_participant_t thread = cipc_participant_this_thread();
  cipc_participant_t *place = &cipc_rwlock_places(lock)[cipc_rwlock_place(thread, lines, 0)];
  cipc_participant_t found = CIPC_PARTICIPANT_NOBODY;
  int claimed =
      thread != CIPC_PARTICIPANT_NOBODY &&
      __atomic_compare_exchange_n(place, &found, thread, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  // Commit point: the compare-and-swap, if no writer is found behind it. A writer closes the door
  // and then looks at the places: one of the two sees the other.
  if (__builtin_expect(claimed, 1) &&
      __builtin_expect(__atomic_load_n(&lock->state, __ATOMIC_SEQ_CST) == 0, 1)) {
    return 0;
  }
  return cipc_rwlock_read_slowly(lock, lines, claimed, deadline);
}

/// Takes a share if no writer is there: as `cipc_rwlock_read_lock`, but CIPC_EBUSY.
CIPC_CHECKED CIPC_INLINE int cipc_rwlock_read_trylock(cipc_rwlock_t *lock, uint32_t lines) {
  int status = cipc_rwlock_read_lock(lock, lines, CIPC_IMMEDIATELY);
  return status == CIPC_ETIMEDOUT ? CIPC_EBUSY : status;
}

/// Private: a reader has left, and a writer may wait for that.
CIPC_API void cipc_rwlock_left(cipc_rwlock_t *lock);

/// Private: `cipc_rwlock_read_unlock` of a share that is not in the thread's first place.
CIPC_API CIPC_CHECKED int cipc_rwlock_read_unlock_slowly(cipc_rwlock_t *lock, uint32_t lines);

/// Gives a share back. CIPC_EPERM: the calling thread has none; nothing changed.
CIPC_CHECKED CIPC_INLINE int cipc_rwlock_read_unlock(cipc_rwlock_t *lock, uint32_t lines) {
  cipc_participant_t thread = cipc_participant_this_thread();
  cipc_participant_t *place = &cipc_rwlock_places(lock)[cipc_rwlock_place(thread, lines, 0)];
  if (__builtin_expect(
          thread == CIPC_PARTICIPANT_NOBODY || __atomic_load_n(place, __ATOMIC_RELAXED) != thread,
          0)) {
    return cipc_rwlock_read_unlock_slowly(lock, lines);
  }
  // Commit point.
  (void)__atomic_exchange_n(place, CIPC_PARTICIPANT_NOBODY, __ATOMIC_SEQ_CST);
  if (__builtin_expect(__atomic_load_n(&lock->state, __ATOMIC_SEQ_CST) != 0, 0)) {
    cipc_rwlock_left(lock);
  }
  return 0;
}

/// Takes the lock for writing, waiting until the deadline while others read or write. New readers
/// wait from the moment that the caller is the first of the writers.
///
/// 0: the caller writes. CIPC_OWNER_DIED: the caller writes, and an earlier writer died inside; see
/// `cipc_rwlock_recover`. CIPC_ETIMEDOUT: not taken. CIPC_EDEADLK: this thread reads or writes
/// already. CIPC_ENOTRECOVERABLE, CIPC_EINVAL: not a usable lock.
///
/// Any thread. A forked child is not the writer that its parent is.
CIPC_API CIPC_CHECKED int cipc_rwlock_write_lock(cipc_rwlock_t *lock, uint32_t lines,
                                                 cipc_deadline_t deadline);

/// Takes the lock for writing if no other thread reads or writes: as `cipc_rwlock_write_lock`, but
/// CIPC_EBUSY. Does not wait, but looks whether the reader in the way is alive.
CIPC_CHECKED CIPC_INLINE int cipc_rwlock_write_trylock(cipc_rwlock_t *lock, uint32_t lines) {
  int status = cipc_rwlock_write_lock(lock, lines, CIPC_IMMEDIATELY);
  return status == CIPC_ETIMEDOUT ? CIPC_EBUSY : status;
}

/// Ends writing, and lets waiting readers in. CIPC_EPERM: the calling thread does not write;
/// nothing changed.
CIPC_API CIPC_CHECKED int cipc_rwlock_write_unlock(cipc_rwlock_t *lock, uint32_t lines);

/// Says that what the lock guards is in order again: the next owner gets 0. Does nothing when no
/// writer died.
///
/// CIPC_EPERM: the calling thread does not write.
CIPC_API CIPC_CHECKED int cipc_rwlock_recover(cipc_rwlock_t *lock);

/// The pid of the writer whose death has not been repaired yet; 0 when there is none. For error
/// messages, to be called by a reader or writer.
CIPC_API pid_t cipc_rwlock_casualty(const cipc_rwlock_t *lock);

/// The writer, and the number of readers: hints that may be out of date when they are read. The
/// writer is 0 while there is none. Shares of the dead count until a waiter looks.
CIPC_API cipc_participant_t cipc_rwlock_writer(const cipc_rwlock_t *lock);
CIPC_API uint32_t cipc_rwlock_readers(const cipc_rwlock_t *lock, uint32_t lines);

/// One try for a share, as a step of a wait (`wait.h`). `reader` is an identity of the caller's: of
/// its thread, or of its process where another thread may end the wait or the reading.
///
/// `*place` is CIPC_RWLOCK_NOWHERE at first. On success, as `cipc_rwlock_read_lock` says, it is the
/// place of the share, for `cipc_rwlock_read_leave`. After CIPC_EAGAIN the caller keeps it for the
/// next step or for `cipc_rwlock_read_abandon`. After a failure it is CIPC_RWLOCK_NOWHERE. With
/// `look`, takes back what the dead held. Any thread; does not block.
CIPC_API CIPC_CHECKED int cipc_rwlock_read_step(cipc_rwlock_t *lock, uint32_t lines,
                                                cipc_participant_t reader, int look,
                                                uint32_t *place, cipc_wait_t *wait);

/// Ends a wait to read after CIPC_EAGAIN. 0: the caller has nothing. 1: it was let in meanwhile,
/// and reads, as if the step had succeeded.
CIPC_API CIPC_CHECKED int cipc_rwlock_read_abandon(cipc_rwlock_t *lock, uint32_t lines,
                                                   cipc_participant_t reader, uint32_t *place);

/// Gives the share at a place back. CIPC_EPERM: `reader` has none there.
CIPC_API CIPC_CHECKED int cipc_rwlock_read_leave(cipc_rwlock_t *lock, uint32_t lines,
                                                 cipc_participant_t reader, uint32_t place);

/// One try to write, as a step of a wait. Where it fails, it keeps new readers out in the name of
/// `owner`, the caller's identity, until the wait is over: `cipc_rwlock_write_abandon` ends a wait
/// that did not succeed. On success, as `cipc_rwlock_write_lock`, the calling thread is the writer.
/// Any thread; does not block.
CIPC_API CIPC_CHECKED int cipc_rwlock_write_step(cipc_rwlock_t *lock, uint32_t lines,
                                                 cipc_participant_t owner, int look,
                                                 cipc_wait_t *wait);

/// Ends a wait to write after CIPC_EAGAIN: readers are let in again.
CIPC_API CIPC_CHECKED int cipc_rwlock_write_abandon(cipc_rwlock_t *lock, uint32_t lines,
                                                    cipc_participant_t owner);

// MARK: By name

/// The type of a segment whose payload is a reader-writer lock of so many lines, or with
/// CIPC_SEGMENT_ANY_COUNT of any number: Swift's `ReadWriteLock`.
CIPC_API cipc_segment_type_t cipc_rwlock_type(uint64_t lines);

/// Opens the reader-writer lock of that name, which is at `cipc_segment_address(*segment)`; the
/// caller closes the segment. It has `lines` lines; with CIPC_SEGMENT_ANY_COUNT,
/// `cipc_segment_count` tells how many, and the caller keeps that number in private memory.
///
/// As `cipc_segment_open_named`: CIPC_ENOENT: there is none. CIPC_ESEGMENT*: something else has the
/// name; see `cipc_segment_refusal`. Does not block. Any thread; safe after fork.
CIPC_API CIPC_CHECKED int cipc_rwlock_open_named(cipc_segment_t **segment, const char *name,
                                                 uint64_t lines);

/// Opens the reader-writer lock of that name and number of lines, or makes it: CIPC_SEGMENT_CREATED
/// or 0. As `cipc_rwlock_open_named`, `cipc_segment_open_or_create` and `cipc_rwlock_init`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_rwlock_open_or_create(cipc_segment_t **segment, const char *name,
                                                     uint32_t lines);

CIPC_END_DECLS

#endif
