/* SPDX-License-Identifier: Apache-2.0 */
#include "wait/watch.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fork_hooks.h"
#include "base/guard.h"

// The owner and the wait under way, if there is one, have a reference each: the wait's callback
// may come after the owner has closed it.
struct cipc_watch {
  // In the list of all, with its guard.
  cipc_watch_t *next, *previous;

  cipc_guard_t guard;
  cipc_watch_subject_t subject;
  int descriptor;
  // Under the guard.
  unsigned references;
  bool is_waiting;
  cipc_waiter_ticket_t ticket;
};

/// For the list alone; taken before the guard of one in it.
static pthread_mutex_t list_guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_watch_t *all;

/// With the list's guard: closes one that nobody refers to, and frees it.
static void discard(cipc_watch_t *watch) {
  *(watch->previous != NULL ? &watch->previous->next : &all) = watch->next;
  if (watch->next != NULL) watch->next->previous = watch->previous;
  if (watch->descriptor >= 0) (void)close(watch->descriptor);
  free(watch);
}

int cipc_watch_open(cipc_watch_t **watch, const cipc_watch_subject_t *subject) {
  cipc_watch_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;
  made->subject = *subject;
  made->references = 1;
  int status = 0;
  // Under the list's guard, so that a fork finds it in the list or not there at all.
  (void)pthread_mutex_lock(&list_guard);
  made->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (made->descriptor < 0) status = -errno;
  made->next = all;
  if (all != NULL) all->previous = made;
  all = made;
  if (status < 0) discard(made);
  (void)pthread_mutex_unlock(&list_guard);
  if (status < 0) return status;
  *watch = made;
  return 0;
}

// Takes the guard held.
static void drop(cipc_watch_t *watch) {
  bool is_last = --watch->references == 0;
  cipc_guard_unlock(&watch->guard);
  if (!is_last) return;
  (void)pthread_mutex_lock(&list_guard);
  discard(watch);
  (void)pthread_mutex_unlock(&list_guard);
}

// Whatever the wait says, whoever is interested looks again.
static void wait_ended(void *context, int status) {
  (void)status;
  cipc_watch_t *watch = context;
  cipc_guard_lock(&watch->guard);
  watch->is_waiting = false;
  // Fails only if it says so already as often as it can be said.
  ssize_t written = write(watch->descriptor, &(uint64_t){1}, sizeof(uint64_t));
  (void)written;
  drop(watch);
}

int cipc_watch_look(cipc_watch_t *watch) {
  cipc_guard_lock(&watch->guard);
  int status = 0;
  if (!watch->is_waiting) {
    // Before the look: what happens behind it is told anew.
    uint64_t told;
    ssize_t length = read(watch->descriptor, &told, sizeof told);
    (void)length;
  }
  cipc_wait_t wait;
  if (watch->subject.step(&watch->subject, &wait) != CIPC_EAGAIN) {
    status = 1;
  } else if (!watch->is_waiting) {
    // Ends with a slice, so that what nobody asks for any more is not waited for either. The
    // callback waits for the guard, if it comes at once.
    status = cipc_wait_start(&wait, cipc_clock_deadline(CIPC_SLICE_NANOSECONDS), wait_ended, watch,
                             &watch->ticket);
    watch->is_waiting = status == 0;
    if (watch->is_waiting) watch->references++;
  }
  cipc_guard_unlock(&watch->guard);
  return status;
}

int cipc_watch_descriptor(const cipc_watch_t *watch) { return watch->descriptor; }

void cipc_watch_close(cipc_watch_t *watch) {
  if (watch == NULL) return;
  cipc_guard_lock(&watch->guard);
  // Where it comes too late, the callback drops the reference that is its.
  if (watch->is_waiting && cipc_wait_cancel(watch->ticket) == 0) {
    watch->is_waiting = false;
    watch->references--;
  }
  drop(watch);
}

// MARK: Forks

static void fork_prepare(void) {
  (void)pthread_mutex_lock(&list_guard);
  for (cipc_watch_t *watch = all; watch != NULL; watch = watch->next) {
    cipc_guard_lock(&watch->guard);
  }
}

static void fork_parent(void) {
  for (cipc_watch_t *watch = all; watch != NULL; watch = watch->next) {
    cipc_guard_unlock(&watch->guard);
  }
  (void)pthread_mutex_unlock(&list_guard);
}

/// The child has none of the parent's waits, and must not touch its eventfd: there is another one
/// by the same number.
static void fork_child(void) {
  for (cipc_watch_t *watch = all, *next; watch != NULL; watch = next) {
    next = watch->next;
    if (watch->is_waiting) watch->references--;
    watch->is_waiting = false;
    int own = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (own < 0 || dup3(own, watch->descriptor, O_CLOEXEC) < 0) {
      (void)close(watch->descriptor);
      watch->descriptor = -1;
    }
    if (own >= 0) (void)close(own);
    cipc_guard_unlock(&watch->guard);
    if (watch->references == 0) discard(watch);
  }
  (void)pthread_mutex_unlock(&list_guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_WATCHES, fork_prepare, fork_parent, fork_child)
