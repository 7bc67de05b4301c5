/* SPDX-License-Identifier: Apache-2.0 */
/// Barriers in shared memory: a number of parties that go on together once all have arrived. They
/// break when a party dies, so that nobody waits for the dead.
///
/// A party is enrolled from its first arrival, or from `cipc_barrier_enrol`, until it leaves; one
/// that ends while enrolled breaks the barrier, at the next wait of anybody at the latest. For the
/// functions that block, the party is the calling thread, and a thread that ends is dead like a
/// killed process: leave before that, when the others go on. There are as many slots as parties;
/// who arrives when all are taken takes the place of an enrolled party that is alive and has not
/// arrived. So any of many may make up the number.
///
/// Each round ends with one store into one word, which all wait for; who is woken reads that word
/// and takes no lock. A barrier that is broken stays so until it is reset. There is no mutex held
/// while the action runs.
///
///     struct start {                       // in shared memory
///       cipc_barrier_t barrier;
///       cipc_barrier_slot_t slots[4];
///     };
///     int index = cipc_barrier_wait(&start->barrier, 4, NULL, NULL, CIPC_NO_DEADLINE);
///
/// All who use a barrier name the number of parties that it was made with. For processes that trust
/// each other, as mutexes are. Every function may be called from any thread; a forked child is
/// another party.
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
  /// Held for some instructions at a time. Its owners' deaths are repaired by whoever comes next,
  /// since all that it guards is in order between any two stores.
  cipc_mutex_t mutex;
  /// The futex: bit 0 is set when the barrier is broken, bit 1 while the action runs; the number of
  /// the round above. Written under the mutex, with release. The commit point of a round, and of
  /// breaking.
  uint32_t state;
  uint32_t reserved;
  /// A bit for each of the last 64 rounds: whether it was given up by a reset. For who looks late.
  /// Written under the mutex, before `state`.
  uint64_t given_up;
} cipc_barrier_t;

/// The place of a party. The members are private; written under the mutex.
typedef struct cipc_barrier_slot {
  /// Who is enrolled; 0: nobody.
  cipc_participant_t party;
  /// The round that it has arrived in last; 0: none. The commit point of an arrival.
  uint32_t arrived;
  uint32_t reserved;
} cipc_barrier_slot_t;

/// Bytes of a barrier for so many parties.
CIPC_INLINE size_t cipc_barrier_footprint(uint32_t parties) {
  return sizeof(cipc_barrier_t) + (size_t)parties * sizeof(cipc_barrier_slot_t);
}

/// Makes a barrier in memory that no one uses yet, with a slot for each party behind it. There is
/// nothing to destroy. CIPC_EINVAL: no parties, or more than 2^31 - 1. CIPC_ENOMEM. Does not block.
CIPC_API CIPC_CHECKED int cipc_barrier_init(cipc_barrier_t *barrier, uint32_t parties);

/// What the party that arrives last does before all go on. A negative result breaks the barrier.
typedef int (*cipc_barrier_action_t)(void *context);

/// Arrives, and waits until all parties have. The last to arrive runs `action`, unless it is NULL,
/// before all go on. Blocks.
///
/// Returns the order of arrival: 0 for the first, parties - 1 for the last.
/// CIPC_EBROKEN: the barrier was broken or reset, a party died, timed out or was cancelled, or the
/// action failed. CIPC_ETIMEDOUT: the deadline passed first, and this wait has broken the barrier;
/// not that of a caller for whom there was no place yet. The status of the action where that is
/// negative. CIPC_ENOTRECOVERABLE, CIPC_EINVAL: not a usable barrier.
CIPC_API CIPC_CHECKED int cipc_barrier_wait(cipc_barrier_t *barrier, uint32_t parties,
                                            cipc_barrier_action_t action, void *context,
                                            cipc_deadline_t deadline);

/// Breaks the barrier: all that wait, and all that come later, get CIPC_EBROKEN. 0 or a negative
/// status of the mutex. Does not wait for others.
CIPC_API CIPC_CHECKED int cipc_barrier_abort(cipc_barrier_t *barrier);

/// Makes the barrier whole again, and empty: all that wait get CIPC_EBROKEN. The dead are no longer
/// enrolled. 0 or a negative status of the mutex. Does not wait for others.
CIPC_API CIPC_CHECKED int cipc_barrier_reset(cipc_barrier_t *barrier, uint32_t parties);

/// Enrols a party before it arrives, if there is a free slot. 0 or a negative status of the mutex.
CIPC_API CIPC_CHECKED int cipc_barrier_enrol(cipc_barrier_t *barrier, uint32_t parties,
                                             cipc_participant_t party);

/// Takes a party off, wherever it is not waiting: its end no longer breaks the barrier. The number
/// of parties stays. `cipc_participant_this_thread()` is who called `cipc_barrier_wait`.
/// 0 also when it was not enrolled; CIPC_ETIMEDOUT; a negative status of the mutex.
CIPC_API CIPC_CHECKED int cipc_barrier_leave(cipc_barrier_t *barrier, uint32_t parties,
                                             cipc_participant_t party, cipc_deadline_t deadline);

/// Whether the barrier is broken. A hint unless the caller knows better. Does not block.
CIPC_API int cipc_barrier_is_broken(const cipc_barrier_t *barrier);

/// How many have arrived and wait for others; 0 while the barrier is broken. A hint. Does not
/// block.
CIPC_API uint32_t cipc_barrier_waiting(const cipc_barrier_t *barrier, uint32_t parties);

// The parts of cipc_barrier_wait, for waits that block no thread.

/// One wait, in the memory of who waits; all zero at its beginning.
typedef struct cipc_barrier_arrival {
  /// The round arrived in; 0 before that.
  uint32_t round;
  /// The order of arrival.
  uint32_t index;
} cipc_barrier_arrival_t;

/// A result of `cipc_barrier_step`: all have arrived. Run the action, then `cipc_barrier_finish`.
#define CIPC_BARRIER_ACT 1

/// As `cipc_barrier_wait`, for a thread whose waits signals end (interrupt.h): `arrival` is all
/// zero at first. CIPC_EINTR: keep it and call again with it, by the same thread, to go on with the
/// same arrival, on which the others count; or `cipc_barrier_give_up`. It is all zero again when
/// anything else is returned. The action is not interrupted by this.
CIPC_API CIPC_CHECKED int cipc_barrier_wait_on(cipc_barrier_t *barrier, uint32_t parties,
                                               cipc_barrier_action_t action, void *context,
                                               cipc_barrier_arrival_t *arrival,
                                               cipc_deadline_t deadline);

/// Arrives, if that has not happened, and looks whether all have. `acts`: the caller has an action.
/// With `look` it looks for dead parties, and breaks the barrier if there are any. Takes the mutex
/// for some instructions, and waits for that no longer than 100 ms.
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

/// Ends a wait early and breaks the barrier, whose round cannot end well any more.
/// 0: all went on before that. CIPC_EBROKEN: it was broken before. CIPC_ETIMEDOUT: this has broken
/// it, or the wait had not arrived yet. A negative status of the mutex.
CIPC_API CIPC_CHECKED int cipc_barrier_give_up(cipc_barrier_t *barrier,
                                               const cipc_barrier_arrival_t *arrival);

// MARK: By name

/// The type of a segment whose payload is a barrier of so many parties, or of
/// CIPC_SEGMENT_ANY_COUNT when any number will do: what Swift's `Barrier` is.
CIPC_API cipc_segment_type_t cipc_barrier_type(uint64_t parties);

/// Opens the barrier of that name, which is at `cipc_segment_address(*segment)`; the caller closes
/// the segment. It has `parties` parties, or with CIPC_SEGMENT_ANY_COUNT the number that
/// `cipc_segment_count` tells, to be kept in private memory.
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
