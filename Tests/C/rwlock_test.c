/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/rwlock.h"

#include <pthread.h>

#include "child.h"

#define MILLISECOND INT64_C(1000000)
#define LINES 4
#define PLACES (LINES * CIPC_RWLOCK_LINE_READERS)

// What the children of one test share.
typedef struct arena {
  union {
    cipc_rwlock_t lock;
    char room[CIPC_RWLOCK_HEAD + LINES * 64];
  };
  // Not atomic, on purpose: what the lock guards.
  uint64_t counter;
  uint64_t twice;
  uint32_t gate;
  uint32_t gate2;
  uint32_t stop;
  int expected;
} arena_t;

static arena_t *make_arena(void) {
  arena_t *arena = child_shared(sizeof *arena);
  CHECK_EQUAL(cipc_rwlock_footprint(LINES), sizeof arena->room);
  CHECK_EQUAL(cipc_rwlock_init(&arena->lock, LINES), 0);
  return arena;
}

static cipc_deadline_t soon(void) { return cipc_clock_deadline(CHILD_PATIENCE); }

static void read_lock(arena_t *arena) {
  CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, soon()), 0);
}
static void read_unlock(arena_t *arena) {
  CHECK_EQUAL(cipc_rwlock_read_unlock(&arena->lock, LINES), 0);
}
static void write_lock(arena_t *arena) {
  CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, soon()), 0);
}
static void write_unlock(arena_t *arena) {
  CHECK_EQUAL(cipc_rwlock_write_unlock(&arena->lock, LINES), 0);
}

static void expect_free(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), 0);
  write_unlock(arena);
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), 0);
  read_unlock(arena);
}

static void expect_read_held(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), 0);
  read_unlock(arena);
  CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), CIPC_EBUSY);
  CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, -1), CIPC_ETIMEDOUT);
}

static void expect_write_held(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_EBUSY);
  CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, INT64_MIN), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), CIPC_EBUSY);
}

static void expect_owner_died(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, soon()), CIPC_OWNER_DIED);
  read_unlock(arena);
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_OWNER_DIED);
  read_unlock(arena);
  CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, soon()), CIPC_OWNER_DIED);
  write_unlock(arena);
  CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), CIPC_OWNER_DIED);
  write_unlock(arena);
}

static void in_child(void (*body)(void *), void *argument) {
  CHECK_EQUAL(child_join(child_start(body, argument)), 0);
}

typedef struct task {
  void (*body)(void *);
  void *argument;
} task_t;

static void *run_task(void *argument) {
  task_t *task = argument;
  task->body(task->argument);
  return NULL;
}

static void in_thread(void (*body)(void *), void *argument) {
  task_t task = {body, argument};
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, run_task, &task), 0);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

static void repair(arena_t *arena) {
  CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, soon()), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_rwlock_recover(&arena->lock), 0);
  CHECK_EQUAL(cipc_rwlock_casualty(&arena->lock), 0);
  write_unlock(arena);
}

// MARK: Holders and waiters

static void hold_to_read(void *argument) {
  arena_t *arena = argument;
  read_lock(arena);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void hold_to_write(void *argument) {
  arena_t *arena = argument;
  int status = cipc_rwlock_write_lock(&arena->lock, LINES, soon());
  CHECK(status == 0 || status == CIPC_OWNER_DIED);
  gate_set(&arena->gate, 1);
  child_hang();
}

static pid_t start_holder(arena_t *arena, void (*hold)(void *)) {
  arena->gate = 0;
  pid_t child = child_start(hold, arena);
  gate_wait(&arena->gate, 1);
  return child;
}

static void read_while_asked(void *argument) {
  arena_t *arena = argument;
  read_lock(arena);
  gate_set(&arena->gate, 1);
  gate_wait(&arena->gate2, 1);
  read_unlock(arena);
}

static void write_once(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, soon()), arena->expected);
  arena->counter++;
  write_unlock(arena);
}

static void read_once(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, soon()), arena->expected);
  read_unlock(arena);
}

// Bits of `state`, as rwlock.c has them.
enum { CLOSED = 1, ACTIVE = 2, WAITERS = 8 };

static void await_state(arena_t *arena, uint32_t bits) {
  cipc_deadline_t deadline = soon();
  while ((__atomic_load_n(&arena->lock.state, __ATOMIC_SEQ_CST) & bits) != bits) {
    CHECK(cipc_clock_now() < deadline);
    (void)sched_yield();
  }
}

static int sleeps(pid_t pid) {
  char path[40];
  char text[512];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  FILE *file = fopen(path, "re");
  CHECK(file != NULL);
  size_t length = fread(text, 1, sizeof text - 1, file);
  (void)fclose(file);
  text[length] = '\0';
  return strstr(text, ") S ") != NULL;
}

static void await_sleep(pid_t pid) {
  cipc_deadline_t deadline = soon();
  while (!sleeps(pid)) {
    CHECK(cipc_clock_now() < deadline);
    (void)sched_yield();
  }
}

// MARK: Locking

static void sizes_are_checked(void) {
  arena_t *arena = make_arena();
  const uint32_t wrong[] = {0, 3, 6, CIPC_RWLOCK_LINES_MAXIMUM * 2, UINT32_MAX};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    CHECK(cipc_rwlock_footprint(wrong[i]) == SIZE_MAX);
    CHECK_EQUAL(cipc_rwlock_init(&arena->lock, wrong[i]), CIPC_EINVAL);
  }
  CHECK_EQUAL(cipc_rwlock_footprint(1), CIPC_RWLOCK_HEAD + 64);
  CHECK_EQUAL(cipc_rwlock_footprint(CIPC_RWLOCK_LINES_MAXIMUM),
              CIPC_RWLOCK_HEAD + 64 * CIPC_RWLOCK_LINES_MAXIMUM);
}

static void a_new_lock_is_free(void) {
  arena_t *arena = make_arena();
  expect_free(arena);
  in_child(expect_free, arena);
  CHECK_EQUAL(cipc_rwlock_casualty(&arena->lock), 0);
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), 0);
  CHECK(cipc_rwlock_writer(&arena->lock) == CIPC_PARTICIPANT_NOBODY);
}

static void readers_share_and_writers_exclude(void) {
  arena_t *arena = make_arena();
  read_lock(arena);
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), 1);
  in_child(expect_read_held, arena);
  in_thread(expect_read_held, arena);
  read_unlock(arena);
  expect_free(arena);
  write_lock(arena);
  CHECK(cipc_rwlock_writer(&arena->lock) == cipc_participant_self());
  in_child(expect_write_held, arena);
  in_thread(expect_write_held, arena);
  write_unlock(arena);
  in_child(expect_free, arena);
}

#define ROUNDS 4000

static void change_and_look(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < ROUNDS; i++) {
    write_lock(arena);
    arena->counter++;
    if (i % 64 == 0) (void)sched_yield();
    arena->twice += 2;
    write_unlock(arena);
    for (int j = 0; j < 3; j++) {
      read_lock(arena);
      uint64_t counter = arena->counter;
      if (i % 64 == 1) (void)sched_yield();
      CHECK(arena->twice == 2 * counter);
      read_unlock(arena);
    }
  }
}

static void change_in_two_threads(void *argument) {
  arena_t *arena = argument;
  gate_wait(&arena->gate, 1);
  task_t task = {change_and_look, arena};
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, run_task, &task), 0);
  change_and_look(arena);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

static void readers_see_no_half_change(void) {
  arena_t *arena = make_arena();
  pid_t children[3];
  for (int i = 0; i < 3; i++) children[i] = child_start(change_in_two_threads, arena);
  gate_set(&arena->gate, 1);
  for (int i = 0; i < 3; i++) CHECK_EQUAL(child_join(children[i]), 0);
  CHECK_EQUAL(arena->counter, 3 * 2 * ROUNDS);
  CHECK_EQUAL(arena->lock.state, 0);
  expect_free(arena);
}

static void only_holders_unlock(void) {
  arena_t *arena = make_arena();
  CHECK_EQUAL(cipc_rwlock_read_unlock(&arena->lock, LINES), CIPC_EPERM);
  CHECK_EQUAL(cipc_rwlock_write_unlock(&arena->lock, LINES), CIPC_EPERM);
  CHECK_EQUAL(cipc_rwlock_recover(&arena->lock), CIPC_EPERM);
  read_lock(arena);
  CHECK_EQUAL(cipc_rwlock_write_unlock(&arena->lock, LINES), CIPC_EPERM);
  read_unlock(arena);
  CHECK_EQUAL(cipc_rwlock_read_unlock(&arena->lock, LINES), CIPC_EPERM);
  write_lock(arena);
  CHECK_EQUAL(cipc_rwlock_read_unlock(&arena->lock, LINES), CIPC_EPERM);
  CHECK_EQUAL(cipc_rwlock_recover(&arena->lock), 0);
  write_unlock(arena);
  CHECK_EQUAL(cipc_rwlock_read_leave(&arena->lock, LINES, cipc_participant_self(), UINT32_MAX),
              CIPC_EPERM);
  expect_free(arena);
}

static void expect_nothing_held(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_read_unlock(&arena->lock, LINES), CIPC_EPERM);
  CHECK_EQUAL(cipc_rwlock_write_unlock(&arena->lock, LINES), CIPC_EPERM);
  CHECK_EQUAL(cipc_rwlock_recover(&arena->lock), CIPC_EPERM);
}

static void a_forked_child_holds_nothing_of_its_parents(void) {
  arena_t *arena = make_arena();
  read_lock(arena);
  in_child(expect_nothing_held, arena);
  in_child(expect_read_held, arena);
  read_unlock(arena);
  write_lock(arena);
  in_child(expect_nothing_held, arena);
  in_child(expect_write_held, arena);
  write_unlock(arena);
  expect_free(arena);
}

static void what_would_wait_for_itself_is_an_error(void) {
  arena_t *arena = make_arena();
  const cipc_deadline_t deadlines[] = {CIPC_IMMEDIATELY, CIPC_NO_DEADLINE};
  for (int i = 0; i < 2; i++) {
    write_lock(arena);
    CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, deadlines[i]), CIPC_EDEADLK);
    CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, deadlines[i]), CIPC_EDEADLK);
    write_unlock(arena);
    read_lock(arena);
    CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, deadlines[i]), CIPC_EDEADLK);
    read_unlock(arena);
    in_child(expect_free, arena);
  }
  // Also with others in the way.
  read_lock(arena);
  pid_t other = start_holder(arena, hold_to_read);
  CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), CIPC_EDEADLK);
  CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, CIPC_NO_DEADLINE), CIPC_EDEADLK);
  in_child(expect_read_held, arena);
  child_kill(other);
  read_unlock(arena);
}

static void a_thread_that_reads_may_read_again_while_a_writer_waits(void) {
  arena_t *arena = make_arena();
  for (int i = 0; i < 3; i++) read_lock(arena);
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), 3);
  pid_t writer = child_start(write_once, arena);
  await_state(arena, CLOSED);
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, CIPC_NO_DEADLINE), 0);
  }
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), 0);
  for (int i = 0; i < 7; i++) {
    CHECK_EQUAL(arena->counter, 0);
    read_unlock(arena);
  }
  CHECK_EQUAL(child_join(writer), 0);
  CHECK_EQUAL(arena->counter, 1);
  CHECK_EQUAL(cipc_rwlock_read_unlock(&arena->lock, LINES), CIPC_EPERM);
}

static void a_writer_that_waits_holds_new_readers_back(void) {
  arena_t *arena = make_arena();
  pid_t reader = child_start(read_while_asked, arena);
  gate_wait(&arena->gate, 1);
  pid_t writer = child_start(write_once, arena);
  await_state(arena, CLOSED);
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_EBUSY);
  CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, cipc_clock_deadline(20 * MILLISECOND)),
              CIPC_ETIMEDOUT);
  gate_set(&arena->gate2, 1);
  // No thread reads until it has written.
  read_lock(arena);
  CHECK_EQUAL(arena->counter, 1);
  read_unlock(arena);
  CHECK_EQUAL(child_join(reader), 0);
  CHECK_EQUAL(child_join(writer), 0);
}

static void read_for_ever(void *argument) {
  arena_t *arena = argument;
  gate_set(&arena->gate, 1);
  while (!__atomic_load_n(&arena->stop, __ATOMIC_RELAXED)) {
    read_lock(arena);
    read_unlock(arena);
  }
}

// Each reads all the time, so that there is always one inside.
static void writers_do_not_starve(void) {
  arena_t *arena = make_arena();
  pid_t readers[4];
  for (int i = 0; i < 4; i++) readers[i] = start_holder(arena, read_for_ever);
  for (int i = 0; i < 500; i++) {
    write_lock(arena);
    arena->counter++;
    write_unlock(arena);
  }
  __atomic_store_n(&arena->stop, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 4; i++) CHECK_EQUAL(child_join(readers[i]), 0);
  expect_free(arena);
}

static void write_for_ever(void *argument) {
  arena_t *arena = argument;
  gate_set(&arena->gate, 1);
  while (!__atomic_load_n(&arena->stop, __ATOMIC_RELAXED)) {
    write_lock(arena);
    arena->counter++;
    write_unlock(arena);
  }
}

static void readers_do_not_starve(void) {
  arena_t *arena = make_arena();
  pid_t writers[3];
  for (int i = 0; i < 3; i++) writers[i] = start_holder(arena, write_for_ever);
  for (int i = 0; i < 500; i++) {
    read_lock(arena);
    read_unlock(arena);
  }
  __atomic_store_n(&arena->stop, 1, __ATOMIC_RELAXED);
  for (int i = 0; i < 3; i++) CHECK_EQUAL(child_join(writers[i]), 0);
  expect_free(arena);
}

// A reader that slept while one wrote is in before the next one, however fast that is.
static void who_waits_to_read_is_let_in_before_the_next_writer(void) {
  arena_t *arena = make_arena();
  write_lock(arena);
  pid_t reader = child_start(read_while_asked, arena);
  await_state(arena, CLOSED | ACTIVE | WAITERS);
  await_sleep(reader);
  CHECK(kill(reader, SIGSTOP) == 0);
  write_unlock(arena);
  // It has not run, and is inside.
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), 1);
  CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, cipc_clock_deadline(20 * MILLISECOND)),
              CIPC_ETIMEDOUT);
  CHECK(kill(reader, SIGCONT) == 0);
  gate_wait(&arena->gate, 1);
  gate_set(&arena->gate2, 1);
  write_lock(arena);
  write_unlock(arena);
  CHECK_EQUAL(child_join(reader), 0);
}

static void deadlines_are_kept(void) {
  arena_t *arena = make_arena();
  const int64_t waits[] = {20 * MILLISECOND, 450 * MILLISECOND};
  pid_t writer = start_holder(arena, hold_to_write);
  for (int i = 0; i < 2; i++) {
    cipc_deadline_t deadline = cipc_clock_deadline(waits[i]);
    CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, deadline), CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= deadline);
    deadline = cipc_clock_deadline(waits[i]);
    CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, deadline), CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= deadline);
  }
  child_kill(writer);
  repair(arena);
  pid_t reader = start_holder(arena, hold_to_read);
  for (int i = 0; i < 2; i++) {
    cipc_deadline_t deadline = cipc_clock_deadline(waits[i]);
    CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, deadline), CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= deadline);
    // A writer that gave up lets readers in again.
    read_lock(arena);
    read_unlock(arena);
  }
  child_kill(reader);
  CHECK_EQUAL(arena->lock.state, 0);
}

static void who_waited_behind_a_writer_that_gives_up_goes_on(void) {
  arena_t *arena = make_arena();
  pid_t holder = start_holder(arena, hold_to_read);
  arena->expected = 0;
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, cipc_participant_self(), 0, &wait),
              CIPC_EAGAIN);
  pid_t reader = child_start(read_once, arena);
  await_state(arena, CLOSED | WAITERS);
  CHECK_EQUAL(cipc_rwlock_write_abandon(&arena->lock, LINES, cipc_participant_self()), 0);
  CHECK_EQUAL(child_join(reader), 0);
  child_kill(holder);
}

static void *fill_places(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < PLACES; i++) read_lock(arena);
  gate_set(&arena->gate, 1);
  gate_wait(&arena->gate2, 1);
  for (int i = 0; i < PLACES; i++) read_unlock(arena);
  return NULL;
}

static void one_reader_too_many_waits_for_a_place(void) {
  arena_t *arena = make_arena();
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, fill_places, arena), 0);
  gate_wait(&arena->gate, 1);
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), PLACES);
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_EBUSY);
  CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, cipc_clock_deadline(20 * MILLISECOND)),
              CIPC_ETIMEDOUT);
  pid_t reader = child_start(read_once, arena);
  await_sleep(reader);
  gate_set(&arena->gate2, 1);
  CHECK_EQUAL(child_join(reader), 0);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
  read_lock(arena);
  read_unlock(arena);
  CHECK_EQUAL(arena->lock.state, 0);
}

// MARK: Death

static void fill_and_hang(void *argument) { (void)fill_places(argument); }

static void the_places_of_the_dead_come_back(void) {
  arena_t *arena = make_arena();
  child_kill(start_holder(arena, fill_and_hang));
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), PLACES);
  read_lock(arena);
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), 1);
  read_unlock(arena);
  child_kill(start_holder(arena, fill_and_hang));
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), 0);
  read_unlock(arena);
}

static void the_share_of_a_dead_reader_comes_back(void) {
  arena_t *arena = make_arena();
  for (int i = 0; i < 2; i++) {
    pid_t reader = start_holder(arena, hold_to_read);
    CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), CIPC_EBUSY);
    child_kill(reader);
    // Without waiting as well as with it.
    cipc_deadline_t deadline = i == 0 ? CIPC_IMMEDIATELY : soon();
    CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, deadline), 0);
    write_unlock(arena);
    expect_free(arena);
  }
}

static void a_writer_that_waits_goes_on_when_the_reader_is_killed(void) {
  arena_t *arena = make_arena();
  pid_t reader = start_holder(arena, hold_to_read);
  pid_t writer = child_start(write_once, arena);
  await_state(arena, CLOSED);
  await_sleep(writer);
  child_kill(reader);
  CHECK_EQUAL(child_join(writer), 0);
  expect_free(arena);
}

static void read_and_leave(void *argument) { read_lock(argument); }

static void a_thread_that_ends_reading_is_dead(void) {
  arena_t *arena = make_arena();
  in_thread(read_and_leave, arena);
  write_lock(arena);
  write_unlock(arena);
  expect_free(arena);
}

static void write_and_leave(void *argument) { write_lock(argument); }

static void a_thread_that_ends_writing_is_dead(void) {
  arena_t *arena = make_arena();
  in_thread(write_and_leave, arena);
  expect_owner_died(arena);
  CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, soon()), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_rwlock_casualty(&arena->lock), getpid());
  read_unlock(arena);
  repair(arena);
  expect_free(arena);
}

static void all_are_told_of_a_dead_writer_until_one_recovers(void) {
  arena_t *arena = make_arena();
  pid_t dead = start_holder(arena, hold_to_write);
  child_kill(dead);
  for (int i = 0; i < 2; i++) {
    expect_owner_died(arena);
    in_child(expect_owner_died, arena);
    CHECK_EQUAL(cipc_rwlock_casualty(&arena->lock), dead);
  }
  repair(arena);
  expect_free(arena);
  in_child(expect_free, arena);
}

static void expect_read_held_dirty(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_OWNER_DIED);
  read_unlock(arena);
  CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), CIPC_EBUSY);
}

static void a_reader_is_the_first_to_be_told(void) {
  arena_t *arena = make_arena();
  child_kill(start_holder(arena, hold_to_write));
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), 1);
  CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), CIPC_EDEADLK);
  in_child(expect_read_held_dirty, arena);
  read_unlock(arena);
  repair(arena);
}

static void a_second_writer_killed_before_it_recovers(void) {
  arena_t *arena = make_arena();
  child_kill(start_holder(arena, hold_to_write));
  child_kill(start_holder(arena, hold_to_write));
  expect_owner_died(arena);
  repair(arena);
  expect_free(arena);
}

static void recover_and_hang(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, soon()), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_rwlock_recover(&arena->lock), 0);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void a_writer_killed_after_it_recovered_is_another_death(void) {
  arena_t *arena = make_arena();
  child_kill(start_holder(arena, hold_to_write));
  pid_t dead = start_holder(arena, recover_and_hang);
  child_kill(dead);
  expect_owner_died(arena);
  CHECK_EQUAL(cipc_rwlock_casualty(&arena->lock), dead);
  repair(arena);
}

static void those_who_wait_go_on_when_the_writer_is_killed(void) {
  arena_t *arena = make_arena();
  pid_t writer = start_holder(arena, hold_to_write);
  arena->expected = CIPC_OWNER_DIED;
  pid_t waiters[4];
  for (int i = 0; i < 4; i++) waiters[i] = child_start(i % 2 ? read_once : write_once, arena);
  for (int i = 0; i < 4; i++) await_sleep(waiters[i]);
  child_kill(writer);
  for (int i = 0; i < 4; i++) CHECK_EQUAL(child_join(waiters[i]), 0);
  repair(arena);
}

static void a_writer_killed_while_it_waits_has_changed_nothing(void) {
  arena_t *arena = make_arena();
  read_lock(arena);
  pid_t writer = child_start(write_once, arena);
  await_state(arena, CLOSED);
  pid_t reader = child_start(read_once, arena);
  await_state(arena, CLOSED | WAITERS);
  child_kill(writer);
  CHECK_EQUAL(child_join(reader), 0);
  in_child(expect_read_held, arena);
  read_unlock(arena);
  expect_free(arena);
  CHECK_EQUAL(arena->counter, 0);
}

static void the_next_writer_is_not_told_of_one_killed_while_it_waited(void) {
  arena_t *arena = make_arena();
  read_lock(arena);
  pid_t writer = child_start(write_once, arena);
  await_state(arena, CLOSED);
  child_kill(writer);
  pid_t next = child_start(write_once, arena);
  await_sleep(next);
  read_unlock(arena);
  CHECK_EQUAL(child_join(next), 0);
  expect_free(arena);
}

static void those_who_wait_go_on_when_waiters_are_killed(void) {
  arena_t *arena = make_arena();
  write_lock(arena);
  pid_t victims[6];
  for (int i = 0; i < 6; i++) victims[i] = child_start(i % 2 ? read_once : write_once, arena);
  for (int i = 0; i < 6; i++) await_sleep(victims[i]);
  for (int i = 0; i < 6; i++) CHECK(kill(victims[i], SIGKILL) == 0);
  write_unlock(arena);
  for (int i = 0; i < 6; i++) (void)child_join(victims[i]);
  write_lock(arena);
  write_unlock(arena);
  expect_free(arena);
}

static void stopped_is_not_dead(void) {
  arena_t *arena = make_arena();
  pid_t reader = start_holder(arena, hold_to_read);
  CHECK(kill(reader, SIGSTOP) == 0);
  CHECK_EQUAL(cipc_rwlock_write_lock(&arena->lock, LINES, cipc_clock_deadline(450 * MILLISECOND)),
              CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), CIPC_EBUSY);
  child_kill(reader);
  pid_t writer = start_holder(arena, hold_to_write);
  CHECK(kill(writer, SIGSTOP) == 0);
  CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, cipc_clock_deadline(450 * MILLISECOND)),
              CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_EBUSY);
  child_kill(writer);
  repair(arena);
}

static void change_for_ever(void *argument) {
  arena_t *arena = argument;
  gate_set(&arena->gate, 1);
  for (;;) {
    int status = cipc_rwlock_write_lock(&arena->lock, LINES, CIPC_NO_DEADLINE);
    CHECK(status == 0 || status == CIPC_OWNER_DIED);
    arena->twice = 2 * arena->counter;
    CHECK_EQUAL(cipc_rwlock_recover(&arena->lock), 0);
    arena->counter++;
    arena->twice += 2;
    write_unlock(arena);
    status = cipc_rwlock_read_lock(&arena->lock, LINES, CIPC_NO_DEADLINE);
    CHECK(status == CIPC_OWNER_DIED || arena->twice == 2 * arena->counter);
    read_unlock(arena);
  }
}

// Wherever the kill falls, with another in the middle of the same.
static void killed_anywhere_it_stays_usable(void) {
  arena_t *arena = make_arena();
  pid_t other = start_holder(arena, change_for_ever);
  for (int i = 0; i < 150; i++) {
    pid_t one = start_holder(arena, change_for_ever);
    for (int spin = 0; spin < i * 10; spin++) __asm__ volatile("" ::: "memory");
    child_kill(one);
    int status = cipc_rwlock_read_lock(&arena->lock, LINES, soon());
    CHECK(status == CIPC_OWNER_DIED || (status == 0 && arena->twice == 2 * arena->counter));
    read_unlock(arena);
  }
  child_kill(other);
  int status = cipc_rwlock_write_lock(&arena->lock, LINES, soon());
  CHECK(status == CIPC_OWNER_DIED || (status == 0 && arena->twice == 2 * arena->counter));
  CHECK_EQUAL(cipc_rwlock_recover(&arena->lock), 0);
  write_unlock(arena);
  expect_free(arena);
}

// MARK: Steps

static int step_until_done(arena_t *arena, cipc_participant_t reader, uint32_t *place) {
  int look = 0;
  for (;;) {
    cipc_wait_t wait;
    int status = cipc_rwlock_read_step(&arena->lock, LINES, reader, look, place, &wait);
    if (status != CIPC_EAGAIN) return status;
    status = cipc_wait_sleep(&wait, soon());
    if (status < 0) return status;
    look = status == CIPC_WAIT_LOOK;
  }
}

static void steps_read_in_the_name_of_a_process(void) {
  arena_t *arena = make_arena();
  cipc_participant_t self = cipc_participant_self();
  uint32_t places[2] = {CIPC_RWLOCK_NOWHERE, CIPC_RWLOCK_NOWHERE};
  for (int i = 0; i < 2; i++) CHECK_EQUAL(step_until_done(arena, self, &places[i]), 0);
  CHECK(places[0] != places[1]);
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), 2);
  // Not this thread's, which might wait for another one to give them up.
  CHECK_EQUAL(cipc_rwlock_read_unlock(&arena->lock, LINES), CIPC_EPERM);
  CHECK_EQUAL(cipc_rwlock_write_trylock(&arena->lock, LINES), CIPC_EBUSY);
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_rwlock_read_leave(&arena->lock, LINES, self, places[i]), 0);
    CHECK_EQUAL(cipc_rwlock_read_leave(&arena->lock, LINES, self, places[i]), CIPC_EPERM);
  }
  expect_free(arena);
}

static void a_step_in_vain_can_be_abandoned(void) {
  arena_t *arena = make_arena();
  pid_t writer = start_holder(arena, hold_to_write);
  cipc_participant_t self = cipc_participant_self();
  uint32_t place = CIPC_RWLOCK_NOWHERE;
  cipc_wait_t wait;
  for (int look = 0; look < 2; look++) {
    CHECK_EQUAL(cipc_rwlock_read_step(&arena->lock, LINES, self, look, &place, &wait), CIPC_EAGAIN);
    CHECK(place < PLACES);
  }
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), 0);
  CHECK_EQUAL(cipc_rwlock_read_abandon(&arena->lock, LINES, self, &place), 0);
  CHECK_EQUAL(place, CIPC_RWLOCK_NOWHERE);
  CHECK_EQUAL(cipc_rwlock_read_abandon(&arena->lock, LINES, self, &place), 0);
  child_kill(writer);
  repair(arena);
}

static void a_step_that_was_let_in_meanwhile_says_so(void) {
  arena_t *arena = make_arena();
  cipc_participant_t self = cipc_participant_self();
  uint32_t place = CIPC_RWLOCK_NOWHERE;
  cipc_wait_t wait;
  pid_t writer = start_holder(arena, hold_to_write);
  CHECK_EQUAL(cipc_rwlock_read_step(&arena->lock, LINES, self, 0, &place, &wait), CIPC_EAGAIN);
  child_kill(writer);
  // Another reader finds the writer dead, and opens the door for all.
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_OWNER_DIED);
  read_unlock(arena);
  CHECK_EQUAL(cipc_rwlock_read_abandon(&arena->lock, LINES, self, &place), 1);
  CHECK_EQUAL(cipc_rwlock_readers(&arena->lock, LINES), 1);
  CHECK_EQUAL(cipc_rwlock_read_leave(&arena->lock, LINES, self, place), 0);
  repair(arena);
}

static void a_step_to_write_keeps_the_door_closed(void) {
  arena_t *arena = make_arena();
  cipc_participant_t self = cipc_participant_self();
  pid_t reader = child_start(read_while_asked, arena);
  gate_wait(&arena->gate, 1);
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, self, 0, &wait), CIPC_EAGAIN);
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_EBUSY);
  CHECK_EQUAL(cipc_rwlock_read_lock(&arena->lock, LINES, cipc_clock_deadline(450 * MILLISECOND)),
              CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, self, 1, &wait), CIPC_EAGAIN);
  gate_set(&arena->gate2, 1);
  CHECK_EQUAL(child_join(reader), 0);
  // The word has changed, so no thread sleeps on it.
  CHECK(__atomic_load_n(wait.word, __ATOMIC_SEQ_CST) != wait.expected);
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, self, 0, &wait), 0);
  in_child(expect_write_held, arena);
  write_unlock(arena);
  expect_free(arena);
  CHECK_EQUAL(arena->lock.state, 0);
}

static void a_step_to_write_waits_for_the_mutex(void) {
  arena_t *arena = make_arena();
  cipc_participant_t self = cipc_participant_self();
  cipc_wait_t wait;
  pid_t holder = start_holder(arena, hold_to_write);
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, self, 0, &wait), CIPC_EAGAIN);
  CHECK(wait.word == &arena->lock.turn);
  child_kill(holder);
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, self, 1, &wait), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_rwlock_recover(&arena->lock), 0);
  uint32_t turn = arena->lock.turn;
  CHECK_EQUAL(turn & 1, 1);
  write_unlock(arena);
  CHECK_EQUAL(arena->lock.turn, turn + 1);
  CHECK_EQUAL(cipc_rwlock_write_abandon(&arena->lock, LINES, self), 0);
  expect_free(arena);
}

static void another_writer_goes_first_and_the_step_is_woken(void) {
  arena_t *arena = make_arena();
  cipc_participant_t self = cipc_participant_self();
  pid_t reader = child_start(read_while_asked, arena);
  gate_wait(&arena->gate, 1);
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, self, 0, &wait), CIPC_EAGAIN);
  pid_t writer = child_start(write_once, arena);
  await_sleep(writer);
  gate_set(&arena->gate2, 1);
  CHECK_EQUAL(child_join(reader), 0);
  CHECK_EQUAL(child_join(writer), 0);
  CHECK(__atomic_load_n(wait.word, __ATOMIC_SEQ_CST) != wait.expected);
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, self, 0, &wait), 0);
  write_unlock(arena);
  expect_free(arena);
}

static void step_and_hang(void *argument) {
  arena_t *arena = argument;
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, cipc_participant_self(), 0, &wait),
              CIPC_EAGAIN);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void expect_closed(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_rwlock_read_trylock(&arena->lock, LINES), CIPC_EBUSY);
}

static void who_dies_waiting_in_steps_leaves_the_door_open(void) {
  arena_t *arena = make_arena();
  read_lock(arena);
  pid_t dead = start_holder(arena, step_and_hang);
  pid_t reader = child_start(read_once, arena);
  await_state(arena, CLOSED | WAITERS);
  child_kill(dead);
  CHECK_EQUAL(child_join(reader), 0);
  dead = start_holder(arena, step_and_hang);
  in_child(expect_closed, arena);
  child_kill(dead);
  in_child(expect_read_held, arena);
  read_unlock(arena);
  expect_free(arena);
}

static void a_step_reads_after_a_death_in_time(void) {
  arena_t *arena = make_arena();
  cipc_participant_t self = cipc_participant_self();
  pid_t writer = start_holder(arena, hold_to_write);
  uint32_t place = CIPC_RWLOCK_NOWHERE;
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_rwlock_read_step(&arena->lock, LINES, self, 0, &place, &wait), CIPC_EAGAIN);
  child_kill(writer);
  CHECK_EQUAL(step_until_done(arena, self, &place), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_rwlock_read_leave(&arena->lock, LINES, self, place), 0);
  repair(arena);
}

static void nobody_is_refused(void) {
  arena_t *arena = make_arena();
  uint32_t place = CIPC_RWLOCK_NOWHERE;
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_rwlock_read_step(&arena->lock, LINES, 0, 0, &place, &wait), CIPC_ESRCH);
  CHECK_EQUAL(cipc_rwlock_write_step(&arena->lock, LINES, 0, 0, &wait), CIPC_ESRCH);
  CHECK_EQUAL(cipc_rwlock_read_leave(&arena->lock, LINES, 0, 0), CIPC_EPERM);
  expect_free(arena);
}

int main(void) {
  TEST(sizes_are_checked);
  TEST(a_new_lock_is_free);
  TEST(readers_share_and_writers_exclude);
  TEST(readers_see_no_half_change);
  TEST(only_holders_unlock);
  TEST(a_forked_child_holds_nothing_of_its_parents);
  TEST(what_would_wait_for_itself_is_an_error);
  TEST(a_thread_that_reads_may_read_again_while_a_writer_waits);
  TEST(a_writer_that_waits_holds_new_readers_back);
  TEST(writers_do_not_starve);
  TEST(readers_do_not_starve);
  TEST(who_waits_to_read_is_let_in_before_the_next_writer);
  TEST(deadlines_are_kept);
  TEST(who_waited_behind_a_writer_that_gives_up_goes_on);
  TEST(one_reader_too_many_waits_for_a_place);
  TEST(the_places_of_the_dead_come_back);
  TEST(the_share_of_a_dead_reader_comes_back);
  TEST(a_writer_that_waits_goes_on_when_the_reader_is_killed);
  TEST(a_thread_that_ends_reading_is_dead);
  TEST(a_thread_that_ends_writing_is_dead);
  TEST(all_are_told_of_a_dead_writer_until_one_recovers);
  TEST(a_reader_is_the_first_to_be_told);
  TEST(a_second_writer_killed_before_it_recovers);
  TEST(a_writer_killed_after_it_recovered_is_another_death);
  TEST(those_who_wait_go_on_when_the_writer_is_killed);
  TEST(a_writer_killed_while_it_waits_has_changed_nothing);
  TEST(the_next_writer_is_not_told_of_one_killed_while_it_waited);
  TEST(those_who_wait_go_on_when_waiters_are_killed);
  TEST(stopped_is_not_dead);
  TEST(killed_anywhere_it_stays_usable);
  TEST(steps_read_in_the_name_of_a_process);
  TEST(a_step_in_vain_can_be_abandoned);
  TEST(a_step_that_was_let_in_meanwhile_says_so);
  TEST(a_step_to_write_keeps_the_door_closed);
  TEST(a_step_to_write_waits_for_the_mutex);
  TEST(another_writer_goes_first_and_the_step_is_woken);
  TEST(who_dies_waiting_in_steps_leaves_the_door_open);
  TEST(a_step_reads_after_a_death_in_time);
  TEST(nobody_is_refused);
  return check_finish();
}
