/* SPDX-License-Identifier: Apache-2.0 */
/// Conditions in shared memory: a waiter releases a mutex and sleeps until a notifier says that
/// what the mutex guards has changed. Conditions survive the death of any waiter or notifier.
///
/// A waiter enters itself in a slot and draws a ticket, under the mutex; `cipc_condition_notify`
/// raises the number up to which tickets are notified, under the mutex, in one store. So two
/// numbers tell which waiters are notified, and a wake-up that is lost or comes for nothing changes
/// nothing. When a notified waiter dies before it has taken its notification, the notification
/// passes to the next waiter that was waiting by then, exactly once.
///
///     struct queue {                       // in shared memory
///       cipc_mutex_t lock;
///       cipc_condition_t filled;
///       cipc_condition_slot_t waiters[CIPC_CONDITION_WAITERS];
///       int items;
///     };
///     int status = cipc_mutex_lock(&q->lock, CIPC_NO_DEADLINE);
///     while (status == 0 && q->items == 0) {
///       status = cipc_condition_wait(&q->filled, CIPC_CONDITION_WAITERS, &q->lock, deadline);
///     }
///
/// All users of a condition use one mutex with it and pass the same number of slots; one mutex may
/// serve many conditions. The mutex may lie in the same memory or in another. A recursive mutex is
/// released as often as the caller holds it, and taken again as often.
///
/// Caveats:
/// - For processes that trust each other, as the mutex is.
/// - A dead waiter keeps its slot until another waiter needs one, and its notification for at most
///   200 ms while others wait.
/// - Every function may be called from any thread. A forked child does not wait for its parent.
#ifndef CIPC_CONDITION_H
#define CIPC_CONDITION_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "mutex.h"
#include "participant.h"
#include "segment.h"
#include "status.h"
#include "wait.h"

CIPC_BEGIN_DECLS

/// Slots that fit one page with the condition and the header of a segment.
#define CIPC_CONDITION_WAITERS 120

/// A condition, to be placed in shared memory; its slots follow it. The members are private.
typedef struct cipc_condition {
  /// Waiters with tickets up to this one are notified. Never falls. Written under the mutex, with
  /// release; read without it by waiters. The commit point of a notification.
  uint64_t notified;
  /// The ticket of the next waiter, from 1. Written under the mutex.
  uint64_t next;
  /// A notification that is being passed on: the slots, plus one, that it goes from and to; or 0.
  /// The next owner of the mutex settles it first. The commit point of passing on.
  uint64_t journal;
  /// Slots from here on have never been used. Written under the mutex.
  uint32_t used;
  uint32_t reserved;
} cipc_condition_t;

/// A waiter's entry. The members are private.
typedef struct cipc_condition_slot {
  /// The waiter; 0: the slot is free, whatever the other members say. Written under the mutex: by a
  /// waiter that enters, as its last store; 0 by a waiter that leaves, and by any process for a
  /// waiter that is proven dead.
  cipc_participant_t waiter;
  uint64_t ticket;
  /// Once notified: the first ticket that was drawn after the notification, which does not pass to
  /// such waiters.
  uint64_t limit;
  /// The futex: 1 while it is worth sleeping. A hint.
  uint32_t asleep;
  uint32_t reserved;
} cipc_condition_slot_t;

/// Bytes of a condition with so many slots.
CIPC_INLINE size_t cipc_condition_footprint(uint32_t slots) {
  return sizeof(cipc_condition_t) + (size_t)slots * sizeof(cipc_condition_slot_t);
}

/// Makes a condition with `slots` slots behind it, in memory that no one uses yet. There is
/// nothing to destroy. CIPC_EINVAL: no slots, or more than 2^31. Does not block.
CIPC_API CIPC_CHECKED int cipc_condition_init(cipc_condition_t *condition, uint32_t slots);

/// Releases the mutex, sleeps until it is notified or the deadline passes, and takes the mutex
/// again; it waits for the mutex beyond the deadline. The caller owns the mutex before and after.
///
/// 0: notified, maybe after the deadline. CIPC_ETIMEDOUT: not notified. CIPC_OWNER_DIED: the mutex
/// says that an owner died, which may have been about to notify. It is unknown whether the caller
/// was notified, so look at what the mutex guards once that is in order. The wait ends within 200
/// ms of the death. With these three the caller holds the mutex. CIPC_EPERM: the caller does not
/// own the mutex. CIPC_ECAPACITY: all slots are taken by the living; the mutex is still held. Other
/// negative statuses of `cipc_mutex_lock`: the mutex could not be taken again.
///
/// The waiter is the calling thread: when it ends, it is dead.
CIPC_API CIPC_CHECKED int cipc_condition_wait(cipc_condition_t *condition, uint32_t slots,
                                              cipc_mutex_t *mutex, cipc_deadline_t deadline);

/// All waiters, for `cipc_condition_notify`.
#define CIPC_CONDITION_ALL UINT32_MAX

/// Notifies the `count` waiters that have waited longest, or all if there are fewer. The caller
/// owns the mutex, and the waiters go on once it releases the mutex.
///
/// Returns how many it notified. Some of them may be dead; others take their place as soon as that
/// is found out. CIPC_EPERM: the caller does not own the mutex. Does not block.
///
/// Commit point: the store of the last ticket notified. Killed before it, no waiter is notified;
/// after it, all are, within 200 ms if they were not woken.
CIPC_API CIPC_CHECKED int cipc_condition_notify(cipc_condition_t *condition, uint32_t slots,
                                                cipc_mutex_t *mutex, uint32_t count);

/// How many wait and have not been notified, the dead included. A hint; exact for the owner of the
/// mutex. Does not block.
CIPC_API uint32_t cipc_condition_waiting(const cipc_condition_t *condition, uint32_t slots);

// The parts of cipc_condition_wait, for waits that block no thread.

/// One wait, in the memory of the waiter.
typedef struct cipc_condition_wait {
  uint64_t ticket;
  uint32_t slot;
  /// How often the mutex was held beyond the first time.
  uint32_t depth;
} cipc_condition_wait_t;

/// Enters `owner` as a waiter, then releases the mutex. Any thread may then finish the wait. 0;
/// CIPC_EPERM, CIPC_ECAPACITY, and then the mutex is held as before. Does not block.
///
/// Commit point: the store of `owner` in a slot. A process that is killed after it is a dead
/// waiter.
CIPC_API CIPC_CHECKED int cipc_condition_enter(cipc_condition_t *condition, uint32_t slots,
                                               cipc_mutex_t *mutex, cipc_participant_t owner,
                                               cipc_condition_wait_t *entered);

/// 0: notified; leave. CIPC_OWNER_DIED: an owner of the mutex died; leave, which says so again, or
/// says CIPC_ETIMEDOUT if the death has been repaired since. CIPC_EAGAIN: sleep on `wait` and call
/// again. Negative statuses of the mutex. With `look` it checks whether a dead waiter has a
/// notification to pass on, if the mutex is free. Does not block.
CIPC_API CIPC_CHECKED int cipc_condition_step(cipc_condition_t *condition, uint32_t slots,
                                              cipc_mutex_t *mutex,
                                              const cipc_condition_wait_t *entered, int look,
                                              cipc_wait_t *wait);

/// Takes the mutex and frees the slot: to be called once, also when the wait was given up. Blocks
/// until the mutex is free. As `cipc_condition_wait`: 0, CIPC_ETIMEDOUT (not notified),
/// CIPC_OWNER_DIED, or why the mutex could not be taken.
///
/// Commit point: the store that frees the slot. Killed before it, the notification passes on; after
/// it, it was taken.
CIPC_API CIPC_CHECKED int cipc_condition_leave(cipc_condition_t *condition, uint32_t slots,
                                               cipc_mutex_t *mutex,
                                               const cipc_condition_wait_t *entered);

// MARK: By name

/// The type of a segment whose payload is a condition of so many slots, or with
/// CIPC_SEGMENT_ANY_COUNT of any number: Swift's `Condition`.
CIPC_API cipc_segment_type_t cipc_condition_type(uint64_t slots);

/// Opens the condition of that name, which is at `cipc_segment_address(*segment)`; the caller
/// closes the segment. It has `slots` slots; with CIPC_SEGMENT_ANY_COUNT, `cipc_segment_count`
/// tells how many, and the caller keeps that number in private memory.
///
/// As `cipc_segment_open_named`: CIPC_ENOENT: there is none. CIPC_ESEGMENT*: something else has the
/// name; see `cipc_segment_refusal`. Does not block. Any thread; safe after fork.
CIPC_API CIPC_CHECKED int cipc_condition_open_named(cipc_segment_t **segment, const char *name,
                                                    uint64_t slots);

/// Opens the condition of that name and number of slots, or makes it: CIPC_SEGMENT_CREATED or 0. As
/// `cipc_condition_open_named`, `cipc_segment_open_or_create` and `cipc_condition_init`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_condition_open_or_create(cipc_segment_t **segment, const char *name,
                                                        uint32_t slots);

CIPC_END_DECLS

#endif
