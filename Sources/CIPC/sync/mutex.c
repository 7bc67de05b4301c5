/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/mutex.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "segment/layout.h"
#include "segment/object.h"

_Static_assert(offsetof(cipc_mutex_t, dirty) == sizeof(pthread_mutex_t), "mutex layout");
_Static_assert(sizeof(cipc_mutex_t) == CIPC_LAYOUT_MUTEX_SIZE, "mutex layout");
_Static_assert(_Alignof(cipc_mutex_t) == CIPC_LAYOUT_MUTEX_ALIGNMENT, "mutex layout");

// The dead owner had not signed yet.
#define CASUALTY_UNKNOWN UINT32_MAX
// In `dirty`: a program that goes around this library has made the mutex useless for good.
#define NOT_RECOVERABLE (UINT32_MAX - 1)

int cipc_mutex_init(cipc_mutex_t *mutex, const cipc_mutex_options_t *options) {
  memset(mutex, 0, sizeof *mutex);
  pthread_mutexattr_t attributes;
  int error = pthread_mutexattr_init(&attributes);
  if (error != 0) return -error;
  int type =
      options != NULL && options->recursive ? PTHREAD_MUTEX_RECURSIVE : PTHREAD_MUTEX_ERRORCHECK;
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

// glibc's pthread_mutex_trylock leaves the lock word taken when it says ENOTRECOVERABLE (2.36,
// tried): the next caller would wait for ever, so it is told by a mark of ours.
static bool is_lost(const cipc_mutex_t *mutex) {
  return __atomic_load_n(&mutex->dirty, __ATOMIC_ACQUIRE) == NOT_RECOVERABLE;
}

static int wait_for(cipc_mutex_t *mutex, cipc_deadline_t deadline) {
  cipc_interrupt_hold_t hold;
  // The C library goes on waiting behind a signal.
  cipc_interrupt_hold(&hold);
  int error;
  cipc_deadline_t slice;
  do {
    slice = cipc_interrupt_step(&hold, cipc_clock_slice(deadline), deadline);
    error = lock_for_a_slice(&mutex->native, slice);
    if (error == 0 || error == EOWNERDEAD) break;
    if (is_lost(mutex)) error = ENOTRECOVERABLE;
    if (error == ETIMEDOUT && slice < deadline) error = cipc_interrupt_held(&hold) < 0 ? EINTR : 0;
  } while (error == 0);
  cipc_interrupt_let_go(&hold);
  return error;
}

// Takes what the death of an owner left behind, as the next owner.
static int inherit(cipc_mutex_t *mutex) {
  // Commit point of telling that an owner died. Either order with pthread_mutex_consistent survives
  // a kill in between, since the kernel marks by the thread in the lock word; this one leaves no
  // moment in which the mutex looks healthy and nobody has been told.
  uint32_t casualty = (uint32_t)cipc_participant_pid(cipc_mutex_holder(mutex));
  // An owner that had not signed, or was killed on its way through here, keeps what stands there.
  if (casualty == 0) casualty = mutex->dirty != 0 ? mutex->dirty : CASUALTY_UNKNOWN;
  __atomic_store_n(&mutex->dirty, casualty, __ATOMIC_RELEASE);
  mutex->depth = 0;
  // It may be the number of a thread here, too: then we would take ourselves for the owner before.
  __atomic_store_n(&mutex->thread, 0, __ATOMIC_RELAXED);
  return pthread_mutex_consistent(&mutex->native);
}

int cipc_mutex_lock_slowly(cipc_mutex_t *mutex, int error, cipc_deadline_t deadline) {
  if (error != EOWNERDEAD && is_lost(mutex)) return CIPC_ENOTRECOVERABLE;
  if (error == EBUSY) {
    // Waiting would leave the mark of a sleeper, and cost the owner a system call.
    if (deadline <= CIPC_IMMEDIATELY && !cipc_mutex_is_owned(mutex)) return CIPC_ETIMEDOUT;
    error = wait_for(mutex, deadline);
  }
  if (error == EOWNERDEAD) error = inherit(mutex);
  if (error == ENOTRECOVERABLE) __atomic_store_n(&mutex->dirty, NOT_RECOVERABLE, __ATOMIC_RELEASE);
  return -error;
}

int cipc_mutex_recover(cipc_mutex_t *mutex) {
  if (!cipc_mutex_is_owned(mutex)) return CIPC_EPERM;
  // Commit point: from here on the next owner gets 0.
  __atomic_store_n(&mutex->dirty, 0, __ATOMIC_RELEASE);
  return 0;
}

uint32_t cipc_mutex_depth(const cipc_mutex_t *mutex) {
  return cipc_mutex_is_owned(mutex) ? mutex->depth + 1 : 0;
}

cipc_participant_t cipc_mutex_holder(const cipc_mutex_t *mutex) {
  // Written before `thread`, and left standing when that is cleared.
  if (__atomic_load_n(&mutex->thread, __ATOMIC_ACQUIRE) == 0) return CIPC_PARTICIPANT_NOBODY;
  return __atomic_load_n(&mutex->holder, __ATOMIC_RELAXED);
}

pid_t cipc_mutex_casualty(const cipc_mutex_t *mutex) {
  uint32_t dirty = __atomic_load_n(&mutex->dirty, __ATOMIC_RELAXED);
  return dirty >= NOT_RECOVERABLE ? 0 : (pid_t)dirty;
}

// MARK: By name

cipc_segment_type_t cipc_mutex_type(int recursive) {
  const cipc_element_t element = {.size = sizeof(cipc_mutex_t),
                                  .stride = sizeof(cipc_mutex_t),
                                  .alignment = _Alignof(cipc_mutex_t),
                                  .fingerprint = recursive ? 2 : 1};
  return cipc_object_type(CIPC_KIND_MUTEX, 1, &element, 1);
}

static int prepare(void *payload, void *context) { return cipc_mutex_init(payload, context); }

static cipc_object_t describe(cipc_mutex_options_t *options) {
  return (cipc_object_t){.type = cipc_mutex_type(options->recursive),
                         .size = sizeof(cipc_mutex_t),
                         .prepare = prepare,
                         .context = options};
}

int cipc_mutex_open_named(cipc_segment_t **segment, const char *name,
                          const cipc_mutex_options_t *options) {
  cipc_mutex_options_t copy = {.recursive = options != NULL && options->recursive};
  const cipc_object_t object = describe(&copy);
  return cipc_object_open(segment, name, &object);
}

int cipc_mutex_open_or_create(cipc_segment_t **segment, const char *name,
                              const cipc_mutex_options_t *options) {
  cipc_mutex_options_t copy = {.recursive = options != NULL && options->recursive};
  const cipc_object_t object = describe(&copy);
  return cipc_object_make(segment, name, &object);
}
