/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/event.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>

#include "child.h"

#define MILLISECOND INT64_C(1000000)

// What the children of one test share.
typedef struct arena {
  cipc_event_t event;
  cipc_event_t answer;
  uint32_t gate;
  uint32_t ended;
  uint64_t data;
} arena_t;

static arena_t *make_arena(int is_set) {
  arena_t *arena = child_shared(sizeof *arena);
  cipc_event_init(&arena->event, is_set);
  cipc_event_init(&arena->answer, 0);
  return arena;
}

static cipc_deadline_t soon(void) { return cipc_clock_deadline(CHILD_PATIENCE); }

// Waits until a process sleeps in the kernel, which is all that can be seen of it from here.
static void wait_until_asleep(pid_t pid) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  cipc_deadline_t deadline = soon();
  for (;;) {
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    char state = 0;
    CHECK_EQUAL(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
    (void)fclose(file);
    if (state == 'S') return;
    CHECK(cipc_clock_now() < deadline);
    (void)sched_yield();
  }
}

static void a_new_one_is_as_it_was_made(void) {
  arena_t *arena = make_arena(0);
  CHECK(!cipc_event_is_set(&arena->event));
  cipc_event_init(&arena->event, 1);
  CHECK(cipc_event_is_set(&arena->event));
  CHECK_EQUAL(cipc_event_wait(&arena->event, CIPC_IMMEDIATELY), 0);
}

static void set_and_clear(void) {
  arena_t *arena = make_arena(0);
  for (int i = 0; i < 3; i++) {
    cipc_event_set(&arena->event);
    CHECK(cipc_event_is_set(&arena->event));
    // As often as one likes.
    cipc_event_set(&arena->event);
    CHECK(cipc_event_is_set(&arena->event));
    for (int k = 0; k < 3; k++) CHECK_EQUAL(cipc_event_wait(&arena->event, CIPC_NO_DEADLINE), 0);
    CHECK_EQUAL(cipc_event_wait(&arena->event, -1), 0);
    cipc_event_clear(&arena->event);
    CHECK(!cipc_event_is_set(&arena->event));
    cipc_event_clear(&arena->event);
    CHECK(!cipc_event_is_set(&arena->event));
    CHECK_EQUAL(cipc_event_wait(&arena->event, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  }
}

static void deadlines_are_kept(void) {
  arena_t *arena = make_arena(0);
  const cipc_deadline_t over[] = {CIPC_IMMEDIATELY, 1, -1, INT64_MIN, cipc_clock_now()};
  for (size_t i = 0; i < sizeof over / sizeof over[0]; i++) {
    CHECK_EQUAL(cipc_event_wait(&arena->event, over[i]), CIPC_ETIMEDOUT);
  }
  const int64_t waits[] = {20 * MILLISECOND, 450 * MILLISECOND};
  for (size_t i = 0; i < 2; i++) {
    cipc_deadline_t deadline = cipc_clock_deadline(waits[i]);
    CHECK_EQUAL(cipc_event_wait(&arena->event, deadline), CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= deadline);
  }
}

static void asking_leaves_no_mark(void) {
  arena_t *arena = make_arena(0);
  CHECK_EQUAL(cipc_event_wait(&arena->event, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(arena->event.word, 0);
}

static void wait_for_it(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_event_wait(&arena->event, soon()), 0);
  (void)__atomic_add_fetch(&arena->ended, 1, __ATOMIC_SEQ_CST);
}

static void all_who_wait_are_released(void) {
  arena_t *arena = make_arena(0);
  pid_t waiters[5];
  for (int i = 0; i < 5; i++) waiters[i] = child_start(wait_for_it, arena);
  for (int i = 0; i < 5; i++) wait_until_asleep(waiters[i]);
  CHECK_EQUAL(arena->ended, 0);
  cipc_event_set(&arena->event);
  for (int i = 0; i < 5; i++) CHECK_EQUAL(child_join(waiters[i]), 0);
  CHECK_EQUAL(arena->ended, 5);
  CHECK(cipc_event_is_set(&arena->event));
}

static void all_who_waited_are_released_when_it_is_cleared_at_once(void) {
  arena_t *arena = make_arena(0);
  pid_t waiters[5];
  for (int i = 0; i < 5; i++) waiters[i] = child_start(wait_for_it, arena);
  for (int i = 0; i < 5; i++) wait_until_asleep(waiters[i]);
  // Stopped, so that none can look before it is cleared.
  for (int i = 0; i < 5; i++) {
    int state = 0;
    CHECK(kill(waiters[i], SIGSTOP) == 0);
    CHECK(waitpid(waiters[i], &state, WUNTRACED) == waiters[i] && WIFSTOPPED(state));
  }
  cipc_event_set(&arena->event);
  cipc_event_clear(&arena->event);
  for (int i = 0; i < 5; i++) CHECK(kill(waiters[i], SIGCONT) == 0);
  for (int i = 0; i < 5; i++) CHECK_EQUAL(child_join(waiters[i]), 0);
  CHECK(!cipc_event_is_set(&arena->event));
  CHECK_EQUAL(cipc_event_wait(&arena->event, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
}

static void a_step_says_where_to_sleep(void) {
  arena_t *arena = make_arena(0);
  cipc_wait_t wait;
  uint32_t begin = cipc_event_begin(&arena->event);
  CHECK_EQUAL(cipc_event_step(&arena->event, begin, &wait), CIPC_EAGAIN);
  CHECK(wait.word == &arena->event.word);
  CHECK_EQUAL(*wait.word, wait.expected);
  CHECK_EQUAL(cipc_event_step(&arena->event, begin, &wait), CIPC_EAGAIN);
  CHECK_EQUAL(*wait.word, wait.expected);
  cipc_event_set(&arena->event);
  CHECK(*wait.word != wait.expected);
  CHECK_EQUAL(cipc_event_step(&arena->event, begin, &wait), 0);
  cipc_event_clear(&arena->event);
  // The wait that began before goes on to be over; a new one is not.
  CHECK_EQUAL(cipc_event_step(&arena->event, begin, &wait), 0);
  begin = cipc_event_begin(&arena->event);
  CHECK_EQUAL(cipc_event_step(&arena->event, begin, &wait), CIPC_EAGAIN);
}

// The count of how often it was set goes on at 0 when it is full.
static void generations_begin_anew(void) {
  arena_t *arena = make_arena(0);
  arena->event.word = ~CIPC_EVENT_SET;
  uint32_t begin = cipc_event_begin(&arena->event);
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_event_step(&arena->event, begin, &wait), CIPC_EAGAIN);
  cipc_event_set(&arena->event);
  CHECK(cipc_event_is_set(&arena->event));
  cipc_event_clear(&arena->event);
  CHECK_EQUAL(arena->event.word, 0);
  CHECK_EQUAL(cipc_event_step(&arena->event, begin, &wait), 0);
}

static void set_and_die_before_waking(void *argument) {
  arena_t *arena = argument;
  // What `set` stores, without the wake-up that follows.
  uint32_t word = __atomic_load_n(&arena->event.word, __ATOMIC_SEQ_CST);
  CHECK((word & CIPC_EVENT_WAITERS) != 0);
  __atomic_store_n(&arena->event.word, ((word + 4) & ~CIPC_EVENT_WAITERS) | CIPC_EVENT_SET,
                   __ATOMIC_SEQ_CST);
  (void)raise(SIGKILL);
}

static void those_who_wait_go_on_when_the_setter_is_killed(void) {
  arena_t *arena = make_arena(0);
  pid_t waiters[3];
  for (int i = 0; i < 3; i++) waiters[i] = child_start(wait_for_it, arena);
  for (int i = 0; i < 3; i++) wait_until_asleep(waiters[i]);
  CHECK_EQUAL(child_join(child_start(set_and_die_before_waking, arena)), -SIGKILL);
  for (int i = 0; i < 3; i++) CHECK_EQUAL(child_join(waiters[i]), 0);
}

static void those_who_wait_go_on_when_waiters_are_killed(void) {
  arena_t *arena = make_arena(0);
  pid_t victim = child_start(wait_for_it, arena);
  pid_t waiter = child_start(wait_for_it, arena);
  wait_until_asleep(victim);
  wait_until_asleep(waiter);
  child_kill(victim);
  cipc_event_set(&arena->event);
  CHECK_EQUAL(child_join(waiter), 0);
}

#define ROUNDS 20000

static void answer(void *argument) {
  arena_t *arena = argument;
  for (uint64_t i = 1; i <= ROUNDS; i++) {
    CHECK_EQUAL(cipc_event_wait(&arena->event, soon()), 0);
    cipc_event_clear(&arena->event);
    CHECK_EQUAL(arena->data, i);
    cipc_event_set(&arena->answer);
  }
}

// `data` is not atomic, on purpose.
static void what_was_written_before_is_seen(void) {
  arena_t *arena = make_arena(0);
  pid_t child = child_start(answer, arena);
  for (uint64_t i = 1; i <= ROUNDS; i++) {
    arena->data = i;
    cipc_event_set(&arena->event);
    CHECK_EQUAL(cipc_event_wait(&arena->answer, soon()), 0);
    cipc_event_clear(&arena->answer);
  }
  CHECK_EQUAL(child_join(child), 0);
}

static void *collect(void *argument) {
  arena_t *arena = argument;
  uint64_t sum = 0;
  while (sum < ROUNDS) {
    CHECK_EQUAL(cipc_event_wait(&arena->event, soon()), 0);
    cipc_event_clear(&arena->event);
    sum += __atomic_exchange_n(&arena->data, 0, __ATOMIC_RELAXED);
  }
  return NULL;
}

// Setting an event that is set already is seen by the process that clears it, too.
static void no_set_is_lost_between_clear_and_look(void) {
  arena_t *arena = make_arena(0);
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, collect, arena), 0);
  for (int i = 0; i < ROUNDS; i++) {
    (void)__atomic_add_fetch(&arena->data, 1, __ATOMIC_RELAXED);
    cipc_event_set(&arena->event);
  }
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

static void wait_again_and_again(void *argument) {
  arena_t *arena = argument;
  for (;;) {
    CHECK_EQUAL(cipc_event_wait(&arena->event, soon()), 0);
    if (__atomic_load_n(&arena->gate, __ATOMIC_SEQ_CST) == 1) return;
    cipc_event_clear(&arena->event);
  }
}

static void setting_and_clearing_races_with_waiting(void) {
  arena_t *arena = make_arena(0);
  for (int i = 0; i < 4; i++) (void)child_start(wait_again_and_again, arena);
  for (int i = 0; i < ROUNDS; i++) {
    cipc_event_set(&arena->event);
    if (i % 3 == 0) cipc_event_clear(&arena->event);
  }
  __atomic_store_n(&arena->gate, 1, __ATOMIC_SEQ_CST);
  // Some are between their look at the gate and clearing it.
  int left = 4;
  cipc_deadline_t deadline = soon();
  while (left > 0) {
    cipc_event_set(&arena->event);
    int ended = 0;
    pid_t pid = waitpid(-1, &ended, WNOHANG);
    CHECK(cipc_clock_now() < deadline);
    if (pid == 0) {
      (void)sched_yield();
      continue;
    }
    CHECK_EQUAL(ended, 0);
    left--;
  }
}

static void any_bytes_are_an_event(void) {
  arena_t *arena = make_arena(0);
  memset(&arena->event, 0xff, sizeof arena->event);
  CHECK(cipc_event_is_set(&arena->event));
  cipc_event_set(&arena->event);
  cipc_event_clear(&arena->event);
  CHECK(!cipc_event_is_set(&arena->event));
  CHECK_EQUAL(cipc_event_wait(&arena->event, cipc_clock_deadline(MILLISECOND)), CIPC_ETIMEDOUT);
}

static int is_readable(cipc_readiness_t *watch, int milliseconds) {
  struct pollfd entry = {.fd = cipc_readiness_descriptor(watch), .events = POLLIN};
  int count = poll(&entry, 1, milliseconds);
  CHECK(count >= 0);
  return count;
}

static void a_watch_tells_of_a_set(void) {
  arena_t *arena = make_arena(0);
  int before = child_descriptors();
  cipc_readiness_t *watch = NULL;
  CHECK_EQUAL(cipc_event_readiness_open(&watch, &arena->event), 0);
  for (int i = 0; i < 20; i++) {
    CHECK_EQUAL(cipc_readiness_look(watch), 0);
    CHECK_EQUAL(cipc_readiness_look(watch), 0);
    cipc_event_set(&arena->event);
    CHECK(is_readable(watch, -1));
    CHECK_EQUAL(cipc_readiness_look(watch), 1);
    cipc_event_clear(&arena->event);
  }
  // Nothing happens: it asks to be looked at again, and is not readable for longer than that.
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_readiness_look(watch), 0);
    CHECK(is_readable(watch, -1));
  }
  cipc_readiness_close(watch);
  cipc_readiness_close(NULL);
  CHECK_EQUAL(child_descriptors(), before);
}

static void a_watch_is_closed_whatever_is_under_way(void) {
  arena_t *arena = make_arena(0);
  int before = child_descriptors();
  for (int i = 0; i < 300; i++) {
    cipc_readiness_t *watch = NULL;
    CHECK_EQUAL(cipc_event_readiness_open(&watch, &arena->event), 0);
    CHECK_EQUAL(cipc_readiness_look(watch), 0);
    if (i % 2 == 0) cipc_event_set(&arena->event);
    if (i % 4 == 0) CHECK(is_readable(watch, -1));
    cipc_readiness_close(watch);
    cipc_event_clear(&arena->event);
  }
  // The last callbacks close theirs when they come.
  cipc_deadline_t deadline = soon();
  while (child_descriptors() != before) {
    CHECK(cipc_clock_now() < deadline);
    (void)sched_yield();
  }
}

int main(void) {
  TEST(a_new_one_is_as_it_was_made);
  TEST(set_and_clear);
  TEST(deadlines_are_kept);
  TEST(asking_leaves_no_mark);
  TEST(all_who_wait_are_released);
  TEST(all_who_waited_are_released_when_it_is_cleared_at_once);
  TEST(a_step_says_where_to_sleep);
  TEST(generations_begin_anew);
  TEST(those_who_wait_go_on_when_the_setter_is_killed);
  TEST(those_who_wait_go_on_when_waiters_are_killed);
  TEST(what_was_written_before_is_seen);
  TEST(no_set_is_lost_between_clear_and_look);
  TEST(setting_and_clearing_races_with_waiting);
  TEST(any_bytes_are_an_event);
  TEST(a_watch_tells_of_a_set);
  TEST(a_watch_is_closed_whatever_is_under_way);
  return check_finish();
}
