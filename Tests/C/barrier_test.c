/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/barrier.h"

#include <pthread.h>
#include <stdbool.h>

#include "child.h"

#define MILLISECOND INT64_C(1000000)
#define PARTIES_MAXIMUM 8

// What the children of one test share.
typedef struct arena {
  cipc_barrier_t barrier;
  cipc_barrier_slot_t slots[PARTIES_MAXIMUM];
  uint32_t parties;
  uint32_t gate;
  uint32_t gate2;
  uint32_t count;
  uint32_t acted;
  uint32_t rounds;
  int status[PARTIES_MAXIMUM];
} arena_t;

static arena_t *make_arena(uint32_t parties) {
  arena_t *arena = child_shared(sizeof *arena);
  arena->parties = parties;
  CHECK_EQUAL(cipc_barrier_init(&arena->barrier, parties), 0);
  return arena;
}

static int pass(arena_t *arena) {
  return cipc_barrier_wait(&arena->barrier, arena->parties, NULL, NULL,
                           cipc_clock_deadline(CHILD_PATIENCE));
}

static int pass_until(arena_t *arena, cipc_deadline_t deadline) {
  return cipc_barrier_wait(&arena->barrier, arena->parties, NULL, NULL, deadline);
}

static uint32_t waiting(arena_t *arena) {
  return cipc_barrier_waiting(&arena->barrier, arena->parties);
}

static int reset(arena_t *arena) { return cipc_barrier_reset(&arena->barrier, arena->parties); }

static bool is_broken(arena_t *arena) { return cipc_barrier_is_broken(&arena->barrier) != 0; }

static uint32_t add(uint32_t *number) { return __atomic_fetch_add(number, 1, __ATOMIC_SEQ_CST); }

// Looks, with patience, until so many wait.
static void await_waiting(arena_t *arena, uint32_t count) {
  cipc_deadline_t patience = cipc_clock_deadline(CHILD_PATIENCE);
  while (waiting(arena) != count) {
    CHECK(cipc_clock_now() < patience);
    (void)sched_yield();
  }
}

static void pass_once(void *argument) {
  arena_t *arena = argument;
  uint32_t self = add(&arena->count);
  arena->status[self] = pass(arena);
}

static void start(arena_t *arena, pid_t *children, uint32_t count, void (*body)(void *)) {
  for (uint32_t i = 0; i < count; i++) children[i] = child_start(body, arena);
}

static void join(const pid_t *children, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) CHECK_EQUAL(child_join(children[i]), 0);
}

static void expect_all(arena_t *arena, uint32_t count, int status) {
  for (uint32_t i = 0; i < count; i++) CHECK_EQUAL(arena->status[i], status);
}

static int act(void *context) {
  arena_t *arena = context;
  add(&arena->acted);
  return 0;
}

static int step(arena_t *arena, cipc_barrier_arrival_t *arrival) {
  cipc_wait_t wait;
  return cipc_barrier_step(&arena->barrier, arena->parties, cipc_participant_self(), arrival, 0, 0,
                           &wait);
}

static void one_party_goes_through(void) {
  arena_t *arena = make_arena(1);
  for (int i = 0; i < 3; i++) CHECK_EQUAL(pass_until(arena, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(cipc_barrier_wait(&arena->barrier, 1, act, arena, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(arena->acted, 1);
  CHECK(!is_broken(arena));
  CHECK_EQUAL(cipc_barrier_init(&arena->barrier, 0), CIPC_EINVAL);
}

static void each_gets_another_index(void) {
  arena_t *arena = make_arena(5);
  pid_t children[4];
  start(arena, children, 4, pass_once);
  await_waiting(arena, 4);
  CHECK_EQUAL(pass(arena), 4);
  join(children, 4);
  uint32_t seen = 0;
  for (int i = 0; i < 4; i++) seen |= 1u << arena->status[i];
  CHECK_EQUAL(seen, 0xf);
  CHECK_EQUAL(waiting(arena), 0);
}

// No party is in a round before all have been in the round before.
static void pass_many(void *argument) {
  arena_t *arena = argument;
  for (uint32_t i = 0; i < arena->rounds; i++) {
    uint32_t before = add(&arena->count);
    CHECK(before / arena->parties == i);
    CHECK(pass(arena) >= 0);
    CHECK(__atomic_load_n(&arena->count, __ATOMIC_SEQ_CST) >= (i + 1) * arena->parties);
  }
}

static void a_thousand_rounds(void) {
  for (uint32_t parties = 2; parties <= 6; parties += 2) {
    arena_t *arena = make_arena(parties);
    arena->rounds = 1000;
    pid_t children[6];
    start(arena, children, parties - 1, pass_many);
    pass_many(arena);
    join(children, parties - 1);
    CHECK_EQUAL(arena->count, 1000 * parties);
  }
}

static void *pass_many_in_thread(void *argument) {
  pass_many(argument);
  return NULL;
}

static void threads_are_parties(void) {
  arena_t *arena = make_arena(4);
  arena->rounds = 1000;
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(pthread_create(&threads[i], NULL, pass_many_in_thread, arena), 0);
  }
  pass_many(arena);
  for (int i = 0; i < 3; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
}

static void act_many(void *argument) {
  arena_t *arena = argument;
  for (uint32_t i = 0; i < 300; i++) {
    CHECK(cipc_barrier_wait(&arena->barrier, arena->parties, act, arena, CIPC_NO_DEADLINE) >= 0);
    // Once, and before any party went on; the next one only when all have been here.
    CHECK_EQUAL(__atomic_load_n(&arena->acted, __ATOMIC_SEQ_CST), i + 1);
    CHECK(pass(arena) >= 0);
  }
}

static void one_of_them_acts_before_they_go_on(void) {
  arena_t *arena = make_arena(3);
  pid_t children[2];
  start(arena, children, 2, act_many);
  act_many(arena);
  join(children, 2);
  CHECK_EQUAL(arena->acted, 300);
}

static int fail(void *context) {
  (void)context;
  return -EIO;
}

static void an_action_that_fails_breaks_the_barrier(void) {
  arena_t *arena = make_arena(3);
  pid_t children[2];
  start(arena, children, 2, pass_once);
  await_waiting(arena, 2);
  CHECK_EQUAL(cipc_barrier_wait(&arena->barrier, 3, fail, NULL, CIPC_NO_DEADLINE), -EIO);
  join(children, 2);
  expect_all(arena, 2, CIPC_EBROKEN);
  CHECK(is_broken(arena));
  CHECK_EQUAL(pass(arena), CIPC_EBROKEN);
}

static void abort_breaks_it(void) {
  arena_t *arena = make_arena(4);
  pid_t children[3];
  start(arena, children, 3, pass_once);
  await_waiting(arena, 3);
  CHECK_EQUAL(cipc_barrier_abort(&arena->barrier), 0);
  join(children, 3);
  expect_all(arena, 3, CIPC_EBROKEN);
  CHECK(is_broken(arena));
  CHECK_EQUAL(waiting(arena), 0);
  CHECK_EQUAL(pass(arena), CIPC_EBROKEN);
  CHECK_EQUAL(cipc_barrier_abort(&arena->barrier), 0);
  CHECK(is_broken(arena));
}

static void reset_sends_those_who_wait_away(void) {
  arena_t *arena = make_arena(4);
  pid_t children[3];
  for (int round = 0; round < 3; round++) {
    arena->count = 0;
    start(arena, children, 3, pass_once);
    await_waiting(arena, 3);
    CHECK_EQUAL(reset(arena), 0);
    join(children, 3);
    expect_all(arena, 3, CIPC_EBROKEN);
    CHECK(!is_broken(arena));
    CHECK_EQUAL(waiting(arena), 0);
    // The children have ended, which breaks a barrier that they are enrolled in.
    CHECK_EQUAL(reset(arena), 0);
  }
  arena->count = 0;
  start(arena, children, 3, pass_once);
  CHECK(pass(arena) >= 0);
  join(children, 3);
}

static void a_broken_one_is_whole_after_a_reset(void) {
  arena_t *arena = make_arena(2);
  arena->rounds = 10;
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(reset(arena), 0);
    arena->count = 0;
    pid_t child = child_start(pass_once, arena);
    await_waiting(arena, 1);
    CHECK_EQUAL(cipc_barrier_abort(&arena->barrier), 0);
    CHECK_EQUAL(child_join(child), 0);
    CHECK_EQUAL(reset(arena), 0);
    CHECK(!is_broken(arena));
    arena->count = 0;
    child = child_start(pass_many, arena);
    pass_many(arena);
    CHECK_EQUAL(child_join(child), 0);
  }
}

static void a_timeout_breaks_it_and_is_told_apart(void) {
  arena_t *arena = make_arena(3);
  pid_t child = child_start(pass_once, arena);
  await_waiting(arena, 1);
  cipc_deadline_t deadline = cipc_clock_deadline(20 * MILLISECOND);
  CHECK_EQUAL(pass_until(arena, deadline), CIPC_ETIMEDOUT);
  CHECK(cipc_clock_now() >= deadline);
  CHECK_EQUAL(child_join(child), 0);
  expect_all(arena, 1, CIPC_EBROKEN);
  CHECK_EQUAL(pass(arena), CIPC_EBROKEN);
  const cipc_deadline_t over[] = {CIPC_IMMEDIATELY, 1, -1, INT64_MIN, cipc_clock_now()};
  for (size_t i = 0; i < sizeof over / sizeof over[0]; i++) {
    CHECK_EQUAL(reset(arena), 0);
    CHECK_EQUAL(pass_until(arena, over[i]), CIPC_ETIMEDOUT);
    CHECK(is_broken(arena));
  }
}

static void the_last_needs_no_time(void) {
  arena_t *arena = make_arena(2);
  pid_t child = child_start(pass_once, arena);
  await_waiting(arena, 1);
  CHECK_EQUAL(pass_until(arena, -1), 1);
  CHECK_EQUAL(child_join(child), 0);
}

static void the_death_of_one_that_waits_breaks_it(void) {
  arena_t *arena = make_arena(4);
  pid_t children[2];
  start(arena, children, 2, pass_once);
  await_waiting(arena, 2);
  pid_t victim = child_start(pass_once, arena);
  await_waiting(arena, 3);
  child_kill(victim);
  join(children, 2);
  CHECK_EQUAL(arena->status[0] + arena->status[1] + arena->status[2], 2 * CIPC_EBROKEN);
  CHECK_EQUAL(pass(arena), CIPC_EBROKEN);
  CHECK_EQUAL(reset(arena), 0);
  for (int i = 0; i < 4; i++) CHECK(arena->slots[i].party == CIPC_PARTICIPANT_NOBODY);
}

static void pass_and_hang(void *argument) {
  arena_t *arena = argument;
  CHECK(pass(arena) >= 0);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void the_death_of_one_between_two_rounds_breaks_it(void) {
  arena_t *arena = make_arena(2);
  pid_t child = child_start(pass_and_hang, arena);
  CHECK(pass(arena) >= 0);
  gate_wait(&arena->gate, 1);
  CHECK(!is_broken(arena));
  child_kill(child);
  CHECK_EQUAL(pass(arena), CIPC_EBROKEN);
}

static void who_was_enrolled_and_dies_breaks_it(void) {
  arena_t *arena = make_arena(2);
  // It never comes: it has another barrier to wait at.
  pid_t child = child_start(pass_and_hang, make_arena(2));
  cipc_participant_t party;
  CHECK_EQUAL(cipc_participant_of(child, &party), 0);
  CHECK_EQUAL(cipc_barrier_enrol(&arena->barrier, 2, party), 0);
  child_kill(child);
  CHECK_EQUAL(pass(arena), CIPC_EBROKEN);
}

static void pass_enrolled(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_barrier_enrol(&arena->barrier, arena->parties, cipc_participant_self()), 0);
  CHECK(pass(arena) >= 0);
  // The same place.
  int places = 0;
  for (uint32_t i = 0; i < arena->parties; i++) {
    places += arena->slots[i].party == cipc_participant_self();
    places += arena->slots[i].party == cipc_participant_this_thread();
  }
  CHECK_EQUAL(places, 1);
}

static void an_enrolled_process_has_one_place(void) {
  arena_t *arena = make_arena(2);
  pid_t child = child_start(pass_enrolled, arena);
  CHECK(pass(arena) >= 0);
  CHECK_EQUAL(child_join(child), 0);
}

static void pass_and_leave(void *argument) {
  arena_t *arena = argument;
  CHECK(pass(arena) >= 0);
  CHECK_EQUAL(cipc_barrier_leave(&arena->barrier, arena->parties, cipc_participant_this_thread(),
                                 CIPC_NO_DEADLINE),
              0);
}

static void who_leaves_may_end(void) {
  arena_t *arena = make_arena(2);
  for (int i = 0; i < 3; i++) {
    pid_t child = child_start(pass_and_leave, arena);
    CHECK(pass(arena) >= 0);
    CHECK_EQUAL(child_join(child), 0);
    CHECK(!is_broken(arena));
  }
  // A party that is not enrolled may leave as well; one that waits may not.
  pass_and_leave(make_arena(1));
  CHECK_EQUAL(cipc_barrier_leave(&arena->barrier, 2, 1, CIPC_NO_DEADLINE), 0);
  cipc_barrier_arrival_t arrival = {0, 0};
  cipc_wait_t wait;
  cipc_participant_t self = cipc_participant_self();
  CHECK_EQUAL(cipc_barrier_step(&arena->barrier, 2, self, &arrival, 0, 0, &wait), CIPC_EAGAIN);
  CHECK_EQUAL(cipc_barrier_leave(&arena->barrier, 2, self, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(waiting(arena), 1);
  CHECK(arena->slots[0].party == self || arena->slots[1].party == self);
}

static void *pass_once_in_thread(void *argument) {
  pass_once(argument);
  return NULL;
}

static void a_thread_that_has_ended_breaks_it(void) {
  arena_t *arena = make_arena(2);
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, pass_once_in_thread, arena), 0);
  CHECK(pass(arena) >= 0);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
  CHECK_EQUAL(pass(arena), CIPC_EBROKEN);
}

static void nobody_takes_the_place_of_the_dead(void) {
  arena_t *arena = make_arena(2);
  pid_t child = child_start(pass_once, arena);
  CHECK(pass(arena) >= 0);
  CHECK_EQUAL(child_join(child), 0);
  // All places are taken, one by the dead; this party is a third.
  child = child_start(pass_once, arena);
  CHECK_EQUAL(pass(arena), CIPC_EBROKEN);
  CHECK_EQUAL(child_join(child), 0);
  CHECK_EQUAL(arena->status[1], CIPC_EBROKEN);
}

static void pass_or_stop(void *argument) {
  arena_t *arena = argument;
  for (;;) {
    int status = pass(arena);
    if (status == CIPC_EBROKEN) return;
    CHECK(status >= 0);
    if (status == 0) add(&arena->count);
  }
}

// Any two of five make a round; none has a place of its own.
static void more_than_the_parties_take_turns(void) {
  arena_t *arena = make_arena(2);
  pid_t children[5];
  start(arena, children, 5, pass_or_stop);
  cipc_deadline_t patience = cipc_clock_deadline(CHILD_PATIENCE);
  while (__atomic_load_n(&arena->count, __ATOMIC_SEQ_CST) < 2000) {
    CHECK(cipc_clock_now() < patience);
    (void)sched_yield();
  }
  CHECK_EQUAL(cipc_barrier_abort(&arena->barrier), 0);
  join(children, 5);
}

static int act_and_hang(void *context) {
  arena_t *arena = context;
  gate_set(&arena->gate, 1);
  child_hang();
}

static void pass_acting(void *argument) {
  arena_t *arena = argument;
  int status =
      cipc_barrier_wait(&arena->barrier, arena->parties, act_and_hang, arena, CIPC_NO_DEADLINE);
  CHECK_EQUAL(status, CIPC_EBROKEN);
}

static void death_within_the_action_breaks_it(void) {
  arena_t *arena = make_arena(3);
  pid_t children[2];
  start(arena, children, 2, pass_once);
  await_waiting(arena, 2);
  pid_t victim = child_start(pass_acting, arena);
  gate_wait(&arena->gate, 1);
  CHECK(!is_broken(arena));
  child_kill(victim);
  join(children, 2);
  expect_all(arena, 2, CIPC_EBROKEN);
}

static void a_timeout_does_not_wait_for_the_action(void) {
  arena_t *arena = make_arena(2);
  cipc_barrier_arrival_t first = {0, 0};
  CHECK_EQUAL(step(arena, &first), CIPC_EAGAIN);
  pid_t actor = child_start(pass_acting, arena);
  gate_wait(&arena->gate, 1);
  CHECK_EQUAL(cipc_barrier_give_up(&arena->barrier, &first), CIPC_ETIMEDOUT);
  CHECK(is_broken(arena));
  child_kill(actor);
}

// The party that ends a round is killed before it wakes the others.
static void those_who_were_not_woken_go_on(void) {
  arena_t *arena = make_arena(3);
  pid_t children[2];
  start(arena, children, 2, pass_once);
  await_waiting(arena, 2);
  __atomic_store_n(&arena->barrier.state, arena->barrier.state + 4, __ATOMIC_SEQ_CST);
  join(children, 2);
  CHECK_EQUAL(arena->status[0] + arena->status[1], 1);
}

// As if between taking the mutex and giving it up.
static void hold_the_mutex(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_mutex_lock(&arena->barrier.mutex, CIPC_NO_DEADLINE), 0);
  CHECK(kill(getpid(), SIGKILL) == 0);
}

static void a_dead_owner_of_the_mutex_is_nothing(void) {
  arena_t *arena = make_arena(1);
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(child_join(child_start(hold_the_mutex, arena)), -SIGKILL);
    CHECK_EQUAL(pass(arena), 0);
  }
  CHECK_EQUAL(child_join(child_start(hold_the_mutex, arena)), -SIGKILL);
  CHECK_EQUAL(cipc_barrier_abort(&arena->barrier), 0);
  CHECK_EQUAL(child_join(child_start(hold_the_mutex, arena)), -SIGKILL);
  CHECK_EQUAL(reset(arena), 0);
  CHECK_EQUAL(pass(arena), 0);
}

// One process is all parties here, so that it is known which party looks when.
static void who_looks_late_is_told_the_truth(void) {
  arena_t *arena = make_arena(2);
  for (uint32_t later = 0; later < 70; later++) {
    for (int how = 0; how < 2; how++) {
      cipc_barrier_arrival_t late = {0, 0};
      CHECK_EQUAL(step(arena, &late), CIPC_EAGAIN);
      if (how == 0) {
        cipc_barrier_arrival_t other = {0, 0};
        CHECK_EQUAL(step(arena, &other), 0);
      } else {
        CHECK_EQUAL(reset(arena), 0);
      }
      for (uint32_t i = 0; i < later; i++) {
        if (i % 3 == 1) {
          CHECK_EQUAL(reset(arena), 0);
          continue;
        }
        cipc_barrier_arrival_t first = {0, 0};
        cipc_barrier_arrival_t second = {0, 0};
        CHECK_EQUAL(step(arena, &first), CIPC_EAGAIN);
        CHECK_EQUAL(step(arena, &second), 0);
        CHECK_EQUAL(step(arena, &first), 0);
        CHECK_EQUAL(first.index, 0);
        CHECK_EQUAL(second.index, 1);
      }
      // Beyond 63 rounds it is not known any more, and then nothing is promised.
      CHECK_EQUAL(step(arena, &late), how == 1 || later > 62 ? CIPC_EBROKEN : 0);
    }
  }
}

static void rounds_begin_anew_after_the_last(void) {
  arena_t *arena = make_arena(2);
  arena->barrier.state = UINT32_MAX - 3;
  for (int i = 0; i < 3; i++) {
    cipc_barrier_arrival_t first = {0, 0};
    cipc_barrier_arrival_t second = {0, 0};
    CHECK_EQUAL(step(arena, &first), CIPC_EAGAIN);
    CHECK_EQUAL(step(arena, &second), 0);
    CHECK_EQUAL(step(arena, &first), 0);
  }
}

static void who_finds_no_place_waits_for_the_next_round(void) {
  arena_t *arena = make_arena(1);
  pid_t actor = child_start(pass_acting, arena);
  gate_wait(&arena->gate, 1);
  cipc_barrier_arrival_t early = {0, 0};
  CHECK_EQUAL(step(arena, &early), CIPC_EAGAIN);
  CHECK_EQUAL(early.round, 0);
  CHECK_EQUAL(pass_until(arena, cipc_clock_deadline(20 * MILLISECOND)), CIPC_ETIMEDOUT);
  CHECK(!is_broken(arena));
  child_kill(actor);
  CHECK_EQUAL(pass(arena), CIPC_EBROKEN);
  CHECK_EQUAL(reset(arena), 0);
  CHECK_EQUAL(pass(arena), 0);
}

// Parties are killed in the middle of rounds, over and over: the rest is always told, and after a
// reset it goes on with a new one.
static void parties_are_killed_and_replaced(void) {
  arena_t *arena = make_arena(4);
  for (int round = 0; round < 12; round++) {
    pid_t children[4];
    start(arena, children, 4, pass_or_stop);
    uint32_t before = __atomic_load_n(&arena->count, __ATOMIC_SEQ_CST);
    cipc_deadline_t patience = cipc_clock_deadline(CHILD_PATIENCE);
    while (__atomic_load_n(&arena->count, __ATOMIC_SEQ_CST) < before + 10u + (uint32_t)round) {
      CHECK(cipc_clock_now() < patience);
    }
    child_kill(children[round % 4]);
    children[round % 4] = children[3];
    join(children, 3);
    CHECK(is_broken(arena));
    CHECK_EQUAL(reset(arena), 0);
  }
}

int main(void) {
  TEST(one_party_goes_through);
  TEST(each_gets_another_index);
  TEST(a_thousand_rounds);
  TEST(threads_are_parties);
  TEST(one_of_them_acts_before_they_go_on);
  TEST(an_action_that_fails_breaks_the_barrier);
  TEST(abort_breaks_it);
  TEST(reset_sends_those_who_wait_away);
  TEST(a_broken_one_is_whole_after_a_reset);
  TEST(a_timeout_breaks_it_and_is_told_apart);
  TEST(the_last_needs_no_time);
  TEST(the_death_of_one_that_waits_breaks_it);
  TEST(the_death_of_one_between_two_rounds_breaks_it);
  TEST(who_was_enrolled_and_dies_breaks_it);
  TEST(an_enrolled_process_has_one_place);
  TEST(who_leaves_may_end);
  TEST(a_thread_that_has_ended_breaks_it);
  TEST(nobody_takes_the_place_of_the_dead);
  TEST(more_than_the_parties_take_turns);
  TEST(death_within_the_action_breaks_it);
  TEST(a_timeout_does_not_wait_for_the_action);
  TEST(those_who_were_not_woken_go_on);
  TEST(a_dead_owner_of_the_mutex_is_nothing);
  TEST(who_looks_late_is_told_the_truth);
  TEST(rounds_begin_anew_after_the_last);
  TEST(who_finds_no_place_waits_for_the_next_round);
  TEST(parties_are_killed_and_replaced);
  return check_finish();
}
