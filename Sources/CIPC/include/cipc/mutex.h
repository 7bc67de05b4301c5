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
/// - For processes that trust each other. The C library links the mutexes that a thread holds
///   through the shared page, by pointers; a participant that writes other pointers there makes the
///   next process that locks or unlocks the mutex write where they lead, in memory of its own.
/// - Never unmap, reuse or free the memory of a mutex that a thread holds or may be unlocking.
/// - glibc and musl do not agree on the contents: typed segments refuse the mix.
#ifndef CIPC_MUTEX_H
#define CIPC_MUTEX_H

#include <pthread.h>
#include <stdint.h>

#include "clock.h"
#include "participant.h"
#include "segment.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// A mutex, to be placed in shared memory. The members are private.
typedef struct cipc_mutex {
  pthread_mutex_t native;
  /// 0, or from the death of an owner until `recover` the pid of the dead owner (UINT32_MAX if it
  /// had not signed yet). Written by the owner; UINT32_MAX - 1 by any caller that learns that the
  /// native mutex is not recoverable.
  uint32_t dirty;
  /// How often the owner holds it beyond the first time. Written by the owner.
  uint32_t depth;
  /// The process that holds it, or held it last: `thread` tells. Written by the owner.
  cipc_participant_t holder;
  /// The thread that holds it, as a number that no other thread of the holder has; 0 when free or
  /// just taken. Written by the owner, after `holder`.
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
CIPC_API CIPC_CHECKED int cipc_mutex_init(cipc_mutex_t *mutex, const cipc_mutex_options_t *options);

/// Private: a number that no other thread of this process has.
CIPC_INLINE uint64_t cipc_mutex_this_thread(void) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
#define CIPC_HAS_THREAD_POINTER 1
#endif
#endif
#if defined(CIPC_HAS_THREAD_POINTER)
  return (uint64_t)(uintptr_t)__builtin_thread_pointer();
#else
  // Compilers that do not have it are those before gcc 11 for x86, where it is the same address.
  return (uint64_t)(uintptr_t)pthread_self();
#endif
}

/// Private: what to do when pthread_mutex_trylock gave `error`: wait, or inherit from a dead owner.
/// 0, or a negative status.
CIPC_API CIPC_CHECKED int cipc_mutex_lock_slowly(cipc_mutex_t *mutex, int error,
                                                 cipc_deadline_t deadline);

/// Takes the mutex, waiting until the deadline.
///
/// 0: the caller is the owner. CIPC_OWNER_DIED: the caller is the owner, and an
/// earlier owner died; see `cipc_mutex_recover`. CIPC_ETIMEDOUT: not taken.
/// CIPC_EDEADLK: plain, and this thread holds it already. CIPC_EAGAIN: recursive,
/// and held too often. CIPC_ENOTRECOVERABLE, CIPC_EINVAL: not a usable mutex. CIPC_EINTR:
/// interrupt.h.
///
/// Any thread. A forked child is not the owner of what its parent holds.
///
/// Inline, as is `cipc_mutex_unlock`: a call and a return around each of the two locked
/// instructions cost 2 ns, a quarter of the whole pair.
CIPC_CHECKED CIPC_INLINE int cipc_mutex_lock(cipc_mutex_t *mutex, cipc_deadline_t deadline) {
  int error = pthread_mutex_trylock(&mutex->native);
  if (__builtin_expect(error != 0, 0)) {
    int status = cipc_mutex_lock_slowly(mutex, error, deadline);
    if (status < 0) return status;
  }
  uint64_t thread = cipc_mutex_this_thread();
  // Releasing the mutex clears `thread` first, so it is ours only if we hold the mutex already.
  if (__builtin_expect(mutex->thread == thread, 0)) {
    mutex->depth++;
  } else {
    __atomic_store_n(&mutex->holder, cipc_participant_current(), __ATOMIC_RELAXED);
    // After the holder: a reader that finds `thread` set finds the holder that belongs to it.
    __atomic_store_n(&mutex->thread, thread, __ATOMIC_RELEASE);
  }
  return __builtin_expect(mutex->dirty != 0, 0) ? CIPC_OWNER_DIED : 0;
}

/// Takes the mutex if it is free: as `cipc_mutex_lock`, but CIPC_EBUSY when another holds it.
CIPC_CHECKED CIPC_INLINE int cipc_mutex_trylock(cipc_mutex_t *mutex) {
  int status = cipc_mutex_lock(mutex, CIPC_IMMEDIATELY);
  return status == CIPC_ETIMEDOUT ? CIPC_EBUSY : status;
}

/// Says that what the mutex guards is in order again: the next owner gets 0.
/// Does nothing when no owner died.
///
/// CIPC_EPERM: the caller is not the owner.
CIPC_API CIPC_CHECKED int cipc_mutex_recover(cipc_mutex_t *mutex);

/// Whether the calling thread holds the mutex. Exact for the caller; no system call.
CIPC_INLINE int cipc_mutex_is_owned(const cipc_mutex_t *mutex) {
  // A forked child has its parent's thread numbers, and another identity.
  return __atomic_load_n(&mutex->thread, __ATOMIC_RELAXED) == cipc_mutex_this_thread() &&
         __atomic_load_n(&mutex->holder, __ATOMIC_RELAXED) == cipc_participant_current();
}

/// Private: `cipc_mutex_unlock` by a caller that has asked `cipc_mutex_is_owned`.
CIPC_CHECKED CIPC_INLINE int cipc_mutex_release(cipc_mutex_t *mutex) {
  if (__builtin_expect(mutex->depth != 0, 0)) {
    mutex->depth--;
  } else {
    // Before the release: a later owner that dies before it has signed is then unknown, instead
    // of being taken for this one.
    __atomic_store_n(&mutex->thread, (uint64_t)0, __ATOMIC_RELAXED);
  }
  return -pthread_mutex_unlock(&mutex->native);
}

/// Releases the mutex. CIPC_EPERM: the caller is not the owner; nothing changed.
CIPC_CHECKED CIPC_INLINE int cipc_mutex_unlock(cipc_mutex_t *mutex) {
  return __builtin_expect(cipc_mutex_is_owned(mutex), 1) ? cipc_mutex_release(mutex) : CIPC_EPERM;
}

/// How often the calling thread holds the mutex: 0 when it does not, and more than once where it is
/// recursive. Exact for the caller; no system call.
CIPC_API uint32_t cipc_mutex_depth(const cipc_mutex_t *mutex);

/// The holder of the mutex: a hint that may be out of date when it is read; nobody (0) while the
/// mutex is free or being taken.
CIPC_API cipc_participant_t cipc_mutex_holder(const cipc_mutex_t *mutex);

/// The pid of the owner whose death has not been repaired yet; 0 when there is none, or when it
/// died before it had signed. For error messages; call it as the owner.
CIPC_API pid_t cipc_mutex_casualty(const cipc_mutex_t *mutex);

// MARK: By name

/// The type of a segment whose payload is a mutex: Swift's `Lock`, or its `RecursiveLock`.
CIPC_API cipc_segment_type_t cipc_mutex_type(int recursive);

/// Opens the mutex of that name, which is at `cipc_segment_address(*segment)`. The caller closes
/// the segment once no thread of its own holds the mutex. `options` are those that it was made
/// with; NULL for a plain one.
///
/// As `cipc_segment_open_named`: CIPC_ENOENT: there is none. CIPC_ESEGMENT*: something else has the
/// name; see `cipc_segment_refusal`. Does not block. Any thread; safe after fork.
CIPC_API CIPC_CHECKED int cipc_mutex_open_named(cipc_segment_t **segment, const char *name,
                                                const cipc_mutex_options_t *options);

/// Opens the mutex of that name, or makes it: CIPC_SEGMENT_CREATED or 0. Of any number of processes
/// that do so at the same time, one makes it and the others find it. As `cipc_mutex_open_named` and
/// `cipc_segment_open_or_create`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_mutex_open_or_create(cipc_segment_t **segment, const char *name,
                                                    const cipc_mutex_options_t *options);

CIPC_END_DECLS

#endif
