/* SPDX-License-Identifier: Apache-2.0 */
// The waits that cipc_wait_start begins, and the one thread that sleeps for all of them.
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fork_hooks.h"
#include "base/futex.h"
#include "base/slots.h"
#include "base/thread.h"
#include "segment/participants.h"
#include "wait/futex_waiter.h"
#include "wait/wait.h"

#define NOWHERE CIPC_SLOT_NOWHERE
// For how long the thread sleeps on some of the words when there are more than it can sleep on.
#define TURN INT64_C(10000000)

// A wait, in a slot, and in the list of its word.
struct wait {
  cipc_slot_t slot;
  uint32_t next, previous;
  uint32_t word;
  // The wait's number: those that begin while a word's waits are being ended stay.
  uint64_t serial;
  cipc_deadline_t deadline;
  cipc_poller_callback_t callback;
  void *context;
};

// A word and the value expected. In use while it has waits.
struct word {
  cipc_wait_t what;
  uint32_t first, last;
  cipc_deadline_t look_at;
  // Of the segment that it lies in, or NULL; and its value when the last of the waits began.
  const uint32_t *epoch;
  uint32_t seen;
};

// All under the guard. `running` says whether there is a thread in this process.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static bool running;
static cipc_slots_t slots = CIPC_SLOTS_OF(struct wait);
static uint64_t serial;
static struct word *words;
static uint32_t word_count;
// No deadline and no look is due before this.
static cipc_deadline_t earliest = CIPC_NO_DEADLINE;
// What the thread sleeps on besides; raised when it is to look at the words anew.
static uint32_t control;
static bool is_asleep;
// Whether the kernel can sleep on several words.
static bool can_wait_any = true;

static struct wait *wait_at(uint32_t slot) {
  return (struct wait *)(void *)cipc_slots_at(&slots, slot);
}

static bool is_in_use(const struct word *word) { return word->first != NOWHERE; }

static bool is_same(const cipc_wait_t *a, const cipc_wait_t *b) {
  return a->word == b->word && a->expected == b->expected;
}

static void due_at(cipc_deadline_t deadline) {
  if (deadline < earliest) earliest = deadline;
}

// MARK: Slots

// The place of a word: the one that it has, or a free one. CIPC_ENOMEM, or 0.
static int place_of(const cipc_wait_t *what, uint32_t *place) {
  uint32_t unused = NOWHERE;
  for (uint32_t i = 0; i < word_count; i++) {
    if (!is_in_use(&words[i])) {
      unused = i;
    } else if (is_same(&words[i].what, what)) {
      *place = i;
      return 0;
    }
  }
  if (unused == NOWHERE) {
    uint32_t count = word_count == 0 ? 16 : word_count * 2;
    struct word *more = realloc(words, count * sizeof *more);
    if (more == NULL) return CIPC_ENOMEM;
    words = more;
    for (uint32_t i = word_count; i < count; i++) {
      words[i] = (struct word){.first = NOWHERE, .last = NOWHERE};
    }
    unused = word_count;
    word_count = count;
  }
  words[unused].what = *what;
  words[unused].look_at = cipc_clock_now() + cipc_wait_slice;
  *place = unused;
  return 0;
}

static void enlist(uint32_t slot, uint32_t place) {
  struct word *word = &words[place];
  wait_at(slot)->word = place;
  wait_at(slot)->next = NOWHERE;
  wait_at(slot)->previous = word->last;
  if (word->last == NOWHERE) {
    word->first = slot;
  } else {
    wait_at(word->last)->next = slot;
  }
  word->last = slot;
}

static void end(uint32_t slot) {
  struct wait *wait = wait_at(slot);
  struct word *word = &words[wait->word];
  *(wait->previous == NOWHERE ? &word->first : &wait_at(wait->previous)->next) = wait->next;
  *(wait->next == NOWHERE ? &word->last : &wait_at(wait->next)->previous) = wait->previous;
  cipc_slots_release(&slots, slot);
}

// MARK: Thread

// Ends the wait and calls back. Takes the guard held and gives it back held.
static void finish(uint32_t slot, int status) {
  cipc_poller_callback_t callback = wait_at(slot)->callback;
  void *context = wait_at(slot)->context;
  end(slot);
  (void)pthread_mutex_unlock(&guard);
  callback(context, status);
  (void)pthread_mutex_lock(&guard);
}

// Ends the waits that a word has now; meanwhile others may begin, and the place change hands.
static void finish_all(uint32_t place, const cipc_wait_t *what, int status) {
  uint64_t limit = serial;
  while (is_in_use(&words[place]) && is_same(&words[place].what, what) &&
         wait_at(words[place].first)->serial <= limit) {
    finish(words[place].first, status);
  }
}

// Asks the kernel about a word, which may have been unmapped.
static void probe(uint32_t place, const cipc_wait_t *what) {
  int status = cipc_futex_wait_until(what->word, what->expected, CIPC_IMMEDIATELY);
  if (status != CIPC_ETIMEDOUT && status != -EINTR) finish_all(place, what, status);
}

// Somebody in a segment was found dead: of each word there, one wait is told to look for the dead.
static void tell_of_death(const uint32_t *epoch) {
  for (uint32_t i = 0; i < word_count; i++) {
    if (!is_in_use(&words[i]) || words[i].epoch != epoch) continue;
    cipc_wait_t what = words[i].what;
    finish(words[i].first, CIPC_WAIT_LOOK);
    finish_all(i, &what, 0);
  }
}

static void probe_epoch(const uint32_t *epoch, uint32_t seen) {
  int status = cipc_futex_wait_until(epoch, seen, CIPC_IMMEDIATELY);
  if (status == 0) tell_of_death(epoch);
  for (uint32_t i = 0; status == -EFAULT && i < word_count; i++) {
    if (words[i].epoch == epoch) words[i].epoch = NULL;
  }
}

static void expire(void) {
  cipc_deadline_t now = cipc_clock_now();
  if (now < earliest) return;
  for (uint32_t slot = 0; slot < slots.count; slot++) {
    if (wait_at(slot)->slot.is_taken && wait_at(slot)->deadline <= now)
      finish(slot, CIPC_ETIMEDOUT);
  }
  for (uint32_t i = 0; i < word_count; i++) {
    if (!is_in_use(&words[i]) || words[i].look_at > now) continue;
    words[i].look_at = now + cipc_wait_slice;
    finish(words[i].first, CIPC_WAIT_LOOK);
  }
  earliest = CIPC_NO_DEADLINE;
  for (uint32_t i = 0; i < word_count; i++) {
    if (is_in_use(&words[i])) due_at(words[i].look_at);
  }
  for (uint32_t slot = 0; slot < slots.count; slot++) {
    if (wait_at(slot)->slot.is_taken) due_at(wait_at(slot)->deadline);
  }
}

// What the thread sleeps on this time.
struct batch {
  uint32_t count;
  cipc_futex_word_t futexes[CIPC_FUTEX_WORDS_MAX];
  cipc_wait_t what[CIPC_FUTEX_WORDS_MAX];
  // NOWHERE for an epoch.
  uint32_t places[CIPC_FUTEX_WORDS_MAX];
  // Where the next batch begins if not all words are in this one.
  uint32_t next;
  bool is_all;
};

static void add(struct batch *batch, const cipc_wait_t *what, uint32_t place) {
  batch->what[batch->count] = *what;
  batch->places[batch->count] = place;
  batch->futexes[batch->count++] = cipc_futex_word(what->word, what->expected);
}

static void add_epoch(struct batch *batch, const struct word *word) {
  if (word->epoch == NULL || batch->count == CIPC_FUTEX_WORDS_MAX) return;
  for (uint32_t i = 1; i < batch->count; i++) {
    if (batch->what[i].word == word->epoch) return;
  }
  add(batch, &(cipc_wait_t){.word = word->epoch, .expected = word->seen}, NOWHERE);
}

static void gather(struct batch *batch) {
  batch->count = 1;
  batch->is_all = true;
  uint32_t from = batch->next < word_count ? batch->next : 0;
  for (uint32_t i = 0; i < word_count; i++) {
    uint32_t place = (from + i) % word_count;
    if (!is_in_use(&words[place])) continue;
    if (batch->count == CIPC_FUTEX_WORDS_MAX) {
      batch->is_all = false;
      batch->next = place;
      return;
    }
    add(batch, &words[place].what, place);
    add_epoch(batch, &words[place]);
  }
}

// Sleeps until one of the batch may have changed. Takes the guard held and gives it back held.
static int sleep_on(struct batch *batch) {
  cipc_deadline_t until = earliest;
  if (!batch->is_all || (!can_wait_any && batch->count > 1)) {
    cipc_deadline_t turn = cipc_clock_now() + TURN;
    if (turn < until) until = turn;
  }
  uint32_t seen = __atomic_load_n(&control, __ATOMIC_RELAXED);
  batch->futexes[0] = cipc_futex_word(&control, seen);
  is_asleep = true;
  (void)pthread_mutex_unlock(&guard);
  int result = CIPC_EAGAIN;
  if (can_wait_any) {
    result = cipc_futex_wait_any(batch->futexes, batch->count, until);
  } else {
    (void)cipc_futex_wait_until(&control, seen, until);
  }
  (void)pthread_mutex_lock(&guard);
  is_asleep = false;
  return result;
}

static void *serve(void *unused) {
  (void)unused;
  static struct batch batch;
  (void)pthread_mutex_lock(&guard);
  for (;;) {
    expire();
    gather(&batch);
    int result = sleep_on(&batch);
    if (result == CIPC_ENOSYS || result == CIPC_EPERM) can_wait_any = false;
    if (result > 0 && batch.places[result] == NOWHERE) {
      tell_of_death(batch.what[result].word);
    } else if (result > 0) {
      const cipc_wait_t *what = &batch.what[result];
      uint32_t place = batch.places[result];
      // One that was cancelled took somebody else's wake-up.
      if (!is_in_use(&words[place]) || !is_same(&words[place].what, what)) cipc_wait_pass(what);
      finish_all(place, what, 0);
    } else if (result < 0 && result != CIPC_ETIMEDOUT && result != -EINTR) {
      for (uint32_t i = 1; i < batch.count; i++) {
        if (batch.places[i] == NOWHERE) {
          probe_epoch(batch.what[i].word, batch.what[i].expected);
        } else {
          probe(batch.places[i], &batch.what[i]);
        }
      }
    }
  }
  return NULL;
}

// The child has no thread and none of its parent's waits.
static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }
static void fork_child(void) {
  running = is_asleep = false;
  for (uint32_t slot = 0; slot < slots.count; slot++) {
    if (wait_at(slot)->slot.is_taken) end(slot);
  }
  earliest = CIPC_NO_DEADLINE;
  (void)pthread_mutex_unlock(&guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_FUTEX_WAITER, fork_prepare, fork_parent, fork_child)

// MARK: API

int cipc_futex_waiter_start(const cipc_wait_t *wait, cipc_deadline_t deadline,
                            cipc_poller_callback_t callback, void *context,
                            cipc_poller_ticket_t *ticket) {
  *ticket = 0;
  // Without the guard: the register has its own, and threads that fork take both. Read here, where
  // the caller has the segment open; later only the kernel looks at it.
  const uint32_t *epoch = cipc_participants_epoch_of(wait->word);
  uint32_t seen = epoch != NULL ? __atomic_load_n(epoch, __ATOMIC_ACQUIRE) : 0;
  (void)pthread_mutex_lock(&guard);
  int status = 0;
  if (!running) {
    status = cipc_thread_start("cipc-words", serve, NULL);
    running = status == 0;
  }
  uint32_t place = NOWHERE;
  if (status == 0 && !cipc_slots_have_free(&slots)) status = cipc_slots_grow(&slots);
  if (status == 0) status = place_of(wait, &place);
  bool wake = false;
  if (status == 0) {
    uint32_t slot = cipc_slots_next(&slots);
    cipc_slots_take(&slots);
    wait_at(slot)->serial = ++serial;
    wait_at(slot)->deadline = deadline;
    wait_at(slot)->callback = callback;
    wait_at(slot)->context = context;
    enlist(slot, place);
    words[place].epoch = epoch;
    words[place].seen = seen;
    due_at(deadline);
    due_at(words[place].look_at);
    *ticket = cipc_slots_ticket(&slots, slot);
    wake = is_asleep;
    is_asleep = false;
    if (wake) (void)__atomic_fetch_add(&control, 1, __ATOMIC_RELAXED);
  }
  (void)pthread_mutex_unlock(&guard);
  if (wake) (void)cipc_futex_wake(&control, 1);
  return status;
}

int cipc_futex_waiter_cancel(cipc_poller_ticket_t ticket) {
  (void)pthread_mutex_lock(&guard);
  uint32_t slot = cipc_slots_find(&slots, ticket);
  if (slot != NOWHERE) end(slot);
  (void)pthread_mutex_unlock(&guard);
  return slot != NOWHERE ? 0 : CIPC_ENOENT;
}
