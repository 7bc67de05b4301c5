/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/mutex.h"

#include <pthread.h>

#include "child.h"

#define MILLISECOND INT64_C(1000000)

// What the children of one test share.
typedef struct arena {
  cipc_mutex_t mutex;
  cipc_mutex_t others[100];
  // Not atomic, on purpose: what the mutex guards.
  uint64_t counter;
  uint64_t inside;
  uint32_t gate;
  uint32_t gate2;
} arena_t;

static arena_t *make_arena(int recursive) {
  arena_t *arena = child_shared(sizeof *arena);
  cipc_mutex_options_t options = {.recursive = recursive};
  CHECK_EQUAL(cipc_mutex_init(&arena->mutex, &options), 0);
  return arena;
}

static void lock(cipc_mutex_t *mutex) {
  CHECK_EQUAL(cipc_mutex_lock(mutex, cipc_clock_deadline(CHILD_PATIENCE)), 0);
}

static void unlock(cipc_mutex_t *mutex) { CHECK_EQUAL(cipc_mutex_unlock(mutex), 0); }

static void in_child(void (*body)(void *), void *argument) {
  CHECK_EQUAL(child_join(child_start(body, argument)), 0);
}

static void in_thread(void *(*body)(void *), void *argument) {
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, body, argument), 0);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

// Takes the mutex, opens the gate and stays.
static void hold(void *argument) {
  arena_t *arena = argument;
  lock(&arena->mutex);
  gate_set(&arena->gate, 1);
  child_hang();
}

static pid_t start_holder(arena_t *arena) {
  arena->gate = 0;
  pid_t child = child_start(hold, arena);
  gate_wait(&arena->gate, 1);
  return child;
}

static void kill_a_holder(arena_t *arena) { child_kill(start_holder(arena)); }

static void a_new_mutex_is_free(void) {
  arena_t *arena = make_arena(0);
  CHECK(cipc_mutex_holder(&arena->mutex) == CIPC_PARTICIPANT_NOBODY);
  CHECK_EQUAL(cipc_mutex_casualty(&arena->mutex), 0);
  CHECK(!cipc_mutex_is_owned(&arena->mutex));
  lock(&arena->mutex);
  CHECK(cipc_mutex_is_owned(&arena->mutex));
  CHECK(cipc_mutex_holder(&arena->mutex) == cipc_participant_self());
  unlock(&arena->mutex);
  CHECK(!cipc_mutex_is_owned(&arena->mutex));
  CHECK(cipc_mutex_holder(&arena->mutex) == CIPC_PARTICIPANT_NOBODY);
}

static void no_options_is_a_plain_one(void) {
  arena_t *arena = child_shared(sizeof *arena);
  CHECK_EQUAL(cipc_mutex_init(&arena->mutex, NULL), 0);
  lock(&arena->mutex);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_EDEADLK);
  unlock(&arena->mutex);
}

#define ROUNDS 20000

static void *count(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < ROUNDS; i++) {
    lock(&arena->mutex);
    CHECK(arena->inside == 0);
    arena->inside = 1;
    arena->counter++;
    arena->inside = 0;
    unlock(&arena->mutex);
  }
  return NULL;
}

static void count_in_two_threads(void *argument) {
  arena_t *arena = argument;
  gate_wait(&arena->gate, 1);
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, count, arena), 0);
  (void)count(arena);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

static void exclude(int recursive) {
  arena_t *arena = make_arena(recursive);
  pid_t children[3];
  for (int i = 0; i < 3; i++) children[i] = child_start(count_in_two_threads, arena);
  gate_set(&arena->gate, 1);
  for (int i = 0; i < 3; i++) CHECK_EQUAL(child_join(children[i]), 0);
  CHECK_EQUAL(arena->counter, 3 * 2 * ROUNDS);
}

static void one_thread_of_one_process_is_inside(void) { exclude(0); }
static void one_thread_is_inside_a_recursive_one(void) { exclude(1); }

static void the_next_owner_is_told_of_a_death(void) {
  arena_t *arena = make_arena(0);
  pid_t dead = start_holder(arena);
  CHECK_EQUAL(cipc_participant_pid(cipc_mutex_holder(&arena->mutex)), dead);
  child_kill(dead);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK(cipc_mutex_is_owned(&arena->mutex));
  CHECK_EQUAL(cipc_mutex_casualty(&arena->mutex), dead);
  unlock(&arena->mutex);
}

static void expect_owner_died(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  unlock(&arena->mutex);
}

static void expect_clean(void *argument) {
  arena_t *arena = argument;
  lock(&arena->mutex);
  unlock(&arena->mutex);
}

static void all_are_told_until_one_recovers(void) {
  arena_t *arena = make_arena(0);
  kill_a_holder(arena);
  for (int i = 0; i < 3; i++) {
    in_child(expect_owner_died, arena);
    expect_owner_died(arena);
    CHECK_EQUAL(cipc_mutex_trylock(&arena->mutex), CIPC_OWNER_DIED);
    unlock(&arena->mutex);
  }
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
  CHECK_EQUAL(cipc_mutex_casualty(&arena->mutex), 0);
  unlock(&arena->mutex);
  expect_clean(arena);
  in_child(expect_clean, arena);
}

static void recovering_nothing_does_nothing(void) {
  arena_t *arena = make_arena(0);
  lock(&arena->mutex);
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
  unlock(&arena->mutex);
  expect_clean(arena);
}

static void inherit_and_hang(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void a_second_owner_killed_before_it_recovers(void) {
  arena_t *arena = make_arena(0);
  kill_a_holder(arena);
  for (int i = 0; i < 5; i++) {
    arena->gate = 0;
    pid_t heir = child_start(inherit_and_hang, arena);
    gate_wait(&arena->gate, 1);
    child_kill(heir);
    CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
    CHECK_EQUAL(cipc_mutex_casualty(&arena->mutex), heir);
    unlock(&arena->mutex);
  }
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
  unlock(&arena->mutex);
  expect_clean(arena);
}

static void recover_and_hang(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void an_owner_killed_after_it_recovered_is_another_death(void) {
  arena_t *arena = make_arena(0);
  kill_a_holder(arena);
  arena->gate = 0;
  pid_t heir = child_start(recover_and_hang, arena);
  gate_wait(&arena->gate, 1);
  child_kill(heir);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_casualty(&arena->mutex), heir);
  unlock(&arena->mutex);
}

// As if killed in `cipc_mutex_lock` between the acquisition and the signature.
static void hold_unsigned(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(pthread_mutex_lock(&arena->mutex.native), 0);
}

static void an_owner_that_had_not_signed_is_an_unknown_casualty(void) {
  arena_t *arena = make_arena(0);
  in_child(expect_clean, arena);
  in_child(hold_unsigned, arena);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_casualty(&arena->mutex), 0);
  unlock(&arena->mutex);
  in_child(expect_owner_died, arena);
}

static void wait_for_the_mutex(void *argument) {
  arena_t *arena = argument;
  gate_set(&arena->gate2, 1);
  int status = cipc_mutex_lock(&arena->mutex, cipc_clock_deadline(CHILD_PATIENCE));
  CHECK_EQUAL(status, CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
  unlock(&arena->mutex);
}

static void those_who_wait_go_on_when_the_owner_is_killed(void) {
  arena_t *arena = make_arena(0);
  pid_t owner = start_holder(arena);
  pid_t waiter = child_start(wait_for_the_mutex, arena);
  gate_wait(&arena->gate2, 1);
  child_kill(owner);
  CHECK_EQUAL(child_join(waiter), 0);
  expect_clean(arena);
}

// The wake-up for the first may be swallowed by its death; the others look again.
static void those_who_wait_go_on_when_waiters_are_killed(void) {
  arena_t *arena = make_arena(0);
  pid_t owner = start_holder(arena);
  pid_t victims[3];
  for (int i = 0; i < 3; i++) victims[i] = child_start(wait_for_the_mutex, arena);
  for (int i = 0; i < 3; i++) CHECK(kill(victims[i], SIGKILL) == 0);
  child_kill(owner);
  for (int i = 0; i < 3; i++) CHECK_EQUAL(child_join(victims[i]), -SIGKILL);
  int status = cipc_mutex_lock(&arena->mutex, cipc_clock_deadline(CHILD_PATIENCE));
  CHECK_EQUAL(status, CIPC_OWNER_DIED);
  unlock(&arena->mutex);
}

static void hold_many(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < 100; i++) lock(&arena->others[i]);
  // Not in the order of taking them: the list is doubly linked.
  for (int i = 0; i < 100; i += 3) unlock(&arena->others[i]);
}

static void an_exit_with_many_held_is_a_death_for_each(void) {
  arena_t *arena = make_arena(0);
  for (int i = 0; i < 100; i++) CHECK_EQUAL(cipc_mutex_init(&arena->others[i], NULL), 0);
  in_child(hold_many, arena);
  for (int i = 0; i < 100; i++) {
    CHECK_EQUAL(cipc_mutex_trylock(&arena->others[i]), i % 3 == 0 ? 0 : CIPC_OWNER_DIED);
    unlock(&arena->others[i]);
  }
}

static void *lock_and_leave(void *argument) {
  arena_t *arena = argument;
  lock(&arena->mutex);
  return NULL;
}

static void a_thread_that_ends_holding_is_a_dead_owner(void) {
  arena_t *arena = make_arena(0);
  in_thread(lock_and_leave, arena);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_casualty(&arena->mutex), getpid());
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
  unlock(&arena->mutex);
  expect_clean(arena);
}

static void locking_twice_is_an_error(void) {
  arena_t *arena = make_arena(0);
  lock(&arena->mutex);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_EDEADLK);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_IMMEDIATELY), CIPC_EDEADLK);
  CHECK_EQUAL(cipc_mutex_trylock(&arena->mutex), CIPC_EDEADLK);
  // One unlock is enough: the errors took nothing.
  unlock(&arena->mutex);
  in_child(expect_clean, arena);
}

static void expect_busy(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_mutex_trylock(&arena->mutex), CIPC_EBUSY);
}

static void a_recursive_one_is_free_after_as_many_unlocks(void) {
  arena_t *arena = make_arena(1);
  lock(&arena->mutex);
  lock(&arena->mutex);
  CHECK_EQUAL(cipc_mutex_trylock(&arena->mutex), 0);
  for (uint32_t i = 0; i < 3; i++) {
    in_child(expect_busy, arena);
    CHECK(cipc_mutex_is_owned(&arena->mutex));
    CHECK_EQUAL(cipc_mutex_depth(&arena->mutex), 3 - i);
    unlock(&arena->mutex);
  }
  CHECK_EQUAL(cipc_mutex_depth(&arena->mutex), 0);
  CHECK_EQUAL(cipc_mutex_unlock(&arena->mutex), CIPC_EPERM);
  in_child(expect_clean, arena);
}

static void hold_three_times(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < 3; i++) lock(&arena->mutex);
}

static void a_dead_recursive_owner_leaves_no_depth(void) {
  arena_t *arena = make_arena(1);
  in_child(hold_three_times, arena);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), 0);
  for (int i = 0; i < 3; i++) unlock(&arena->mutex);
  CHECK_EQUAL(cipc_mutex_unlock(&arena->mutex), CIPC_EPERM);
  in_child(expect_clean, arena);
}

static void expect_not_owner(void *argument) {
  arena_t *arena = argument;
  CHECK(!cipc_mutex_is_owned(&arena->mutex));
  CHECK_EQUAL(cipc_mutex_unlock(&arena->mutex), CIPC_EPERM);
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), CIPC_EPERM);
}

static void *expect_not_owner_in_thread(void *argument) {
  expect_not_owner(argument);
  return NULL;
}

static void only_the_owner_unlocks_and_recovers(int recursive) {
  arena_t *arena = make_arena(recursive);
  expect_not_owner(arena);
  lock(&arena->mutex);
  in_thread(expect_not_owner_in_thread, arena);
  in_child(expect_not_owner, arena);
  in_child(expect_busy, arena);
  unlock(&arena->mutex);
  expect_not_owner(arena);
  in_child(expect_clean, arena);
}

static void others_cannot_unlock_a_plain_one(void) { only_the_owner_unlocks_and_recovers(0); }
static void others_cannot_unlock_a_recursive_one(void) { only_the_owner_unlocks_and_recovers(1); }

// A mutex whose owner died has no owner until it is taken.
static void the_dead_leave_no_owner(void) {
  arena_t *arena = make_arena(0);
  kill_a_holder(arena);
  expect_not_owner(arena);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  unlock(&arena->mutex);
}

static void expect_locked(void *argument) {
  arena_t *arena = argument;
  expect_not_owner(arena);
  CHECK_EQUAL(cipc_mutex_trylock(&arena->mutex), CIPC_EBUSY);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
}

static void a_forked_child_does_not_own_what_its_parent_holds(void) {
  for (int recursive = 0; recursive < 2; recursive++) {
    arena_t *arena = make_arena(recursive);
    lock(&arena->mutex);
    in_child(expect_locked, arena);
    // Nor is the child's end the owner's.
    in_child(expect_locked, arena);
    CHECK(cipc_mutex_is_owned(&arena->mutex));
    unlock(&arena->mutex);
    in_child(expect_clean, arena);
  }
}

static void *expect_locked_in_thread(void *argument) {
  expect_locked(argument);
  return NULL;
}

static void another_thread_finds_it_busy(void) {
  arena_t *arena = make_arena(1);
  lock(&arena->mutex);
  in_thread(expect_locked_in_thread, arena);
  unlock(&arena->mutex);
}

static void deadlines_are_kept(void) {
  arena_t *arena = make_arena(0);
  pid_t owner = start_holder(arena);
  const cipc_deadline_t over[] = {CIPC_IMMEDIATELY, 1, -1, INT64_MIN, cipc_clock_now()};
  for (size_t i = 0; i < sizeof over / sizeof over[0]; i++) {
    CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, over[i]), CIPC_ETIMEDOUT);
  }
  // Within a slice, and over more than one.
  const int64_t waits[] = {20 * MILLISECOND, 450 * MILLISECOND};
  for (size_t i = 0; i < 2; i++) {
    cipc_deadline_t deadline = cipc_clock_deadline(waits[i]);
    CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, deadline), CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= deadline);
  }
  CHECK(!cipc_mutex_is_owned(&arena->mutex));
  child_kill(owner);
}

static void a_deadline_that_is_over_takes_a_free_one(void) {
  arena_t *arena = make_arena(0);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, -1), 0);
  unlock(&arena->mutex);
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_IMMEDIATELY), 0);
  unlock(&arena->mutex);
}

static void expect_past_recovery(void *argument) {
  arena_t *arena = argument;
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_mutex_trylock(&arena->mutex), CIPC_ENOTRECOVERABLE);
    CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, deadline), CIPC_ENOTRECOVERABLE);
  }
  expect_not_owner(arena);
}

// What a foreign program can do to it: unlock after EOWNERDEAD without making it consistent.
static void a_mutex_past_recovery_says_so(void) {
  arena_t *arena = make_arena(0);
  kill_a_holder(arena);
  CHECK_EQUAL(pthread_mutex_lock(&arena->mutex.native), EOWNERDEAD);
  CHECK_EQUAL(pthread_mutex_unlock(&arena->mutex.native), 0);
  expect_past_recovery(arena);
  in_child(expect_past_recovery, arena);
  expect_past_recovery(arena);
}

static void lock_and_unlock_for_ever(void *argument) {
  arena_t *arena = argument;
  gate_set(&arena->gate, 1);
  for (;;) {
    int status = cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE);
    CHECK(status == 0 || status == CIPC_OWNER_DIED);
    arena->counter++;
    CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
    unlock(&arena->mutex);
  }
}

// Wherever the kill falls, every process can take the mutex again.
static void killed_anywhere_it_stays_usable(void) {
  arena_t *arena = make_arena(0);
  for (int i = 0; i < 300; i++) {
    arena->gate = 0;
    pid_t one = child_start(lock_and_unlock_for_ever, arena);
    gate_wait(&arena->gate, 1);
    uint64_t before = __atomic_load_n(&arena->counter, __ATOMIC_RELAXED);
    for (int spin = 0; spin < i * 10; spin++) {
      if (__atomic_load_n(&arena->counter, __ATOMIC_RELAXED) > before + (uint64_t)i) break;
    }
    child_kill(one);
    int status = cipc_mutex_lock(&arena->mutex, cipc_clock_deadline(CHILD_PATIENCE));
    CHECK(status == 0 || status == CIPC_OWNER_DIED);
    CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
    unlock(&arena->mutex);
  }
}

int main(void) {
  TEST(a_new_mutex_is_free);
  TEST(no_options_is_a_plain_one);
  TEST(one_thread_of_one_process_is_inside);
  TEST(one_thread_is_inside_a_recursive_one);
  TEST(the_next_owner_is_told_of_a_death);
  TEST(all_are_told_until_one_recovers);
  TEST(recovering_nothing_does_nothing);
  TEST(a_second_owner_killed_before_it_recovers);
  TEST(an_owner_killed_after_it_recovered_is_another_death);
  TEST(an_owner_that_had_not_signed_is_an_unknown_casualty);
  TEST(those_who_wait_go_on_when_the_owner_is_killed);
  TEST(those_who_wait_go_on_when_waiters_are_killed);
  TEST(an_exit_with_many_held_is_a_death_for_each);
  TEST(a_thread_that_ends_holding_is_a_dead_owner);
  TEST(locking_twice_is_an_error);
  TEST(a_recursive_one_is_free_after_as_many_unlocks);
  TEST(a_dead_recursive_owner_leaves_no_depth);
  TEST(others_cannot_unlock_a_plain_one);
  TEST(others_cannot_unlock_a_recursive_one);
  TEST(the_dead_leave_no_owner);
  TEST(a_forked_child_does_not_own_what_its_parent_holds);
  TEST(another_thread_finds_it_busy);
  TEST(deadlines_are_kept);
  TEST(a_deadline_that_is_over_takes_a_free_one);
  TEST(a_mutex_past_recovery_says_so);
  TEST(killed_anywhere_it_stays_usable);
  return check_finish();
}
