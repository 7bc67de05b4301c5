/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/wait.h"

#include <poll.h>
#include <sched.h>

#include <stdbool.h>

#include "base/clock.h"
#include "base/futex.h"
#include "base/interrupt.h"
#include "segment/participants.h"
#include "wait/wait.h"

_Static_assert(CIPC_WAIT_SLICE == CIPC_SLICE_NANOSECONDS, "told to the users");

// When this thread began to wait on a word, or was last told to look for the dead: it is told again
// a slice later, although it may be woken more often than that, and call anew each time.
static __thread struct {
  const uint32_t *word;
  cipc_deadline_t since;
  // Whether it has been told to at `since`.
  int has_looked;
  // Whether a slice has ended since it was last told of an interruption.
  int is_slice_over;
  // The epoch of the word's segment or NULL, as of a generation of the register; and what it was
  // when the dead were last looked for.
  uint32_t seen;
  const uint32_t *epoch;
  uint64_t generation;
} last;

#ifdef CIPC_FAULTS
cipc_deadline_t cipc_wait_slice = CIPC_SLICE_NANOSECONDS;
#endif

static int look(cipc_deadline_t now) {
  last.since = now;
  last.has_looked = 1;
  return CIPC_WAIT_LOOK;
}

// Finds the epoch that goes with the word, without the register's lock where nothing changed there.
static void find_epoch(int is_another_wait) {
  uint64_t generation = cipc_participants_generation();
  if (is_another_wait || generation != last.generation) {
    const uint32_t *epoch = cipc_participants_epoch_of(last.word);
    is_another_wait |= epoch != last.epoch;
    last.epoch = epoch;
    last.generation = generation;
  }
  if (is_another_wait && last.epoch != NULL) {
    last.seen = __atomic_load_n(last.epoch, __ATOMIC_ACQUIRE);
  }
}

// Whether somebody was found dead since the last look.
static bool has_epoch_changed(void) {
  if (last.epoch == NULL) return false;
  uint32_t now = __atomic_load_n(last.epoch, __ATOMIC_ACQUIRE);
  bool has_changed = now != last.seen;
  last.seen = now;
  return has_changed;
}

// 0: woken, or one of the words differs. -errno.
static int sleep_until(const cipc_wait_t *wait, cipc_deadline_t until) {
  static int cannot_wait_any;
  // The kernel begins a wait for several words anew behind a handler with SA_RESTART, and tells
  // nobody. One for a single word with a time it does not.
  if (last.epoch != NULL && !cipc_interrupt_is_on() &&
      !__atomic_load_n(&cannot_wait_any, __ATOMIC_RELAXED)) {
    const cipc_futex_word_t words[] = {cipc_futex_word(wait->word, wait->expected),
                                       cipc_futex_word(last.epoch, last.seen)};
    int status = cipc_futex_wait_any(words, 2, until);
    if (status >= 0 || status == CIPC_EAGAIN) return 0;
    if (status != CIPC_ENOSYS && status != CIPC_EPERM) return status;
    __atomic_store_n(&cannot_wait_any, 1, __ATOMIC_RELAXED);
  }
  return cipc_futex_wait_until(wait->word, wait->expected, until);
}

// Until the descriptor is ready, or for the pause.
static int sleep_without_word(const cipc_wait_t *wait, cipc_deadline_t deadline) {
  bool is_pause = wait->kind == CIPC_WAIT_PAUSE;
  struct pollfd entry = {.fd = is_pause ? -1 : wait->descriptor};
  if (wait->directions & CIPC_POLLER_READABLE) entry.events |= POLLIN;
  if (wait->directions & CIPC_POLLER_WRITABLE) entry.events |= POLLOUT;
  cipc_deadline_t pause = is_pause ? cipc_clock_deadline(wait->pause) : CIPC_NO_DEADLINE;
  for (;;) {
    int count = cipc_interrupt_poll(&entry, 1, pause < deadline ? pause : deadline);
    if (count < 0) return count;
    if (count > 0) return entry.revents & POLLNVAL ? CIPC_EBADF : 0;
    cipc_deadline_t now = cipc_clock_now();
    if (deadline != CIPC_NO_DEADLINE && now >= deadline) return CIPC_ETIMEDOUT;
    if (is_pause && now >= pause) return 0;
  }
}

int cipc_wait_sleep(const cipc_wait_t *wait, cipc_deadline_t deadline) {
  if (wait->kind != CIPC_WAIT_WORD) return sleep_without_word(wait, deadline);
  cipc_deadline_t now = cipc_clock_now();
  // Beyond a second slice nothing was waited for: this is another wait.
  int is_another = last.word != wait->word || now - last.since >= 2 * cipc_wait_slice;
  if (is_another) {
    last.word = wait->word;
    last.since = now;
    last.has_looked = last.is_slice_over = 0;
  }
  find_epoch(is_another);
  cipc_deadline_t slice = last.since + cipc_wait_slice;
  if (now >= slice || has_epoch_changed()) return look(now);
  // The kernel looks at the word first, and somebody may change it all the time.
  if (now >= deadline && last.has_looked) return CIPC_ETIMEDOUT;
  // Only a wait can be interrupted.
  bool is_on = now < deadline && cipc_interrupt_is_on();
  int status = 0;
  if (is_on) status = last.is_slice_over ? cipc_interrupt_slice_ended() : cipc_interrupt_check();
  last.is_slice_over = 0;
  if (status < 0) return status;
  do {
    status = sleep_until(wait, slice < deadline ? slice : deadline);
  } while (status == -EINTR && !is_on);
  if (status == -EINTR) return cipc_interrupt_arrived();
  if (status == 0 && has_epoch_changed()) return look(cipc_clock_now());
  if (status != CIPC_ETIMEDOUT) return status;
  if (slice <= deadline) {
    cipc_participants_look(wait->word);
    (void)has_epoch_changed();
    last.is_slice_over = 1;
    return look(cipc_clock_now());
  }
  if (!last.has_looked) return look(cipc_clock_now());
  return CIPC_ETIMEDOUT;
}

void cipc_wait_pass(const cipc_wait_t *wait) {
  if (wait->kind == CIPC_WAIT_WORD) (void)cipc_futex_wake(wait->word, 1);
}

// How long giving way may take where it pays: whoever runs instead comes here at once.
#define GIVING_WAY_PAYS_BELOW INT64_C(20000)
#define GIVING_WAY_SKIPS_MAXIMUM 1024u

bool cipc_wait_give_way(cipc_giving_way_t *past, bool (*has_happened)(const void *),
                        const void *context) {
  if (past->skipped < past->skips) {
    past->skipped++;
    return false;
  }
  cipc_deadline_t before = cipc_clock_now();
  (void)sched_yield();
  bool has = has_happened(context);
  past->skipped = 0;
  if (has && cipc_clock_now() - before < GIVING_WAY_PAYS_BELOW) {
    past->skips = 0;
  } else if (past->skips < GIVING_WAY_SKIPS_MAXIMUM) {
    past->skips = past->skips == 0 ? 1 : 2 * past->skips;
  }
  return has;
}
