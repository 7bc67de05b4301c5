/* SPDX-License-Identifier: Apache-2.0 */
#include "wait/readiness.h"

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
#include "base/list.h"

// The owner and the wait under way, if there is one, have a reference each: the wait's callback
// may come after the owner has closed it.
struct cipc_readiness {
  // In the list of all, with its guard.
  cipc_list_t node;

  cipc_guard_t guard;
  cipc_readiness_subject_t subject;
  int descriptor;
  // Under the guard.
  unsigned references;
  bool is_waiting;
  cipc_poller_ticket_t ticket;
};

// For the list alone; taken before the guard of one in it.
static pthread_mutex_t list_guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_list_t all = CIPC_LIST_EMPTY(all);

static cipc_readiness_t *object(cipc_list_t *node) {
  return CIPC_LIST_OBJECT(node, cipc_readiness_t, node);
}

// With the list's guard: closes one that nobody refers to, and frees it.
static void discard(cipc_readiness_t *readiness) {
  cipc_list_remove(&readiness->node);
  if (readiness->descriptor >= 0) (void)close(readiness->descriptor);
  free(readiness);
}

int cipc_readiness_open(cipc_readiness_t **readiness, const cipc_readiness_subject_t *subject) {
  cipc_readiness_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;
  made->subject = *subject;
  made->references = 1;
  int status = 0;
  // Under the list's guard, so that a fork finds it in the list or not there at all.
  (void)pthread_mutex_lock(&list_guard);
  made->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (made->descriptor < 0) status = -errno;
  cipc_list_insert_first(&all, &made->node);
  if (status < 0) discard(made);
  (void)pthread_mutex_unlock(&list_guard);
  if (status < 0) return status;
  *readiness = made;
  return 0;
}

// Takes the guard held.
static void drop(cipc_readiness_t *readiness) {
  bool is_last = --readiness->references == 0;
  cipc_guard_unlock(&readiness->guard);
  if (!is_last) return;
  (void)pthread_mutex_lock(&list_guard);
  discard(readiness);
  (void)pthread_mutex_unlock(&list_guard);
}

// Whatever the wait says, whoever is interested looks again.
static void wait_ended(void *context, int status) {
  (void)status;
  cipc_readiness_t *readiness = context;
  cipc_guard_lock(&readiness->guard);
  readiness->is_waiting = false;
  // Fails only if it says so already as often as it can be said.
  ssize_t written = write(readiness->descriptor, &(uint64_t){1}, sizeof(uint64_t));
  (void)written;
  drop(readiness);
}

int cipc_readiness_look(cipc_readiness_t *readiness) {
  cipc_guard_lock(&readiness->guard);
  int status = 0;
  if (!readiness->is_waiting) {
    // Before the look: what happens behind it is told anew.
    uint64_t told;
    ssize_t length = read(readiness->descriptor, &told, sizeof told);
    (void)length;
  }
  cipc_wait_t wait;
  if (readiness->subject.step(&readiness->subject, &wait) != CIPC_EAGAIN) {
    status = 1;
  } else if (!readiness->is_waiting) {
    // Ends with a slice, so that what nobody asks for any more is not waited for either. The
    // callback waits for the guard, if it comes at once.
    status = cipc_wait_start(&wait, cipc_clock_deadline(CIPC_SLICE_NANOSECONDS), wait_ended,
                             readiness, &readiness->ticket);
    readiness->is_waiting = status == 0;
    if (readiness->is_waiting) readiness->references++;
  }
  cipc_guard_unlock(&readiness->guard);
  return status;
}

int cipc_readiness_descriptor(const cipc_readiness_t *readiness) { return readiness->descriptor; }

void cipc_readiness_close(cipc_readiness_t *readiness) {
  if (readiness == NULL) return;
  cipc_guard_lock(&readiness->guard);
  // Where it comes too late, the callback drops the reference that is its.
  if (readiness->is_waiting && cipc_wait_cancel(readiness->ticket) == 0) {
    readiness->is_waiting = false;
    readiness->references--;
  }
  drop(readiness);
}

// MARK: Forks

static void fork_prepare(void) {
  (void)pthread_mutex_lock(&list_guard);
  CIPC_LIST_EACH(node, &all) { cipc_guard_lock(&object(node)->guard); }
}

static void fork_parent(void) {
  CIPC_LIST_EACH(node, &all) { cipc_guard_unlock(&object(node)->guard); }
  (void)pthread_mutex_unlock(&list_guard);
}

// The child has none of the parent's waits, and must not touch its eventfd: there is another one
// by the same number.
static void fork_child(void) {
  CIPC_LIST_EACH_REMOVABLE(node, &all) {
    cipc_readiness_t *readiness = object(node);
    if (readiness->is_waiting) readiness->references--;
    readiness->is_waiting = false;
    int own = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (own < 0 || dup3(own, readiness->descriptor, O_CLOEXEC) < 0) {
      (void)close(readiness->descriptor);
      readiness->descriptor = -1;
    }
    if (own >= 0) (void)close(own);
    cipc_guard_unlock(&readiness->guard);
    if (readiness->references == 0) discard(readiness);
  }
  (void)pthread_mutex_unlock(&list_guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_READINESS, fork_prepare, fork_parent, fork_child)
