/* SPDX-License-Identifier: Apache-2.0 */
/// Barriers in shared memory: a number of parties that go on together once all have arrived. A
/// barrier breaks when a party dies, so that no party waits for the dead.
///
/// A party is enrolled from its first arrival, or from `cipc_barrier_enrol`, until it leaves; a
/// party that ends while it is enrolled breaks the barrier, at the latest when any party waits
/// next. For the functions that block, the party is the calling thread, and a thread that has ended
/// is as dead as a killed process: it has to leave first if the others are to go on. There are as
/// many slots as parties; a party that arrives when all are taken takes the place of an enrolled
/// party that is alive and has not arrived. So any members of a larger group can make up the
/// number.
///
/// Each round ends with one store into the word that all parties wait for. A woken party reads that
/// word and takes no lock. A broken barrier stays broken until it is reset. No mutex is held while
/// the action runs.
///
///     struct start {                       // in shared memory
///       cipc_barrier_t barrier;
///       cipc_barrier_slot_t slots[4];
///     };
///     int index = cipc_barrier_wait(&start->barrier, 4, NULL, NULL, CIPC_NO_DEADLINE);
///
/// Every caller passes the number of parties that the barrier was made with. For processes that
/// trust each other, as mutexes are. Every function may be called from any thread; a forked child
/// is another party.
#ifndef CIPC_BARRIER_H
#define CIPC_BARRIER_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "mutex.h"
#include "participant.h"
#include "segment.h"
#include "status.h"
#include "wait.h"

CIPC_BEGIN_DECLS

/// A barrier, to be placed in shared memory; its slots, one for each party, follow it. The members
/// are private.
typedef struct cipc_barrier {
  /// Held for some instructions at a time. The next owner repairs the death of an owner, since all
  /// that the mutex guards is in order between any two stores.
  cipc_mutex_t mutex;
  /// The futex: bit 0 is set when the barrier is broken, bit 1 while the action runs; the number of
  /// the round above. Written under the mutex, with release. The commit point of a round, and of
  /// breaking.
  uint32_t state;
  uint32_t reserved;
  /// A bit for each of the last 64 rounds: whether a reset gave it up. For parties that look late.
  /// Written under the mutex, before `state`.
  uint64_t given_up;
} cipc_barrier_t;

/// The place of a party. The members are private; written under the mutex.
typedef struct cipc_barrier_slot {
  /// The party that is enrolled; 0: none.
  cipc_participant_t party;
  /// The last round that it arrived in; 0: none. The commit point of an arrival.
  uint32_t arrived;
  uint32_t reserved;
} cipc_barrier_slot_t;

/// Bytes of a barrier for `parties` parties.
CIPC_INLINE size_t cipc_barrier_footprint(uint32_t parties) {
  return sizeof(cipc_barrier_t) + (size_t)parties * sizeof(cipc_barrier_slot_t);
}

/// Makes a barrier in memory that no one uses yet, with a slot for each party behind it. There is
/// nothing to destroy. CIPC_EINVAL: no parties, or more than 2^31 - 1. CIPC_ENOMEM. Does not block.
CIPC_API CIPC_CHECKED int cipc_barrier_init(cipc_barrier_t *barrier, uint32_t parties);

/// What the last party to arrive does before all go on. A negative result breaks the barrier.
typedef int (*cipc_barrier_action_t)(void *context);

/// Arrives, and waits until all parties have. The last to arrive runs `action`, unless it is NULL,
/// before all go on. Blocks.
///
/// Returns the order of arrival: 0 for the first, parties - 1 for the last. CIPC_EBROKEN: the
/// barrier was broken or reset, a party died, timed out or was cancelled, or the action failed.
/// CIPC_ETIMEDOUT: the deadline passed first, and this wait has broken the barrier, unless there
/// was no place for the caller yet. The status of the action, if that is negative.
/// CIPC_ENOTRECOVERABLE, CIPC_EINVAL: not a usable barrier.
CIPC_API CIPC_CHECKED int cipc_barrier_wait(cipc_barrier_t *barrier, uint32_t parties,
                                            cipc_barrier_action_t action, void *context,
                                            cipc_deadline_t deadline);

/// Breaks the barrier: all waiting parties, and all later ones, get CIPC_EBROKEN. 0 or a negative
/// status of the mutex. Does not wait for others.
CIPC_API CIPC_CHECKED int cipc_barrier_abort(cipc_barrier_t *barrier);

/// Makes the barrier whole again, and empty: all waiting parties get CIPC_EBROKEN. Dead parties are
/// no longer enrolled. 0 or a negative status of the mutex. Does not wait for others.
CIPC_API CIPC_CHECKED int cipc_barrier_reset(cipc_barrier_t *barrier, uint32_t parties);

/// Enrols a party before it arrives, if there is a free slot. 0 or a negative status of the mutex.
CIPC_API CIPC_CHECKED int cipc_barrier_enrol(cipc_barrier_t *barrier, uint32_t parties,
                                             cipc_participant_t party);

/// Takes a party off that is not waiting: its end no longer breaks the barrier. The number of
/// parties stays. The party of `cipc_barrier_wait` is `cipc_participant_this_thread()`. 0 also when
/// it was not enrolled; CIPC_ETIMEDOUT; a negative status of the mutex.
CIPC_API CIPC_CHECKED int cipc_barrier_leave(cipc_barrier_t *barrier, uint32_t parties,
                                             cipc_participant_t party, cipc_deadline_t deadline);

/// Whether the barrier is broken. A hint unless the caller knows better. Does not block.
CIPC_API int cipc_barrier_is_broken(const cipc_barrier_t *barrier);

/// How many parties have arrived and wait for others; 0 while the barrier is broken. A hint. Does
/// not block.
CIPC_API uint32_t cipc_barrier_waiting(const cipc_barrier_t *barrier, uint32_t parties);

// The parts of cipc_barrier_wait, for waits that block no thread.

/// One wait, in the memory of the waiter; all zero at its beginning.
typedef struct cipc_barrier_arrival {
  /// The round arrived in; 0 before that.
  uint32_t round;
  /// The order of arrival.
  uint32_t index;
} cipc_barrier_arrival_t;

/// As `cipc_barrier_wait`, for a thread whose waits end when a signal arrives (interrupt.h).
/// `arrival` is all zero at first. CIPC_EINTR: the other parties count on this arrival, so the same
/// thread calls again with it to go on, or calls `cipc_barrier_give_up`. After any other status it
/// is all zero again. A signal does not interrupt the action.
CIPC_API CIPC_CHECKED int cipc_barrier_wait_on(cipc_barrier_t *barrier, uint32_t parties,
                                               cipc_barrier_action_t action, void *context,
                                               cipc_barrier_arrival_t *arrival,
                                               cipc_deadline_t deadline);

/// Arrives, unless the party has arrived already, and looks whether all have. `acts`: the caller
/// has an action. With `look` it looks for dead parties, and breaks the barrier if there are any.
/// Takes the mutex for some instructions, and waits for it at most 100 ms.
///
/// 0: all go on. CIPC_BARRIER_ACT. CIPC_EAGAIN: sleep on `wait` and call again. CIPC_EBROKEN and
/// negative statuses of the mutex end the wait.
CIPC_API CIPC_CHECKED int cipc_barrier_step(cipc_barrier_t *barrier, uint32_t parties,
                                            cipc_participant_t party,
                                            cipc_barrier_arrival_t *arrival, int acts, int look,
                                            cipc_wait_t *wait);

/// Ends the round after the action: all go on, or, when `failed`, the barrier is broken.
/// 0; CIPC_EBROKEN: broken, or reset meanwhile; a negative status of the mutex.
CIPC_API CIPC_CHECKED int cipc_barrier_finish(cipc_barrier_t *barrier,
                                              const cipc_barrier_arrival_t *arrival, int failed);

/// Ends a wait early and breaks the barrier, since its round can no longer be completed. 0: all
/// went on before that. CIPC_EBROKEN: it was broken before. CIPC_ETIMEDOUT: this has broken it, or
/// the wait had not arrived yet. A negative status of the mutex.
CIPC_API CIPC_CHECKED int cipc_barrier_give_up(cipc_barrier_t *barrier,
                                               const cipc_barrier_arrival_t *arrival);

// MARK: By name

/// The type of a segment whose payload is a barrier of so many parties, or with
/// CIPC_SEGMENT_ANY_COUNT of any number: Swift's `Barrier`.
CIPC_API cipc_segment_type_t cipc_barrier_type(uint64_t parties);

/// Opens the barrier of that name, which is at `cipc_segment_address(*segment)`; the caller closes
/// the segment. It has `parties` parties; with CIPC_SEGMENT_ANY_COUNT, `cipc_segment_count` tells
/// how many, and the caller keeps that number in private memory.
///
/// As `cipc_segment_open_named`: CIPC_ENOENT: there is none. CIPC_ESEGMENT*: something else has the
/// name; see `cipc_segment_refusal`. Does not block. Any thread; safe after fork.
CIPC_API CIPC_CHECKED int cipc_barrier_open_named(cipc_segment_t **segment, const char *name,
                                                  uint64_t parties);

/// Opens the barrier of that name and number of parties, or makes it: CIPC_SEGMENT_CREATED or 0. As
/// `cipc_barrier_open_named`, `cipc_segment_open_or_create` and `cipc_barrier_init`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_barrier_open_or_create(cipc_segment_t **segment, const char *name,
                                                      uint32_t parties);

CIPC_END_DECLS

#endif
