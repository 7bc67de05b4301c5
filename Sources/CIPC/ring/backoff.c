/* SPDX-License-Identifier: Apache-2.0 */
// Spinning pays where the other side runs on another processor and answers within the 30 to 80 µs
// that it takes to wake somebody there. Where it is in vain (both on one processor, or an answer
// that takes longer) it is left out, for twice as many waits each time; a wait that was long in any
// case does not count, since it cost but a small part of itself.
#include "ring/backoff.h"

#include <sys/stat.h>

#include "base/clock.h"
#include "cipc/processor.h"
#include "ring/consumers.h"
#include "ring/leases.h"
#include "segment/segment.h"
#include "wait/eventcount.h"
#include "wait/wait.h"

#define SPIN INT64_C(100000)
#define PENALTY_MAXIMUM 1023u
// A wait this many times as long as the spin before it was none the worse for that.
#define NEGLIGIBLE 50
// Pauses between looks at most: with fewer, two that go on at the same pace take the same lines
// from each other at every record.
#define PAUSES_MAXIMUM 64u
// Looks between two readings of the clock.
#define LOOKS 16u
// How long a step, which must not block, waits for a side that somebody holds for a moment.
#define MOMENT INT64_C(5000000)

__thread uint32_t cipc_backoff_puts;
// What that was when this thread last waited for a record.
static __thread uint32_t puts_at_wait;

static uint32_t *word_of(const cipc_ring_t *ring, cipc_ring_side_t side) {
  switch (side) {
    case CIPC_RING_ITEMS:
      return &ring->control->items;
    case CIPC_RING_SPACE:
      return &ring->control->space;
    default:
      return &ring->control->done;
  }
}

// MARK: Spinning

static void pause_times(uint32_t count) {
  for (uint32_t i = 0; i < count; i++) cipc_processor_pause();
}

// Whether it is worth trying again: `seen` is what `low` was when it was tried in vain.
static bool is_promising(const cipc_ring_t *ring, cipc_ring_side_t side, cipc_index_t seen) {
  const cipc_ring_control_t *control = ring->control;
  if (cipc_ring_was_shut(ring)) return true;
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_RELAXED);
  if ((tail & CIPC_INDEX_FINISHED) != 0 && side != CIPC_RING_WHOLE) return true;
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  if (side == CIPC_RING_SPACE) return low != seen;
  if (side == CIPC_RING_WHOLE) return cipc_index_records(low, tail) == 0;
  cipc_index_t head = __atomic_load_n(&control->head, __ATOMIC_RELAXED);
  return cipc_index_records(head, tail) != 0 ||
         __atomic_load_n(&control->returned, __ATOMIC_RELAXED) != 0;
}

// The same, for cipc_wait_give_way.
typedef struct promise {
  const cipc_ring_t *ring;
  cipc_ring_side_t side;
  cipc_index_t seen;
} promise_t;

static bool is_kept(const void *context) {
  const promise_t *promise = context;
  return is_promising(promise->ring, promise->side, promise->seen);
}

// How long to spin now; 0 for not at all.
static int64_t spin_time(const cipc_ring_t *ring, cipc_backoff_t *backoff) {
  int64_t fixed = __atomic_load_n(&ring->spin, __ATOMIC_RELAXED);
  if (fixed >= 0) return fixed;
  uint32_t skip = __atomic_load_n(&backoff->skip, __ATOMIC_RELAXED);
  if (skip == 0) return SPIN;
  __atomic_store_n(&backoff->skip, skip - 1, __ATOMIC_RELAXED);
  return 0;
}

// How many pauses to make between looks. Who has put something since its last wait waits for an
// answer, and looks all the time.
static uint32_t choose_pauses(cipc_ring_side_t side, const cipc_backoff_t *backoff) {
  bool is_answer = side == CIPC_RING_ITEMS && puts_at_wait != cipc_backoff_puts;
  puts_at_wait = cipc_backoff_puts;
  uint32_t pauses = __atomic_load_n(&backoff->pauses, __ATOMIC_RELAXED);
  return is_answer || pauses == 0 ? 1 : pauses;
}

static bool spin(cipc_ring_t *ring, cipc_ring_side_t side, cipc_index_t seen,
                 cipc_deadline_t until) {
  cipc_backoff_t *backoff = &ring->backoff[side];
  uint32_t pauses = choose_pauses(side, backoff);
  for (uint32_t looks = 1;; looks++) {
    pause_times(pauses);
    if (is_promising(ring, side, seen)) {
      // Found at once: the other side goes on at this one's pace, so stay further behind.
      uint32_t next = looks <= 2 ? 2 * pauses : pauses / 2;
      if (next > PAUSES_MAXIMUM) next = PAUSES_MAXIMUM;
      __atomic_store_n(&backoff->pauses, next, __ATOMIC_RELAXED);
      return true;
    }
    if (looks % LOOKS == 0 && cipc_clock_now() >= until) return false;
  }
}

static void reward(cipc_backoff_t *backoff) {
  __atomic_store_n(&backoff->penalty, 0, __ATOMIC_RELAXED);
}

static void punish(cipc_backoff_t *backoff) {
  uint32_t penalty = 2 * __atomic_load_n(&backoff->penalty, __ATOMIC_RELAXED) + 1;
  if (penalty > PENALTY_MAXIMUM) penalty = PENALTY_MAXIMUM;
  __atomic_store_n(&backoff->penalty, penalty, __ATOMIC_RELAXED);
  __atomic_store_n(&backoff->skip, penalty, __ATOMIC_RELAXED);
}

// MARK: Looking for the dead

void cipc_ring_set_when_alone(cipc_ring_t *ring, int when_alone) {
  __atomic_store_n(&ring->when_alone, when_alone, __ATOMIC_RELAXED);
}

int cipc_ring_when_alone(const cipc_ring_t *ring) {
  return __atomic_load_n(&ring->when_alone, __ATOMIC_RELAXED);
}

int cipc_ring_is_alone(cipc_ring_t *ring) {
  if (cipc_ring_was_shut(ring)) return CIPC_ECLOSED;
  return __atomic_load_n(&ring->control->is_shared, __ATOMIC_RELAXED) != 0 &&
         cipc_segment_others(ring->segment) == 0 &&
         // Behind the look: one that is uncounted has said so by the time that it uses the ring.
         __atomic_load_n(&ring->control->is_uncounted, __ATOMIC_RELAXED) == 0;
}

// Whether this process itself may do what is waited for on a side, or bring somebody who does.
static bool can_answer(const cipc_ring_t *ring, cipc_ring_side_t side) {
  cipc_participant_t self = cipc_participant_current();
  const cipc_participant_t *mark = side == CIPC_RING_ITEMS ? &ring->producing : &ring->consuming;
  return __atomic_load_n(&ring->control->creator, __ATOMIC_RELAXED) == self ||
         __atomic_load_n(&ring->offering, __ATOMIC_RELAXED) == self ||
         __atomic_load_n(mark, __ATOMIC_RELAXED) == self ||
         // By another hold, of whose use this one knows nothing.
         cipc_segment_holds(ring->segment) > 1;
}

// Whether the next process can find the ring.
static bool has_name(const cipc_ring_t *ring) {
  struct stat status;
  int result = fstat(cipc_segment_descriptor(ring->segment), &status);
  return result < 0 || status.st_nlink != 0;
}

// Whether to wait for a side is in vain, by what is to be done when alone.
static bool is_in_vain(cipc_ring_t *ring, cipc_ring_side_t side) {
  int when_alone = cipc_ring_when_alone(ring);
  if (when_alone == CIPC_RING_ALONE_WAIT) return false;
  bool is_standard = when_alone != CIPC_RING_ALONE_FAIL;
  if (is_standard && (can_answer(ring, side) || has_name(ring))) return false;
  return cipc_ring_is_alone(ring) == 1;
}

static void sweep(cipc_ring_t *ring) {
  if (!cipc_ring_is_leased(ring)) return;
  if (cipc_consumers_visit(ring, cipc_clock_deadline(MOMENT)) < 0) return;
  cipc_leases_sweep(ring);
  cipc_consumers_leave(ring);
}

bool cipc_backoff_is_time(cipc_ring_t *ring) {
  cipc_deadline_t now = cipc_clock_now();
  if (now < __atomic_load_n(&ring->next_look, __ATOMIC_RELAXED)) return false;
  __atomic_store_n(&ring->next_look, now + CIPC_SLICE_NANOSECONDS, __ATOMIC_RELAXED);
  return true;
}

// MARK: Trying

// One attempt; with `look`, behind a look for the dead. `wait` NULL: the caller does not wait, and
// so it does not wait in vain.
static int attempt_once(cipc_ring_t *ring, cipc_ring_side_t side, cipc_ring_attempt_t attempt,
                        void *request, bool look, cipc_deadline_t limit, cipc_wait_t *wait) {
  bool in_vain = false;
  if (look) {
    sweep(ring);
    cipc_segment_settle_lost(ring->segment);
    // Before the attempt, which then sees what others did before they went.
    in_vain = wait != NULL && is_in_vain(ring, side);
  }
  int status = attempt(ring, request, limit);
  if (status != CIPC_EAGAIN || wait == NULL) return status;
  if (in_vain) return CIPC_ENOBODY;
  uint32_t *word = word_of(ring, side);
  *wait = (cipc_wait_t){.word = word, .expected = cipc_eventcount_mark(word)};
  return attempt(ring, request, limit);
}

int cipc_backoff_step(cipc_ring_t *ring, cipc_ring_side_t side, cipc_ring_attempt_t attempt,
                      void *request, int look, cipc_wait_t *wait) {
  cipc_deadline_t limit = cipc_clock_deadline(MOMENT);
  int status = attempt_once(ring, side, attempt, request, look != 0, limit, wait);
  if (status != CIPC_ETIMEDOUT) return status;
  // Somebody holds the side for longer, and will wake who sleeps when he lets go; another who only
  // puts or gets will not, and is waited for.
  if (wait != NULL) {
    uint32_t *word = word_of(ring, side);
    *wait = (cipc_wait_t){.word = word, .expected = cipc_eventcount_mark(word)};
    status = attempt(ring, request, cipc_clock_deadline(MOMENT));
  }
  return status == CIPC_ETIMEDOUT ? CIPC_EAGAIN : status;
}

static int sleep_until(cipc_ring_t *ring, cipc_ring_side_t side, cipc_ring_attempt_t attempt,
                       void *request, cipc_deadline_t deadline) {
  uint32_t departures = __atomic_load_n(&ring->control->departures, __ATOMIC_RELAXED);
  bool look = false;
  for (;;) {
    cipc_wait_t wait;
    int status = attempt_once(ring, side, attempt, request, look, deadline, &wait);
    if (status != CIPC_EAGAIN) return status;
    status = cipc_wait_sleep(&wait, deadline);
    if (status < 0) return status;
    // Closing wakes everyone: a closed participant is never found dead.
    uint32_t now = __atomic_load_n(&ring->control->departures, __ATOMIC_ACQUIRE);
    look = status == CIPC_WAIT_LOOK || now != departures;
    departures = now;
  }
}

int cipc_backoff_wait(cipc_ring_t *ring, cipc_ring_side_t side, cipc_ring_attempt_t attempt,
                      void *request, cipc_deadline_t deadline) {
  if (deadline <= CIPC_IMMEDIATELY) {
    // Without the mark of a sleeper, which would cost the other side a system call.
    bool look = cipc_backoff_is_time(ring);
    int status = attempt_once(ring, side, attempt, request, look, deadline, NULL);
    return status == CIPC_EAGAIN ? CIPC_ETIMEDOUT : status;
  }
  cipc_index_t seen = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  int status = attempt_once(ring, side, attempt, request, false, deadline, NULL);
  if (status != CIPC_EAGAIN) return status;
  cipc_backoff_t *backoff = &ring->backoff[side];
  cipc_deadline_t began = cipc_clock_now();
  int64_t time = spin_time(ring, backoff);
  if (time != 0) {
    cipc_deadline_t until = time < deadline - began ? began + time : deadline;
    while (spin(ring, side, seen, until)) {
      seen = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
      status = attempt_once(ring, side, attempt, request, false, deadline, NULL);
      if (status != CIPC_EAGAIN) {
        reward(backoff);
        return status;
      }
      // What looks promising may be in vain for ever: the end of a stream of which some is leased,
      // too little space for this record, scribbled words.
      if (cipc_clock_now() >= until) break;
    }
  }
  static __thread cipc_giving_way_t giving_way;
  const promise_t promise = {.ring = ring, .side = side, .seen = seen};
  if (cipc_wait_give_way(&giving_way, is_kept, &promise)) {
    status = attempt_once(ring, side, attempt, request, false, deadline, NULL);
  }
  if (status == CIPC_EAGAIN) status = sleep_until(ring, side, attempt, request, deadline);
  if (time != 0 && cipc_clock_now() - began < NEGLIGIBLE * time) punish(backoff);
  return status;
}
