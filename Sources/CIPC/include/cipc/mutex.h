/* SPDX-License-Identifier: Apache-2.0 */
/// Mutexes in shared memory that survive the death of their owner.
///
/// A robust, error-checking, process-shared pthread mutex and a *dirty* word.
/// When an owner dies holding it, every later acquisition returns
/// CIPC_OWNER_DIED, lock held, until an owner says with `cipc_mutex_recover` that what
/// the mutex guards is in order again. The mutex itself stays usable whatever
/// happens, also when the second owner dies in its turn.
///
/// Death is the thread's: a thread that ends while holding a mutex is a dead
/// owner like a killed process.
///
/// Caveats:
/// - For processes that trust each other. The C library links the mutexes that a
///   thread holds through the shared page; a participant that scribbles over
///   one crashes the next that unlocks it.
/// - Never unmap, reuse or free the memory of a mutex that somebody holds or may
///   be unlocking.
/// - glibc and musl do not agree on the contents: typed segments refuse the mix.
#ifndef CIPC_MUTEX_H
#define CIPC_MUTEX_H

#include <pthread.h>
#include <stdint.h>

#include "clock.h"
#include "participant.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// A mutex, to be placed in shared memory. The members are private.
typedef struct cipc_mutex {
  pthread_mutex_t native;
  /// 0, or from the death of an owner until `recover` the pid of the dead (UINT32_MAX when it had
  /// not signed yet). Written by the owner.
  uint32_t dirty;
  /// How often the owner holds it. Written by the owner.
  uint32_t depth;
  /// The process that holds it; nobody when free or just taken. Written by the owner; read by
  /// anyone as a hint.
  cipc_participant_t holder;
  /// The thread that holds it: an address in the holder's memory that no other thread of it has.
  uint64_t thread;
} cipc_mutex_t;

typedef struct cipc_mutex_options {
  /// Nonzero: the owner may lock again and unlocks as often.
  int recursive;
} cipc_mutex_options_t;

/// Makes a mutex in memory that no one uses yet. `options` may be NULL: a plain one.
/// There is nothing to destroy: free the memory when all are done with it.
///
/// CIPC_ENOMEM. Does not block.
CIPC_API CIPC_CHECKED int cipc_mutex_init(cipc_mutex_t *mutex,
                                          const cipc_mutex_options_t *options);

/// Takes the mutex, waiting until the deadline.
///
/// 0: the caller is the owner. CIPC_OWNER_DIED: the caller is the owner, and an
/// earlier owner died; see `cipc_mutex_recover`. CIPC_ETIMEDOUT: not taken.
/// CIPC_EDEADLK: plain, and this thread holds it already. CIPC_EAGAIN: recursive,
/// and held too often. CIPC_ENOTRECOVERABLE, CIPC_EINVAL: not a usable mutex.
///
/// Any thread. A forked child is not the owner of what its parent holds.
CIPC_API CIPC_CHECKED int cipc_mutex_lock(cipc_mutex_t *mutex, cipc_deadline_t deadline);

/// Takes the mutex if it is free: as `cipc_mutex_lock`, but CIPC_EBUSY when another holds it.
CIPC_API CIPC_CHECKED int cipc_mutex_trylock(cipc_mutex_t *mutex);

/// Says that what the mutex guards is in order again: the next owner gets 0.
/// Does nothing when no owner died.
///
/// CIPC_EPERM: the caller is not the owner.
CIPC_API CIPC_CHECKED int cipc_mutex_recover(cipc_mutex_t *mutex);

/// Releases the mutex. CIPC_EPERM: the caller is not the owner; nothing changed.
CIPC_API CIPC_CHECKED int cipc_mutex_unlock(cipc_mutex_t *mutex);

/// Who holds the mutex: a hint that may be out of date when it is read, nobody (0) while it is
/// free or being taken.
CIPC_API cipc_participant_t cipc_mutex_holder(const cipc_mutex_t *mutex);

/// The pid of the owner whose death has not been repaired yet; 0 when there is none, or when it
/// died before it had signed. For error messages; call it as the owner.
CIPC_API pid_t cipc_mutex_casualty(const cipc_mutex_t *mutex);

CIPC_END_DECLS

#endif
