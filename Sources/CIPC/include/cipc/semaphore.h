/* SPDX-License-Identifier: Apache-2.0 */
/// Semaphores in shared memory: a number of permits that processes take and give back.
///
/// There are two kinds. The permits of an *owned* semaphore belong to their holder: a thread, or a
/// process as a whole. Only the holder gives them back, so there are never more than there were at
/// first, and when the holder is killed, or its thread ends, they come back by themselves. Use it
/// to bound how many do something at once.
///
/// The permits of an *unowned* semaphore are signals: one process posts them, another one takes
/// them, and what was taken by a process that is then killed is gone. Use it to count work that is
/// there to be done.
///
/// Each permit of an owned semaphore is a word, 0 while it is free and otherwise the identity of
/// its holder: one compare-and-swap takes it, another one gives it back, and a third one, by any
/// process that has proof of the holder's death, frees it. There is nothing to repair.
///
/// Waiters sleep on a word of a sequence and a sticky *waiters* bit. The bit says that there may be
/// sleepers to wake when a permit is given back. A process that is killed between giving back and
/// waking wakes no waiter, and a waiter that is killed just after it was woken takes the wake-up
/// along; so sleepers look again every 200 ms, and look for dead holders then.
///
/// Caveats:
/// - First come, first served is not promised: a caller that looks at the right moment takes a
///   permit, also before waiters that have waited for longer.
/// - When all permits are taken, a try takes time in proportion to their number: it looks at each.
/// - For processes that trust each other to give back what they took, and no more. Whatever stands
///   in the shared bytes, no access leaves the semaphore, whose capacity the caller keeps in its
///   private memory.
#ifndef CIPC_SEMAPHORE_H
#define CIPC_SEMAPHORE_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "participant.h"
#include "segment.h"
#include "status.h"
#include "wait.h"

CIPC_BEGIN_DECLS

/// A semaphore, to be placed in shared memory at an address divisible by 8: an owned one with
/// `cipc_semaphore_footprint` bytes of room, an unowned one as it stands. The members are private.
typedef struct cipc_semaphore {
  /// {sequence, waiters bit}. Sleepers set the bit and sleep on it; wakers raise the sequence.
  uint32_t word;
  /// Unowned: permits now. Changing it is the commit point of taking and posting.
  uint32_t count;
  /// Unowned: the most permits that there can be. Written by the creator.
  uint32_t bound;
  /// So that the permits do not share a cache line with the word that all callers read.
  uint32_t reserved[13];
  // Owned: a 64-bit word for each permit follows. Changing one is the commit point of taking,
  // handing on and giving back.
} cipc_semaphore_t;

/// The most permits of an owned semaphore.
#define CIPC_SEMAPHORE_MAXIMUM 65536u

/// Private: in `word`.
#define CIPC_SEMAPHORE_WAITERS 1u

// MARK: Owned

/// Bytes that an owned semaphore of `capacity` permits needs; 0 for a capacity that is not valid.
CIPC_API size_t cipc_semaphore_footprint(uint32_t capacity);

/// Makes an owned semaphore, all of whose permits are free, in memory that no one uses yet. There
/// is nothing to destroy.
///
/// CIPC_EINVAL: no permits, or more than CIPC_SEMAPHORE_MAXIMUM.
CIPC_API CIPC_CHECKED int cipc_semaphore_init(cipc_semaphore_t *semaphore, uint32_t capacity);

/// Private: the words of the permits.
CIPC_INLINE cipc_participant_t *cipc_semaphore_permits(const cipc_semaphore_t *semaphore) {
  return (cipc_participant_t *)(uintptr_t)(semaphore + 1);
}

/// Private: looks at all permits, from the one at `start` on. As `cipc_semaphore_try`.
CIPC_API CIPC_CHECKED int cipc_semaphore_try_others(cipc_semaphore_t *semaphore, uint32_t capacity,
                                                    cipc_participant_t owner, uint32_t start);

/// Takes a permit for `owner` if one is free: the identity of the calling thread or process.
/// `capacity`, here and below, is what the semaphore was made with.
///
/// The number of the permit, from 0: keep it to give the permit back. CIPC_EBUSY: none is free.
/// CIPC_ESRCH: `owner` is nobody (/proc is not mounted: the dead could not be told from the
/// living). Does not block, and does not look for the dead.
///
/// Commit point: the compare-and-swap of the permit's word from 0 to the owner's identity.
CIPC_CHECKED CIPC_INLINE int cipc_semaphore_try(cipc_semaphore_t *semaphore, uint32_t capacity,
                                                cipc_participant_t owner) {
  // Each owner begins at another permit, and at its own of the last time.
  uint32_t hash = (uint32_t)((owner * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
  uint32_t start = (uint32_t)(((uint64_t)hash * capacity) >> 32);
  cipc_participant_t *permit = cipc_semaphore_permits(semaphore) + start;
  cipc_participant_t found = __atomic_load_n(permit, __ATOMIC_RELAXED);
  if (__builtin_expect(found == CIPC_PARTICIPANT_NOBODY && owner != CIPC_PARTICIPANT_NOBODY &&
                           __atomic_compare_exchange_n(permit, &found, owner, 0, __ATOMIC_SEQ_CST,
                                                       __ATOMIC_RELAXED),
                       1)) {
    return (int)start;
  }
  return cipc_semaphore_try_others(semaphore, capacity, owner, start);
}

/// Tries to take a permit for `owner` without blocking, and says where to sleep if it was in vain:
/// see cipc/wait.h. With `look`, takes back what the dead held, and wakes others for it.
///
/// The number of the permit; CIPC_EAGAIN: sleep on `*wait` and try again. With `wait` NULL the
/// caller will not sleep, and no mark of a sleeper is left. CIPC_ESRCH as `cipc_semaphore_try`.
CIPC_API CIPC_CHECKED int cipc_semaphore_step(cipc_semaphore_t *semaphore, uint32_t capacity,
                                              cipc_participant_t owner, int look,
                                              cipc_wait_t *wait);

/// Private: waits for a permit.
CIPC_API CIPC_CHECKED int cipc_semaphore_acquire_slowly(cipc_semaphore_t *semaphore,
                                                        uint32_t capacity, cipc_participant_t owner,
                                                        cipc_deadline_t deadline);

/// Takes a permit for `owner`, waiting until the deadline.
///
/// The number of the permit, from 0. CIPC_ETIMEDOUT: none was free, and none had been held by the
/// dead for more than 200 ms. CIPC_ESRCH as `cipc_semaphore_try`. Any thread; safe after fork.
CIPC_CHECKED CIPC_INLINE int cipc_semaphore_acquire_for(cipc_semaphore_t *semaphore,
                                                        uint32_t capacity, cipc_participant_t owner,
                                                        cipc_deadline_t deadline) {
  int permit = cipc_semaphore_try(semaphore, capacity, owner);
  if (__builtin_expect(permit >= 0, 1)) return permit;
  return cipc_semaphore_acquire_slowly(semaphore, capacity, owner, deadline);
}

/// Takes a permit for the calling thread, waiting until the deadline: it comes back when the
/// thread ends. As `cipc_semaphore_acquire_for`.
CIPC_CHECKED CIPC_INLINE int cipc_semaphore_acquire(cipc_semaphore_t *semaphore, uint32_t capacity,
                                                    cipc_deadline_t deadline) {
  return cipc_semaphore_acquire_for(semaphore, capacity, cipc_participant_this_thread(), deadline);
}

/// Private: wakes up to `count` sleepers.
CIPC_API void cipc_semaphore_wake(cipc_semaphore_t *semaphore, uint32_t count);

/// Private: the same, if the waiters bit says that there may be sleepers.
CIPC_INLINE void cipc_semaphore_wake_waiters(cipc_semaphore_t *semaphore, uint32_t count) {
  // Sequentially consistent, as is the change before it: either this sees the bit of a sleeper, or
  // the sleeper, which looks once more after setting it, sees the change.
  uint32_t word = __atomic_load_n(&semaphore->word, __ATOMIC_SEQ_CST);
  if (__builtin_expect(word & CIPC_SEMAPHORE_WAITERS, 0)) cipc_semaphore_wake(semaphore, count);
}

/// Hands a permit on: from the identity that holds it to another one, such as from the calling
/// thread to its process, or from another process to this one, as agreed with it.
///
/// 0. CIPC_EPERM: `from` does not hold it, or no longer: it may have died, and another participant
/// may hold the permit. Nothing changed. CIPC_EINVAL: there is no such permit. Does not block.
///
/// Commit point: the compare-and-swap of the permit's word.
CIPC_CHECKED CIPC_INLINE int cipc_semaphore_hand(cipc_semaphore_t *semaphore, uint32_t capacity,
                                                 uint32_t permit, cipc_participant_t from,
                                                 cipc_participant_t to) {
  if (permit >= capacity) return CIPC_EINVAL;
  if (from == CIPC_PARTICIPANT_NOBODY || to == CIPC_PARTICIPANT_NOBODY) return CIPC_EPERM;
  return __atomic_compare_exchange_n(cipc_semaphore_permits(semaphore) + permit, &from, to, 0,
                                     __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)
             ? 0
             : CIPC_EPERM;
}

/// Gives a permit back for `owner`, and wakes one waiter.
///
/// 0. CIPC_EPERM: `owner` does not hold it; nothing changed. CIPC_EINVAL: there is no such permit.
/// Does not block.
///
/// Commit point: the compare-and-swap of the permit's word to 0.
CIPC_CHECKED CIPC_INLINE int cipc_semaphore_release_for(cipc_semaphore_t *semaphore,
                                                        uint32_t capacity, uint32_t permit,
                                                        cipc_participant_t owner) {
  if (__builtin_expect(permit >= capacity, 0)) return CIPC_EINVAL;
  if (__builtin_expect(owner == CIPC_PARTICIPANT_NOBODY, 0)) return CIPC_EPERM;
  cipc_participant_t *word = cipc_semaphore_permits(semaphore) + permit;
  if (!__atomic_compare_exchange_n(word, &owner, CIPC_PARTICIPANT_NOBODY, 0, __ATOMIC_SEQ_CST,
                                   __ATOMIC_RELAXED)) {
    return CIPC_EPERM;
  }
  cipc_semaphore_wake_waiters(semaphore, 1);
  return 0;
}

/// Gives back a permit of the calling thread. As `cipc_semaphore_release_for`.
CIPC_CHECKED CIPC_INLINE int cipc_semaphore_release(cipc_semaphore_t *semaphore, uint32_t capacity,
                                                    uint32_t permit) {
  return cipc_semaphore_release_for(semaphore, capacity, permit, cipc_participant_this_thread());
}

/// How many permits are free: a hint that may be out of date when it is read. Those of dead holders
/// count as taken until a waiter has looked.
CIPC_API uint32_t cipc_semaphore_value(const cipc_semaphore_t *semaphore, uint32_t capacity);

/// The holder of a permit: a hint; nobody (0) when it is free or there is no such permit.
CIPC_API cipc_participant_t cipc_semaphore_holder(const cipc_semaphore_t *semaphore,
                                                  uint32_t capacity, uint32_t permit);

// MARK: Unowned

/// The largest bound of an unowned semaphore.
#define CIPC_SEMAPHORE_BOUND_MAXIMUM ((uint32_t)INT32_MAX)

/// Makes an unowned semaphore of `value` permits, of which there are never more than `bound`, in
/// memory that no one uses yet. There is nothing to destroy.
///
/// CIPC_EINVAL: a bound of 0 or beyond CIPC_SEMAPHORE_BOUND_MAXIMUM. CIPC_ECAPACITY: the value is
/// beyond the bound.
CIPC_API CIPC_CHECKED int cipc_semaphore_init_unowned(cipc_semaphore_t *semaphore, uint32_t value,
                                                      uint32_t bound);

/// Private: how often a change of the count is tried, since other processes may change it all the
/// time.
#define CIPC_SEMAPHORE_TRIES 1000

/// Takes a permit if there is one: 0, or CIPC_EBUSY. Does not block.
///
/// Commit point: the compare-and-swap of the count.
CIPC_CHECKED CIPC_INLINE int cipc_semaphore_try_take(cipc_semaphore_t *semaphore) {
  uint32_t count = __atomic_load_n(&semaphore->count, __ATOMIC_SEQ_CST);
  for (int i = 0; i < CIPC_SEMAPHORE_TRIES && count != 0; i++) {
    if (__atomic_compare_exchange_n(&semaphore->count, &count, count - 1, 0, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST)) {
      return 0;
    }
  }
  return CIPC_EBUSY;
}

/// Tries to take a permit without blocking: 0, or CIPC_EAGAIN: sleep on `*wait` and try again; see
/// cipc/wait.h. There are no dead holders to look for.
CIPC_API CIPC_CHECKED int cipc_semaphore_take_step(cipc_semaphore_t *semaphore, cipc_wait_t *wait);

/// Private: waits for a permit.
CIPC_API CIPC_CHECKED int cipc_semaphore_take_slowly(cipc_semaphore_t *semaphore,
                                                     cipc_deadline_t deadline);

/// Takes a permit, waiting until the deadline. 0, or CIPC_ETIMEDOUT. Any thread; safe after fork.
CIPC_CHECKED CIPC_INLINE int cipc_semaphore_take(cipc_semaphore_t *semaphore,
                                                 cipc_deadline_t deadline) {
  if (__builtin_expect(cipc_semaphore_try_take(semaphore) == 0, 1)) return 0;
  return cipc_semaphore_take_slowly(semaphore, deadline);
}

/// Adds `count` permits and wakes as many waiters.
///
/// 0. CIPC_ECAPACITY: there would be more than the bound; nothing changed. Does not block.
///
/// Commit point: the compare-and-swap of the count.
CIPC_CHECKED CIPC_INLINE int cipc_semaphore_post(cipc_semaphore_t *semaphore, uint32_t count) {
  uint32_t before = __atomic_load_n(&semaphore->count, __ATOMIC_RELAXED);
  int tries = 0;
  do {
    if ((uint64_t)before + count > semaphore->bound || tries++ == CIPC_SEMAPHORE_TRIES) {
      return CIPC_ECAPACITY;
    }
  } while (!__atomic_compare_exchange_n(&semaphore->count, &before, before + count, 0,
                                        __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
  cipc_semaphore_wake_waiters(semaphore, count);
  return 0;
}

/// How many permits there are: a hint that may be out of date when it is read.
CIPC_INLINE uint32_t cipc_semaphore_count(const cipc_semaphore_t *semaphore) {
  return __atomic_load_n(&semaphore->count, __ATOMIC_SEQ_CST);
}

/// The most permits that there can be.
CIPC_INLINE uint32_t cipc_semaphore_bound(const cipc_semaphore_t *semaphore) {
  return __atomic_load_n(&semaphore->bound, __ATOMIC_RELAXED);
}

// MARK: By name

/// The type of a segment whose payload is an owned semaphore of so many permits, or with
/// CIPC_SEGMENT_ANY_COUNT of any number: Swift's `SharedSemaphore`. The second is for an unowned
/// semaphore.
CIPC_API cipc_segment_type_t cipc_semaphore_type(uint64_t capacity);
CIPC_API cipc_segment_type_t cipc_semaphore_type_unowned(void);

/// Opens the owned semaphore of that name, which is at `cipc_segment_address(*segment)`; the caller
/// closes the segment. It has `capacity` permits; with CIPC_SEGMENT_ANY_COUNT, `cipc_segment_count`
/// tells how many, and the caller keeps that number in private memory.
///
/// As `cipc_segment_open_named`: CIPC_ENOENT: there is none. CIPC_ESEGMENT*: something else has the
/// name; see `cipc_segment_refusal`. Does not block. Any thread; safe after fork.
CIPC_API CIPC_CHECKED int cipc_semaphore_open_named(cipc_segment_t **segment, const char *name,
                                                    uint64_t capacity);

/// Opens the owned semaphore of that name and number of permits, or makes it with all of them free:
/// CIPC_SEGMENT_CREATED or 0. As `cipc_semaphore_open_named`, `cipc_segment_open_or_create` and
/// `cipc_semaphore_init`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_semaphore_open_or_create(cipc_segment_t **segment, const char *name,
                                                        uint32_t capacity);

/// Opens the unowned semaphore of that name and bound; with a bound of 0, of whatever bound.
///
/// CIPC_ESEGMENTBOUND: it has another bound. Otherwise as `cipc_semaphore_open_named`.
CIPC_API CIPC_CHECKED int cipc_semaphore_open_named_unowned(cipc_segment_t **segment,
                                                            const char *name, uint32_t bound);

/// Opens the unowned semaphore of that name and bound, or makes it with `value` permits:
/// CIPC_SEGMENT_CREATED or 0. As `cipc_semaphore_open_named_unowned`, `cipc_segment_open_or_create`
/// and `cipc_semaphore_init_unowned`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_semaphore_open_or_create_unowned(cipc_segment_t **segment,
                                                                const char *name, uint32_t value,
                                                                uint32_t bound);

CIPC_END_DECLS

#endif
