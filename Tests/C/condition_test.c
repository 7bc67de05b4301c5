/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/condition.h"

#include <pthread.h>

#include "child.h"

#define MILLISECOND INT64_C(1000000)
#define SLOTS 16
#define CHILDREN 8

// What the children of one test share.
typedef struct arena {
  cipc_mutex_t mutex;
  cipc_condition_t condition;
  cipc_condition_slot_t slots[SLOTS];
  // Not atomic: under the mutex.
  uint32_t entered;
  uint32_t left;
  int order[CHILDREN];
  int status[CHILDREN];
  int64_t number[4];
  uint32_t gate;
  uint32_t gate2;
} arena_t;

static arena_t *make_arena(int recursive) {
  arena_t *arena = child_shared(sizeof *arena);
  cipc_mutex_options_t options = {.recursive = recursive};
  CHECK_EQUAL(cipc_mutex_init(&arena->mutex, &options), 0);
  CHECK_EQUAL(cipc_condition_init(&arena->condition, SLOTS), 0);
  return arena;
}

static void lock(arena_t *arena) {
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, cipc_clock_deadline(CHILD_PATIENCE)), 0);
}

static void unlock(arena_t *arena) { CHECK_EQUAL(cipc_mutex_unlock(&arena->mutex), 0); }

static int wait_until(arena_t *arena, cipc_deadline_t deadline) {
  return cipc_condition_wait(&arena->condition, SLOTS, &arena->mutex, deadline);
}

static int wait_patiently(arena_t *arena) {
  return wait_until(arena, cipc_clock_deadline(CHILD_PATIENCE));
}

static int notify(arena_t *arena, uint32_t count) {
  return cipc_condition_notify(&arena->condition, SLOTS, &arena->mutex, count);
}

static int lock_and_notify(arena_t *arena, uint32_t count) {
  lock(arena);
  int notified = notify(arena, count);
  unlock(arena);
  return notified;
}

static uint32_t waiting(arena_t *arena) { return cipc_condition_waiting(&arena->condition, SLOTS); }

static int enter(arena_t *arena, cipc_condition_wait_t *entered) {
  return cipc_condition_enter(&arena->condition, SLOTS, &arena->mutex,
                              cipc_participant_this_thread(), entered);
}

static int leave(arena_t *arena, const cipc_condition_wait_t *entered) {
  return cipc_condition_leave(&arena->condition, SLOTS, &arena->mutex, entered);
}

// Waits once, and writes down how that ended and at which place in the order.
static void wait_once(void *argument) {
  arena_t *arena = argument;
  lock(arena);
  uint32_t self = arena->entered++;
  // Waiting releases the mutex: a process that has it after the gate finds this waiter in its slot.
  gate_set(&arena->gate, self + 1);
  int status = wait_patiently(arena);
  arena->order[arena->left++] = (int)self;
  arena->status[self] = status;
  gate_set(&arena->gate2, arena->left);
  unlock(arena);
}

static pid_t start_waiter(arena_t *arena) {
  uint32_t count = arena->entered;
  pid_t child = child_start(wait_once, arena);
  gate_wait(&arena->gate, count + 1);
  lock(arena);
  CHECK_EQUAL(arena->entered, count + 1);
  unlock(arena);
  return child;
}

static void start_waiters(arena_t *arena, pid_t *children, int count) {
  for (int i = 0; i < count; i++) children[i] = start_waiter(arena);
  CHECK_EQUAL(waiting(arena), count);
}

static void join_notified(arena_t *arena, const pid_t *children, int count) {
  for (int i = 0; i < count; i++) {
    if (children[i] != 0) CHECK_EQUAL(child_join(children[i]), 0);
  }
  CHECK_EQUAL(waiting(arena), 0);
}

static void the_longest_waiting_is_notified_first(void) {
  arena_t *arena = make_arena(0);
  pid_t children[5];
  start_waiters(arena, children, 5);
  for (uint32_t i = 0; i < 5; i++) {
    CHECK_EQUAL(lock_and_notify(arena, 1), 1);
    gate_wait(&arena->gate2, i + 1);
    CHECK_EQUAL(arena->order[i], i);
    CHECK_EQUAL(waiting(arena), 4 - i);
  }
  join_notified(arena, children, 5);
  for (int i = 0; i < 5; i++) CHECK_EQUAL(arena->status[i], 0);
  CHECK_EQUAL(lock_and_notify(arena, 1), 0);
}

// Whether child `i` has returned from its wait, once those have that were notified.
static void expect_back(arena_t *arena, uint32_t count) {
  gate_wait(&arena->gate2, count);
  lock(arena);
  CHECK_EQUAL(arena->left, count);
  for (uint32_t i = 0; i < count; i++) CHECK(arena->order[i] < (int)count);
  unlock(arena);
}

static void n_are_notified_and_no_more(void) {
  arena_t *arena = make_arena(0);
  pid_t children[6];
  start_waiters(arena, children, 6);
  CHECK_EQUAL(lock_and_notify(arena, 0), 0);
  CHECK_EQUAL(lock_and_notify(arena, 2), 2);
  expect_back(arena, 2);
  CHECK_EQUAL(waiting(arena), 4);
  CHECK_EQUAL(lock_and_notify(arena, 3), 3);
  expect_back(arena, 5);
  // More than there are.
  CHECK_EQUAL(lock_and_notify(arena, 1000), 1);
  join_notified(arena, children, 6);
}

static void all_are_notified(void) {
  arena_t *arena = make_arena(0);
  for (int round = 0; round < 3; round++) {
    pid_t children[CHILDREN];
    arena->entered = 0;
    arena->left = 0;
    arena->gate = 0;
    start_waiters(arena, children, CHILDREN);
    CHECK_EQUAL(lock_and_notify(arena, CIPC_CONDITION_ALL), CHILDREN);
    join_notified(arena, children, CHILDREN);
    for (int i = 0; i < CHILDREN; i++) CHECK_EQUAL(arena->status[i], 0);
  }
}

static void only_the_owner_waits_and_notifies(void) {
  arena_t *arena = make_arena(0);
  CHECK_EQUAL(wait_until(arena, CIPC_NO_DEADLINE), CIPC_EPERM);
  CHECK_EQUAL(notify(arena, 1), CIPC_EPERM);
  CHECK_EQUAL(notify(arena, CIPC_CONDITION_ALL), CIPC_EPERM);
  cipc_condition_wait_t entered;
  CHECK_EQUAL(enter(arena, &entered), CIPC_EPERM);
  CHECK_EQUAL(cipc_condition_init(&arena->condition, 0), CIPC_EINVAL);
}

static void deadlines_are_kept(void) {
  arena_t *arena = make_arena(0);
  lock(arena);
  const cipc_deadline_t over[] = {CIPC_IMMEDIATELY, 1, -1, INT64_MIN, cipc_clock_now()};
  for (size_t i = 0; i < sizeof over / sizeof over[0]; i++) {
    CHECK_EQUAL(wait_until(arena, over[i]), CIPC_ETIMEDOUT);
    CHECK(cipc_mutex_is_owned(&arena->mutex));
  }
  // Within a slice, and over more than one.
  const int64_t waits[] = {20 * MILLISECOND, 450 * MILLISECOND};
  for (size_t i = 0; i < 2; i++) {
    cipc_deadline_t deadline = cipc_clock_deadline(waits[i]);
    CHECK_EQUAL(wait_until(arena, deadline), CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= deadline);
    CHECK(cipc_mutex_is_owned(&arena->mutex));
  }
  CHECK_EQUAL(waiting(arena), 0);
  CHECK_EQUAL(notify(arena, 1), 0);
  unlock(arena);
}

static void a_notification_just_before_the_end_of_a_wait_counts(void) {
  arena_t *arena = make_arena(0);
  cipc_condition_wait_t entered;
  lock(arena);
  CHECK_EQUAL(enter(arena, &entered), 0);
  CHECK_EQUAL(lock_and_notify(arena, 1), 1);
  // As if the deadline had passed: no step was asked.
  CHECK_EQUAL(leave(arena, &entered), 0);
  unlock(arena);
  lock(arena);
  CHECK_EQUAL(enter(arena, &entered), 0);
  CHECK_EQUAL(leave(arena, &entered), CIPC_ETIMEDOUT);
  unlock(arena);
}

static void a_wake_up_alone_is_no_notification(void) {
  arena_t *arena = make_arena(0);
  cipc_condition_wait_t entered;
  cipc_wait_t wait;
  lock(arena);
  CHECK_EQUAL(enter(arena, &entered), 0);
  CHECK_EQUAL(cipc_condition_step(&arena->condition, SLOTS, &arena->mutex, &entered, 1, &wait),
              CIPC_EAGAIN);
  arena->slots[entered.slot].asleep = 0;
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_condition_step(&arena->condition, SLOTS, &arena->mutex, &entered, 0, &wait),
              CIPC_EAGAIN);
  CHECK_EQUAL(leave(arena, &entered), CIPC_ETIMEDOUT);
  unlock(arena);
}

// Both ways of a notified waiter's death: found by the notifier, and found by the other waiters.
static void the_dead_pass_their_notification_on(void) {
  arena_t *arena = make_arena(0);
  pid_t children[4];
  start_waiters(arena, children, 4);
  // Killed before it is notified; two in a row.
  child_kill(children[0]);
  child_kill(children[1]);
  children[0] = children[1] = 0;
  CHECK_EQUAL(lock_and_notify(arena, 1), 1);
  gate_wait(&arena->gate2, 1);
  CHECK_EQUAL(arena->order[0], 2);
  // Once: the fourth still waits, and two looks of its own change nothing.
  lock(arena);
  CHECK_EQUAL(waiting(arena), 1);
  CHECK_EQUAL(wait_until(arena, cipc_clock_deadline(450 * MILLISECOND)), CIPC_ETIMEDOUT);
  CHECK_EQUAL(arena->left, 1);
  unlock(arena);
  CHECK_EQUAL(lock_and_notify(arena, 1), 1);
  join_notified(arena, children, 4);
}

static void the_living_find_a_notified_waiter_dead(void) {
  arena_t *arena = make_arena(0);
  pid_t children[4];
  start_waiters(arena, children, 4);
  // It cannot take the mutex, so it is killed with its notification.
  lock(arena);
  CHECK_EQUAL(notify(arena, 1), 1);
  child_kill(children[0]);
  unlock(arena);
  gate_wait(&arena->gate2, 1);
  CHECK_EQUAL(arena->order[0], 1);
  lock(arena);
  CHECK_EQUAL(waiting(arena), 2);
  CHECK_EQUAL(wait_until(arena, cipc_clock_deadline(450 * MILLISECOND)), CIPC_ETIMEDOUT);
  CHECK_EQUAL(arena->left, 1);
  unlock(arena);
  children[0] = 0;
  CHECK_EQUAL(lock_and_notify(arena, CIPC_CONDITION_ALL), 2);
  join_notified(arena, children, 4);
}

static void a_notification_does_not_pass_to_who_came_later(void) {
  arena_t *arena = make_arena(0);
  pid_t children[2];
  children[0] = start_waiter(arena);
  lock(arena);
  CHECK_EQUAL(notify(arena, 1), 1);
  child_kill(children[0]);
  cipc_condition_wait_t entered;
  CHECK_EQUAL(enter(arena, &entered), 0);
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_condition_step(&arena->condition, SLOTS, &arena->mutex, &entered, 1, &wait),
              CIPC_EAGAIN);
  CHECK_EQUAL(leave(arena, &entered), CIPC_ETIMEDOUT);
  unlock(arena);
  for (int i = 0; i < SLOTS; i++) CHECK(arena->slots[i].waiter == CIPC_PARTICIPANT_NOBODY);
}

static void *enter_and_end(void *argument) {
  arena_t *arena = argument;
  cipc_condition_wait_t entered;
  lock(arena);
  CHECK_EQUAL(enter(arena, &entered), 0);
  return NULL;
}

static void a_thread_that_has_ended_is_a_dead_waiter(void) {
  arena_t *arena = make_arena(0);
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, enter_and_end, arena), 0);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
  CHECK_EQUAL(waiting(arena), 1);
  pid_t child = start_waiter(arena);
  CHECK_EQUAL(lock_and_notify(arena, 1), 1);
  CHECK_EQUAL(child_join(child), 0);
  CHECK_EQUAL(arena->status[0], 0);
}

static void who_was_killed_passing_on_is_finished_for(void) {
  for (int done = 0; done < 4; done++) {
    arena_t *arena = make_arena(0);
    cipc_condition_wait_t first;
    cipc_condition_wait_t second;
    cipc_condition_wait_t third;
    lock(arena);
    CHECK_EQUAL(enter(arena, &first), 0);
    lock(arena);
    CHECK_EQUAL(enter(arena, &second), 0);
    lock(arena);
    CHECK_EQUAL(enter(arena, &third), 0);
    CHECK_EQUAL(lock_and_notify(arena, 1), 1);
    // What a pass from the first to the second leaves when it is killed step by step.
    arena->slots[second.slot].limit = arena->slots[first.slot].limit;
    arena->condition.journal = (uint64_t)(first.slot + 1) << 32 | (second.slot + 1);
    if (done > 0) arena->condition.notified = second.ticket;
    if (done > 1) arena->slots[first.slot].waiter = CIPC_PARTICIPANT_NOBODY;
    if (done > 2) arena->slots[second.slot].asleep = 0;
    lock(arena);
    CHECK_EQUAL(notify(arena, 0), 0);
    CHECK(arena->condition.journal == 0);
    CHECK(arena->slots[first.slot].waiter == CIPC_PARTICIPANT_NOBODY);
    unlock(arena);
    CHECK_EQUAL(leave(arena, &second), 0);
    unlock(arena);
    CHECK_EQUAL(leave(arena, &third), CIPC_ETIMEDOUT);
    unlock(arena);
  }
}

static void a_journal_of_nonsense_does_nothing(void) {
  arena_t *arena = make_arena(0);
  const uint64_t nonsense[] = {1, UINT64_MAX, UINT64_C(1) << 32, UINT64_C(1) << 32 | (SLOTS + 1)};
  for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
    arena->condition.journal = nonsense[i];
    arena->condition.used = UINT32_MAX;
    CHECK_EQUAL(lock_and_notify(arena, 1), 0);
    CHECK(arena->condition.journal == 0);
  }
}

static void no_more_wait_than_there_are_slots(void) {
  arena_t *arena = make_arena(0);
  cipc_condition_wait_t entered[SLOTS + 1];
  for (int i = 0; i < SLOTS; i++) {
    lock(arena);
    CHECK_EQUAL(enter(arena, &entered[i]), 0);
  }
  lock(arena);
  CHECK_EQUAL(wait_until(arena, CIPC_NO_DEADLINE), CIPC_ECAPACITY);
  CHECK(cipc_mutex_is_owned(&arena->mutex));
  unlock(arena);
  CHECK_EQUAL(leave(arena, &entered[3]), CIPC_ETIMEDOUT);
  CHECK_EQUAL(enter(arena, &entered[3]), 0);
  CHECK_EQUAL(lock_and_notify(arena, CIPC_CONDITION_ALL), SLOTS);
  for (int i = 0; i < SLOTS; i++) {
    CHECK_EQUAL(leave(arena, &entered[i]), 0);
    unlock(arena);
  }
}

static void the_dead_make_room(void) {
  arena_t *arena = make_arena(0);
  pid_t first = start_waiter(arena);
  cipc_condition_wait_t entered[SLOTS];
  for (int i = 1; i < SLOTS; i++) {
    lock(arena);
    CHECK_EQUAL(enter(arena, &entered[i]), 0);
  }
  lock(arena);
  CHECK_EQUAL(enter(arena, &entered[0]), CIPC_ECAPACITY);
  child_kill(first);
  CHECK_EQUAL(enter(arena, &entered[0]), 0);
  CHECK_EQUAL(waiting(arena), SLOTS);
}

static void lock_and_die(void *argument) {
  arena_t *arena = argument;
  lock(arena);
  if (arena->number[0]) CHECK_EQUAL(notify(arena, 1), 1);
  CHECK(kill(getpid(), SIGKILL) == 0);
}

static void wait_for_a_death(void *argument) {
  arena_t *arena = argument;
  lock(arena);
  gate_set(&arena->gate, 1);
  CHECK_EQUAL(wait_patiently(arena), CIPC_OWNER_DIED);
  CHECK(cipc_mutex_is_owned(&arena->mutex));
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
  unlock(arena);
}

// A waiter that was notified, and one that waits for a notifier that died first.
static void a_waiter_is_told_of_a_dead_owner(void) {
  for (int notified = 0; notified < 2; notified++) {
    arena_t *arena = make_arena(0);
    arena->number[0] = notified;
    pid_t waiter = child_start(wait_for_a_death, arena);
    gate_wait(&arena->gate, 1);
    lock(arena);
    unlock(arena);
    CHECK_EQUAL(child_join(child_start(lock_and_die, arena)), -SIGKILL);
    CHECK_EQUAL(child_join(waiter), 0);
    lock(arena);
    unlock(arena);
  }
}

static void a_death_repaired_by_another_ends_no_wait(void) {
  arena_t *arena = make_arena(0);
  cipc_condition_wait_t entered;
  cipc_wait_t wait;
  lock(arena);
  CHECK_EQUAL(enter(arena, &entered), 0);
  CHECK_EQUAL(child_join(child_start(lock_and_die, arena)), -SIGKILL);
  CHECK_EQUAL(cipc_condition_step(&arena->condition, SLOTS, &arena->mutex, &entered, 0, &wait),
              CIPC_EAGAIN);
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_condition_step(&arena->condition, SLOTS, &arena->mutex, &entered, 1, &wait),
                CIPC_OWNER_DIED);
  }
  CHECK_EQUAL(cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
  unlock(arena);
  CHECK_EQUAL(leave(arena, &entered), CIPC_ETIMEDOUT);
  unlock(arena);
}

static void expect_busy(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_mutex_trylock(&arena->mutex), CIPC_EBUSY);
}

static void expect_free(void *argument) {
  arena_t *arena = argument;
  lock(arena);
  unlock(arena);
}

static void a_recursive_mutex_is_let_go_whole(void) {
  arena_t *arena = make_arena(1);
  cipc_condition_wait_t entered;
  for (int i = 0; i < 3; i++) lock(arena);
  CHECK_EQUAL(enter(arena, &entered), 0);
  CHECK_EQUAL(child_join(child_start(expect_free, arena)), 0);
  CHECK_EQUAL(leave(arena, &entered), CIPC_ETIMEDOUT);
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(child_join(child_start(expect_busy, arena)), 0);
    unlock(arena);
  }
  CHECK_EQUAL(child_join(child_start(expect_free, arena)), 0);
  CHECK_EQUAL(cipc_mutex_unlock(&arena->mutex), CIPC_EPERM);
}

#define ITEMS 20000

static void produce(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < ITEMS; i++) {
    lock(arena);
    arena->number[0]++;
    CHECK(notify(arena, 1) >= 0);
    unlock(arena);
  }
}

static void consume(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < ITEMS; i++) {
    lock(arena);
    while (arena->number[0] == 0) CHECK_EQUAL(wait_patiently(arena), 0);
    arena->number[0]--;
    arena->number[1]++;
    unlock(arena);
  }
}

static void nothing_is_lost_between_producers_and_consumers(void) {
  arena_t *arena = make_arena(0);
  pid_t children[6];
  for (int i = 0; i < 3; i++) children[i] = child_start(consume, arena);
  for (int i = 3; i < 6; i++) children[i] = child_start(produce, arena);
  for (int i = 0; i < 6; i++) CHECK_EQUAL(child_join(children[i]), 0);
  CHECK_EQUAL(arena->number[0], 0);
  CHECK_EQUAL(arena->number[1], 3 * ITEMS);
}

static void *consume_in_thread(void *argument) {
  consume(argument);
  return NULL;
}

static void threads_are_waiters_too(void) {
  arena_t *arena = make_arena(0);
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(pthread_create(&threads[i], NULL, consume_in_thread, arena), 0);
  }
  for (int i = 0; i < 3; i++) produce(arena);
  for (int i = 0; i < 3; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
  CHECK_EQUAL(arena->number[1], 3 * ITEMS);
}

static void consume_for_ever(void *argument) {
  arena_t *arena = argument;
  for (;;) {
    int status = cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE);
    for (;;) {
      if (status == CIPC_OWNER_DIED) {
        // Each change of the number is one store, so there is nothing to repair.
        CHECK_EQUAL(cipc_mutex_recover(&arena->mutex), 0);
        status = 0;
      }
      CHECK_EQUAL(status, 0);
      if (arena->number[0] != 0) break;
      status = wait_until(arena, CIPC_NO_DEADLINE);
    }
    arena->number[0]--;
    unlock(arena);
  }
}

// Notifications go to waiters that are killed at any moment. One waiter is never killed: as long as
// there is anything to take, a waiter takes it, since no notification ends with the dead.
static void consumers_are_killed_while_a_producer_goes_on(void) {
  arena_t *arena = make_arena(0);
  pid_t survivor = child_start(consume_for_ever, arena);
  for (int round = 0; round < 100; round++) {
    pid_t victims[2];
    for (int i = 0; i < 2; i++) victims[i] = child_start(consume_for_ever, arena);
    for (int i = 0; i < 20; i++) {
      if (i % 7 == 3) (void)sched_yield();
      int status = cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE);
      if (status == CIPC_OWNER_DIED) status = cipc_mutex_recover(&arena->mutex);
      CHECK_EQUAL(status, 0);
      arena->number[0]++;
      CHECK(notify(arena, 1) >= 0);
      unlock(arena);
      if (i == 5 || i == 13) child_kill(victims[i / 8]);
    }
  }
  cipc_deadline_t patience = cipc_clock_deadline(CHILD_PATIENCE);
  for (;;) {
    int status = cipc_mutex_lock(&arena->mutex, CIPC_NO_DEADLINE);
    if (status == CIPC_OWNER_DIED) status = cipc_mutex_recover(&arena->mutex);
    CHECK_EQUAL(status, 0);
    int64_t left = arena->number[0];
    unlock(arena);
    if (left == 0) break;
    CHECK(cipc_clock_now() < patience);
    (void)sched_yield();
  }
  child_kill(survivor);
}

int main(void) {
  TEST(the_longest_waiting_is_notified_first);
  TEST(n_are_notified_and_no_more);
  TEST(all_are_notified);
  TEST(only_the_owner_waits_and_notifies);
  TEST(deadlines_are_kept);
  TEST(a_notification_just_before_the_end_of_a_wait_counts);
  TEST(a_wake_up_alone_is_no_notification);
  TEST(the_dead_pass_their_notification_on);
  TEST(the_living_find_a_notified_waiter_dead);
  TEST(a_notification_does_not_pass_to_who_came_later);
  TEST(a_thread_that_has_ended_is_a_dead_waiter);
  TEST(who_was_killed_passing_on_is_finished_for);
  TEST(a_journal_of_nonsense_does_nothing);
  TEST(no_more_wait_than_there_are_slots);
  TEST(the_dead_make_room);
  TEST(a_waiter_is_told_of_a_dead_owner);
  TEST(a_death_repaired_by_another_ends_no_wait);
  TEST(a_recursive_mutex_is_let_go_whole);
  TEST(nothing_is_lost_between_producers_and_consumers);
  TEST(threads_are_waiters_too);
  TEST(consumers_are_killed_while_a_producer_goes_on);
  return check_finish();
}
