/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/event.h"

#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "futex.h"

#define GENERATION_STEP (1u << CIPC_EVENT_GENERATION_SHIFT)

void cipc_event_init(cipc_event_t *event, int is_set) {
  event->word = is_set ? GENERATION_STEP | CIPC_EVENT_SET : 0;
}

void cipc_event_set(cipc_event_t *event) {
  uint32_t before = __atomic_load_n(&event->word, __ATOMIC_RELAXED);
  uint32_t after;
  do {
    // One that is set already is written as well: whoever clears it next must see what was written
    // before this, or would not know what it is told.
    after = before & CIPC_EVENT_SET
                ? before
                : ((before + GENERATION_STEP) & ~CIPC_EVENT_WAITERS) | CIPC_EVENT_SET;
    // Commit point.
  } while (!__atomic_compare_exchange_n(&event->word, &before, after, 0, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED));
  if (before & CIPC_EVENT_WAITERS) (void)cipc_futex_wake(&event->word, INT_MAX);
}

int cipc_event_step(cipc_event_t *event, uint32_t begin, cipc_wait_t *wait) {
  uint32_t word = __atomic_load_n(&event->word, __ATOMIC_SEQ_CST);
  for (;;) {
    if (word & CIPC_EVENT_SET || word >> CIPC_EVENT_GENERATION_SHIFT != begin) return 0;
    if (word & CIPC_EVENT_WAITERS) break;
    if (__atomic_compare_exchange_n(&event->word, &word, word | CIPC_EVENT_WAITERS, 0,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      word |= CIPC_EVENT_WAITERS;
      break;
    }
  }
  *wait = (cipc_wait_t){.word = &event->word, .expected = word};
  return CIPC_EAGAIN;
}

int cipc_event_wait_slowly(cipc_event_t *event, cipc_deadline_t deadline) {
  uint32_t begin = cipc_event_begin(event);
  // Without the mark of a sleeper, which would cost whoever sets it a system call.
  if (deadline <= CIPC_IMMEDIATELY) return cipc_event_is_set(event) ? 0 : CIPC_ETIMEDOUT;
  for (;;) {
    cipc_wait_t wait;
    int status = cipc_event_step(event, begin, &wait);
    if (status != CIPC_EAGAIN) return status;
    status = cipc_wait_sleep(&wait, deadline);
    if (status < 0) return status;
  }
}

// MARK: Descriptors

/// The owner and the wait under way, if there is one, have a reference each: the wait's callback
/// may come after the owner has closed it.
struct cipc_event_watch {
  pthread_mutex_t guard;
  cipc_event_t *event;
  int descriptor;
  /// Under the guard.
  unsigned references;
  bool is_waiting;
  cipc_waiter_ticket_t ticket;
};

int cipc_event_watch_open(cipc_event_watch_t **watch, cipc_event_t *event) {
  cipc_event_watch_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;
  made->event = event;
  made->references = 1;
  made->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int status = made->descriptor < 0 ? -errno : -pthread_mutex_init(&made->guard, NULL);
  if (status < 0) {
    if (made->descriptor >= 0) (void)close(made->descriptor);
    free(made);
    return status;
  }
  *watch = made;
  return 0;
}

// Takes the guard held.
static void drop(cipc_event_watch_t *watch) {
  bool is_last = --watch->references == 0;
  (void)pthread_mutex_unlock(&watch->guard);
  if (!is_last) return;
  (void)close(watch->descriptor);
  (void)pthread_mutex_destroy(&watch->guard);
  free(watch);
}

// Whatever the wait says, whoever is interested looks at the event again.
static void wait_ended(void *context, int status) {
  (void)status;
  cipc_event_watch_t *watch = context;
  (void)pthread_mutex_lock(&watch->guard);
  watch->is_waiting = false;
  // Fails only if it says so already as often as it can be said.
  ssize_t written = write(watch->descriptor, &(uint64_t){1}, sizeof(uint64_t));
  (void)written;
  drop(watch);
}

int cipc_event_watch_look(cipc_event_watch_t *watch) {
  if (cipc_event_is_set(watch->event)) return 1;
  (void)pthread_mutex_lock(&watch->guard);
  int status = 0;
  if (!watch->is_waiting) {
    // Before the look at the event: what happens behind it is told anew.
    uint64_t told;
    ssize_t length = read(watch->descriptor, &told, sizeof told);
    (void)length;
    cipc_wait_t wait;
    if (cipc_event_step(watch->event, cipc_event_begin(watch->event), &wait) == 0) {
      status = 1;
    } else {
      // Ends with a slice, so that what nobody asks for any more is not waited for either. The
      // callback waits for the guard, if it comes at once.
      status = cipc_wait_start(&wait, cipc_clock_deadline(CIPC_SLICE_NANOSECONDS), wait_ended,
                               watch, &watch->ticket);
      watch->is_waiting = status == 0;
      if (watch->is_waiting) watch->references++;
    }
  }
  (void)pthread_mutex_unlock(&watch->guard);
  return status;
}

int cipc_event_watch_descriptor(const cipc_event_watch_t *watch) { return watch->descriptor; }

void cipc_event_watch_close(cipc_event_watch_t *watch) {
  if (watch == NULL) return;
  (void)pthread_mutex_lock(&watch->guard);
  // Where it comes too late, the callback drops the reference that is its.
  if (watch->is_waiting && cipc_wait_cancel(watch->ticket) == 0) {
    watch->is_waiting = false;
    watch->references--;
  }
  drop(watch);
}
