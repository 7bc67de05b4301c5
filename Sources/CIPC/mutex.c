/* SPDX-License-Identifier: Apache-2.0 */
#include "mutex.h"

#include <stddef.h>
#include <string.h>

#include "clock.h"
#include "participant.h"

// The dead owner had not signed yet.
#define CASUALTY_UNKNOWN UINT32_MAX

// Each thread has one, at an address of its own. Initial-exec: a lock costs no call into the
// dynamic linker, also in the shared library.
static _Thread_local char thread_token __attribute__((tls_model("initial-exec")));

static uint64_t this_thread(void) { return (uint64_t)(uintptr_t)&thread_token; }

int cipc_mutex_init(cipc_mutex_t *mutex, const cipc_mutex_options_t *options) {
  memset(mutex, 0, sizeof *mutex);
  pthread_mutexattr_t attributes;
  int error = pthread_mutexattr_init(&attributes);
  if (error != 0) return -error;
  int type = options != NULL && options->recursive ? PTHREAD_MUTEX_RECURSIVE
                                                   : PTHREAD_MUTEX_ERRORCHECK;
  error = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  if (error == 0) error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  if (error == 0) error = pthread_mutexattr_settype(&attributes, type);
  if (error == 0) error = pthread_mutex_init(&mutex->native, &attributes);
  (void)pthread_mutexattr_destroy(&attributes);
  return -error;
}

// Waits until the next slice or the deadline, whichever is first.
static int lock_for_a_slice(pthread_mutex_t *native, cipc_deadline_t slice) {
#if defined(__GLIBC__)
  struct timespec until = cipc_clock_timespec(slice);
  return pthread_mutex_clocklock(native, CLOCK_MONOTONIC, &until);
#else
  // musl waits on the wall clock only; a slice bounds what a step of that clock can do.
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  int64_t left = slice - cipc_clock_now();
  struct timespec until = cipc_clock_timespec((int64_t)now.tv_sec * INT64_C(1000000000) +
                                              now.tv_nsec + (left > 0 ? left : 0));
  return pthread_mutex_timedlock(native, &until);
#endif
}

// EBUSY: somebody holds it; with musl also when that is the caller.
static int lock_if_free(pthread_mutex_t *native) {
#if defined(__GLIBC__)
  // pthread_mutex_trylock of glibc leaves a mutex that is not recoverable locked for good when it
  // says so (2.36, tried): the next caller would wait for ever instead of being told.
  static const struct timespec over = {0, 0};
  int error = pthread_mutex_clocklock(native, CLOCK_MONOTONIC, &over);
  return error == ETIMEDOUT ? EBUSY : error;
#else
  return pthread_mutex_trylock(native);
#endif
}

static int lock_slowly(pthread_mutex_t *native, cipc_deadline_t deadline) {
  for (;;) {
    cipc_deadline_t slice = cipc_clock_slice(deadline);
    int error = lock_for_a_slice(native, slice);
    if (error != ETIMEDOUT || slice >= deadline) return error;
  }
}

// Takes what the death of an owner left behind, as the next owner.
static int inherit(cipc_mutex_t *mutex) {
  // Commit point of telling that an owner died. Before pthread_mutex_consistent, so that whoever
  // is killed between the two leaves the kernel's mark, and after it ours: it is never lost.
  pid_t casualty = cipc_participant_pid(mutex->holder);
  __atomic_store_n(&mutex->dirty, casualty != 0 ? (uint32_t)casualty : CASUALTY_UNKNOWN,
                   __ATOMIC_RELEASE);
  mutex->depth = 0;
  return pthread_mutex_consistent(&mutex->native);
}

int cipc_mutex_lock(cipc_mutex_t *mutex, cipc_deadline_t deadline) {
  int error = lock_if_free(&mutex->native);
  if (__builtin_expect(error != 0, 0)) {
    if (error == EBUSY) error = lock_slowly(&mutex->native, deadline);
    if (error == EOWNERDEAD) error = inherit(mutex);
    if (error != 0) return -error;
  }
  if (mutex->depth++ == 0) {
    __atomic_store_n(&mutex->thread, this_thread(), __ATOMIC_RELAXED);
    __atomic_store_n(&mutex->holder, cipc_participant_current(), __ATOMIC_RELAXED);
  }
  return mutex->dirty != 0 ? CIPC_OWNER_DIED : 0;
}

int cipc_mutex_trylock(cipc_mutex_t *mutex) {
  int status = cipc_mutex_lock(mutex, CIPC_IMMEDIATELY);
  return status == CIPC_ETIMEDOUT ? CIPC_EBUSY : status;
}

bool cipc_mutex_is_owned(const cipc_mutex_t *mutex) {
  return __atomic_load_n(&mutex->thread, __ATOMIC_RELAXED) == this_thread() &&
         __atomic_load_n(&mutex->holder, __ATOMIC_RELAXED) == cipc_participant_current();
}

int cipc_mutex_recover(cipc_mutex_t *mutex) {
  if (!cipc_mutex_is_owned(mutex)) return CIPC_EPERM;
  // Commit point: from here on the next owner gets 0.
  __atomic_store_n(&mutex->dirty, 0, __ATOMIC_RELEASE);
  return 0;
}

int cipc_mutex_unlock(cipc_mutex_t *mutex) {
  if (!cipc_mutex_is_owned(mutex)) return CIPC_EPERM;
  if (--mutex->depth == 0) {
    // Before the release: a later owner that dies before it has signed is then unknown, instead
    // of being taken for this one.
    __atomic_store_n(&mutex->holder, CIPC_PARTICIPANT_NOBODY, __ATOMIC_RELAXED);
    __atomic_store_n(&mutex->thread, 0, __ATOMIC_RELAXED);
  }
  return -pthread_mutex_unlock(&mutex->native);
}

cipc_participant_t cipc_mutex_holder(const cipc_mutex_t *mutex) {
  return __atomic_load_n(&mutex->holder, __ATOMIC_RELAXED);
}

pid_t cipc_mutex_casualty(const cipc_mutex_t *mutex) {
  uint32_t dirty = __atomic_load_n(&mutex->dirty, __ATOMIC_RELAXED);
  return dirty == CASUALTY_UNKNOWN ? 0 : (pid_t)dirty;
}
