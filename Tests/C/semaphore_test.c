/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/semaphore.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "child.h"

#define MILLISECOND INT64_C(1000000)
#define CAPACITY 8u

// What the children of one test share.
typedef struct arena {
  cipc_semaphore_t semaphore;
  cipc_participant_t permits[CAPACITY];
  // Behind the semaphore: to be left alone.
  uint64_t guard;
  cipc_semaphore_t unowned;
  uint32_t capacity;
  uint32_t gate;
  uint32_t gate2;
  uint32_t inside;
  uint32_t most;
  uint64_t counter;
  uint32_t permit;
  cipc_participant_t sender;
} arena_t;

static arena_t *make_arena(uint32_t capacity) {
  arena_t *arena = child_shared(sizeof *arena);
  arena->capacity = capacity;
  arena->guard = UINT64_C(0x5a5a5a5a5a5a5a5a);
  CHECK_EQUAL(cipc_semaphore_init(&arena->semaphore, capacity), 0);
  return arena;
}

static arena_t *make_unowned(uint32_t value, uint32_t bound) {
  arena_t *arena = child_shared(sizeof *arena);
  CHECK_EQUAL(cipc_semaphore_init_unowned(&arena->unowned, value, bound), 0);
  return arena;
}

static cipc_deadline_t soon(void) { return cipc_clock_deadline(CHILD_PATIENCE); }

static uint32_t acquire(arena_t *arena) {
  int permit = cipc_semaphore_acquire(&arena->semaphore, arena->capacity, soon());
  CHECK(permit >= 0 && (uint32_t)permit < arena->capacity);
  return (uint32_t)permit;
}

static uint32_t acquire_for_process(arena_t *arena) {
  int permit = cipc_semaphore_acquire_for(&arena->semaphore, arena->capacity,
                                          cipc_participant_self(), soon());
  CHECK(permit >= 0 && (uint32_t)permit < arena->capacity);
  return (uint32_t)permit;
}

static int try_acquire(arena_t *arena) {
  return cipc_semaphore_acquire(&arena->semaphore, arena->capacity, CIPC_IMMEDIATELY);
}

static void release(arena_t *arena, uint32_t permit) {
  CHECK_EQUAL(cipc_semaphore_release(&arena->semaphore, arena->capacity, permit), 0);
}

static uint32_t value(arena_t *arena) {
  return cipc_semaphore_value(&arena->semaphore, arena->capacity);
}

static void in_child(void (*body)(void *), void *argument) {
  CHECK_EQUAL(child_join(child_start(body, argument)), 0);
}

static void in_thread(void *(*body)(void *), void *argument) {
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, body, argument), 0);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

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

// MARK: Owned

static void a_new_one_has_all_its_permits(void) {
  arena_t *arena = make_arena(3);
  CHECK_EQUAL(value(arena), 3);
  bool seen[3] = {false, false, false};
  uint32_t permits[3];
  for (int i = 0; i < 3; i++) {
    permits[i] = acquire(arena);
    CHECK(!seen[permits[i]]);
    seen[permits[i]] = true;
    CHECK_EQUAL(value(arena), 2 - i);
    CHECK(cipc_semaphore_holder(&arena->semaphore, 3, permits[i]) ==
          cipc_participant_this_thread());
  }
  CHECK_EQUAL(cipc_semaphore_try(&arena->semaphore, 3, cipc_participant_self()), CIPC_EBUSY);
  CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
  for (int i = 0; i < 3; i++) release(arena, permits[i]);
  CHECK_EQUAL(value(arena), 3);
  CHECK(cipc_semaphore_holder(&arena->semaphore, 3, 0) == CIPC_PARTICIPANT_NOBODY);
}

static void capacities_have_bounds(void) {
  arena_t *arena = child_shared(sizeof *arena);
  CHECK_EQUAL(cipc_semaphore_init(&arena->semaphore, 0), CIPC_EINVAL);
  CHECK_EQUAL(cipc_semaphore_init(&arena->semaphore, CIPC_SEMAPHORE_MAXIMUM + 1), CIPC_EINVAL);
  CHECK_EQUAL(cipc_semaphore_footprint(0), 0);
  CHECK_EQUAL(cipc_semaphore_footprint(CIPC_SEMAPHORE_MAXIMUM + 1), 0);
  CHECK_EQUAL(cipc_semaphore_footprint(CAPACITY), sizeof(cipc_semaphore_t) + CAPACITY * 8);
  const uint32_t most = CIPC_SEMAPHORE_MAXIMUM;
  cipc_semaphore_t *large = child_shared(cipc_semaphore_footprint(most));
  CHECK_EQUAL(cipc_semaphore_init(large, most), 0);
  // All but the last and the first, by which it is seen that none is left out.
  cipc_participant_t self = cipc_participant_this_thread();
  for (uint32_t i = 1; i < most - 1; i++) {
    __atomic_store_n(cipc_semaphore_permits(large) + i, self, __ATOMIC_SEQ_CST);
  }
  CHECK_EQUAL(cipc_semaphore_acquire(large, most, CIPC_IMMEDIATELY) +
                  cipc_semaphore_acquire(large, most, CIPC_IMMEDIATELY),
              most - 1);
  CHECK_EQUAL(cipc_semaphore_value(large, most), 0);
  CHECK_EQUAL(cipc_semaphore_acquire(large, most, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  for (uint32_t i = 0; i < most; i++) CHECK_EQUAL(cipc_semaphore_release(large, most, i), 0);
}

static void nobody_holds_nothing(void) {
  arena_t *arena = make_arena(1);
  const cipc_participant_t nobody = CIPC_PARTICIPANT_NOBODY;
  CHECK_EQUAL(cipc_semaphore_try(&arena->semaphore, 1, nobody), CIPC_ESRCH);
  CHECK_EQUAL(cipc_semaphore_acquire_for(&arena->semaphore, 1, nobody, soon()), CIPC_ESRCH);
  CHECK_EQUAL(cipc_semaphore_release_for(&arena->semaphore, 1, 0, nobody), CIPC_EPERM);
  CHECK_EQUAL(cipc_semaphore_hand(&arena->semaphore, 1, 0, nobody, cipc_participant_self()),
              CIPC_EPERM);
  uint32_t permit = acquire_for_process(arena);
  CHECK_EQUAL(cipc_semaphore_hand(&arena->semaphore, 1, permit, cipc_participant_self(), nobody),
              CIPC_EPERM);
}

static void it_is_released_as_often_as_it_was_acquired(void) {
  arena_t *arena = make_arena(2);
  for (uint32_t i = 0; i < 2; i++) {
    CHECK_EQUAL(cipc_semaphore_release(&arena->semaphore, 2, i), CIPC_EPERM);
  }
  uint32_t permit = acquire(arena);
  CHECK_EQUAL(cipc_semaphore_release(&arena->semaphore, 2, 1 - permit), CIPC_EPERM);
  release(arena, permit);
  CHECK_EQUAL(cipc_semaphore_release(&arena->semaphore, 2, permit), CIPC_EPERM);
  CHECK_EQUAL(cipc_semaphore_release(&arena->semaphore, 2, 2), CIPC_EINVAL);
  CHECK_EQUAL(cipc_semaphore_release(&arena->semaphore, 2, UINT32_MAX), CIPC_EINVAL);
  CHECK_EQUAL(value(arena), 2);
}

static void expect_not_ours(void *argument) {
  arena_t *arena = argument;
  for (uint32_t i = 0; i < arena->capacity; i++) {
    CHECK_EQUAL(cipc_semaphore_release(&arena->semaphore, arena->capacity, i), CIPC_EPERM);
    CHECK_EQUAL(
        cipc_semaphore_release_for(&arena->semaphore, arena->capacity, i, cipc_participant_self()),
        CIPC_EPERM);
  }
  CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
}

static void *expect_not_ours_in_thread(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_semaphore_release(&arena->semaphore, arena->capacity, arena->permit),
              CIPC_EPERM);
  CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
  return NULL;
}

static void only_the_holder_releases(void) {
  arena_t *arena = make_arena(1);
  arena->permit = acquire(arena);
  in_child(expect_not_ours, arena);
  in_thread(expect_not_ours_in_thread, arena);
  release(arena, arena->permit);
  arena->permit = acquire_for_process(arena);
  in_child(expect_not_ours, arena);
  // The thread holds it as little as any other thread of the process that does.
  in_thread(expect_not_ours_in_thread, arena);
  CHECK_EQUAL(cipc_semaphore_release(&arena->semaphore, 1, arena->permit), CIPC_EPERM);
  CHECK_EQUAL(
      cipc_semaphore_release_for(&arena->semaphore, 1, arena->permit, cipc_participant_self()), 0);
}

#define ROUNDS 4000

static void *come_and_go(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < ROUNDS; i++) {
    uint32_t permit = acquire(arena);
    uint32_t inside = __atomic_add_fetch(&arena->inside, 1, __ATOMIC_SEQ_CST);
    CHECK(inside <= arena->capacity);
    if (i % 8 == 0) (void)sched_yield();
    (void)__atomic_add_fetch(&arena->counter, 1, __ATOMIC_RELAXED);
    (void)__atomic_sub_fetch(&arena->inside, 1, __ATOMIC_SEQ_CST);
    release(arena, permit);
  }
  return NULL;
}

static void come_and_go_in_two_threads(void *argument) {
  arena_t *arena = argument;
  gate_wait(&arena->gate, 1);
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, come_and_go, arena), 0);
  (void)come_and_go(arena);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

static void never_more_inside_than_permits(void) {
  for (uint32_t capacity = 1; capacity <= 4; capacity++) {
    arena_t *arena = make_arena(capacity);
    pid_t children[4];
    for (int i = 0; i < 4; i++) children[i] = child_start(come_and_go_in_two_threads, arena);
    gate_set(&arena->gate, 1);
    for (int i = 0; i < 4; i++) CHECK_EQUAL(child_join(children[i]), 0);
    CHECK_EQUAL(arena->counter, 4 * 2 * ROUNDS);
    CHECK_EQUAL(value(arena), capacity);
    CHECK(arena->guard == UINT64_C(0x5a5a5a5a5a5a5a5a));
  }
}

static void deadlines_are_kept(void) {
  arena_t *arena = make_arena(1);
  uint32_t permit = acquire(arena);
  const cipc_deadline_t over[] = {CIPC_IMMEDIATELY, 1, -1, INT64_MIN, cipc_clock_now()};
  for (size_t i = 0; i < sizeof over / sizeof over[0]; i++) {
    CHECK_EQUAL(cipc_semaphore_acquire(&arena->semaphore, 1, over[i]), CIPC_ETIMEDOUT);
  }
  // Within a slice, and over more than one.
  const int64_t waits[] = {20 * MILLISECOND, 450 * MILLISECOND};
  for (size_t i = 0; i < 2; i++) {
    cipc_deadline_t deadline = cipc_clock_deadline(waits[i]);
    CHECK_EQUAL(cipc_semaphore_acquire(&arena->semaphore, 1, deadline), CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= deadline);
  }
  release(arena, permit);
  // A deadline that is over takes what is free.
  permit = (uint32_t)cipc_semaphore_acquire(&arena->semaphore, 1, -1);
  CHECK_EQUAL(permit, 0);
  release(arena, permit);
}

static void trying_leaves_no_mark(void) {
  arena_t *arena = make_arena(1);
  uint32_t permit = acquire(arena);
  CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_semaphore_step(&arena->semaphore, 1, cipc_participant_self(), 1, NULL),
              CIPC_EAGAIN);
  CHECK_EQUAL(arena->semaphore.word, 0);
  release(arena, permit);
}

static void a_step_says_where_to_sleep(void) {
  arena_t *arena = make_arena(1);
  cipc_participant_t self = cipc_participant_self();
  uint32_t permit = acquire(arena);
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_semaphore_step(&arena->semaphore, 1, self, 0, &wait), CIPC_EAGAIN);
  CHECK(wait.word == &arena->semaphore.word);
  CHECK_EQUAL(*wait.word, wait.expected);
  release(arena, permit);
  // A thread that has not fallen asleep by now will not.
  CHECK(*wait.word != wait.expected);
  // No thread slept, so the mark is gone.
  CHECK_EQUAL(arena->semaphore.word & CIPC_SEMAPHORE_WAITERS, 0);
  CHECK_EQUAL(cipc_semaphore_step(&arena->semaphore, 1, self, 0, &wait), 0);
  CHECK_EQUAL(cipc_semaphore_release_for(&arena->semaphore, 1, 0, self), 0);
}

static void wait_and_go(void *argument) {
  arena_t *arena = argument;
  (void)__atomic_add_fetch(&arena->inside, 1, __ATOMIC_SEQ_CST);
  uint32_t permit = acquire(arena);
  (void)__atomic_add_fetch(&arena->counter, 1, __ATOMIC_SEQ_CST);
  release(arena, permit);
}

static void all_who_wait_come_through(void) {
  arena_t *arena = make_arena(1);
  uint32_t permit = acquire(arena);
  pid_t waiters[6];
  for (int i = 0; i < 6; i++) waiters[i] = child_start(wait_and_go, arena);
  for (int i = 0; i < 6; i++) wait_until_asleep(waiters[i]);
  CHECK_EQUAL(arena->counter, 0);
  release(arena, permit);
  for (int i = 0; i < 6; i++) CHECK_EQUAL(child_join(waiters[i]), 0);
  CHECK_EQUAL(arena->counter, 6);
  CHECK_EQUAL(value(arena), 1);
}

static void hold_all_and_hang(void *argument) {
  arena_t *arena = argument;
  for (uint32_t i = 0; i < arena->capacity; i++) {
    if (i % 2 == 0) {
      (void)acquire(arena);
    } else {
      (void)acquire_for_process(arena);
    }
  }
  gate_set(&arena->gate, 1);
  child_hang();
}

static pid_t start_holder(arena_t *arena) {
  arena->gate = 0;
  pid_t child = child_start(hold_all_and_hang, arena);
  gate_wait(&arena->gate, 1);
  return child;
}

static void the_permits_of_a_killed_process_come_back(void) {
  const uint32_t capacities[] = {1, CAPACITY};
  for (int i = 0; i < 2; i++) {
    arena_t *arena = make_arena(capacities[i]);
    pid_t holder = start_holder(arena);
    CHECK_EQUAL(value(arena), 0);
    CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
    child_kill(holder);
    // All of them, and no more.
    uint32_t permits[CAPACITY];
    for (uint32_t k = 0; k < capacities[i]; k++) permits[k] = acquire(arena);
    CHECK_EQUAL(value(arena), 0);
    CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
    for (uint32_t k = 0; k < capacities[i]; k++) release(arena, permits[k]);
    CHECK_EQUAL(value(arena), capacities[i]);
  }
}

static void who_only_tries_gets_what_the_dead_held(void) {
  arena_t *arena = make_arena(1);
  child_kill(start_holder(arena));
  release(arena, (uint32_t)try_acquire(arena));
  // The same of short waits, one after the other.
  pid_t holder = start_holder(arena);
  CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
  child_kill(holder);
  cipc_deadline_t deadline = soon();
  for (;;) {
    int permit = cipc_semaphore_acquire(&arena->semaphore, 1, cipc_clock_deadline(5 * MILLISECOND));
    if (permit >= 0) break;
    CHECK_EQUAL(permit, CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() < deadline);
  }
  release(arena, 0);
}

static void those_who_wait_go_on_when_the_holder_is_killed(void) {
  arena_t *arena = make_arena(4);
  pid_t holder = start_holder(arena);
  pid_t waiters[4];
  for (int i = 0; i < 4; i++) waiters[i] = child_start(wait_and_go, arena);
  for (int i = 0; i < 4; i++) wait_until_asleep(waiters[i]);
  child_kill(holder);
  for (int i = 0; i < 4; i++) CHECK_EQUAL(child_join(waiters[i]), 0);
  CHECK_EQUAL(value(arena), 4);
}

// The wake-up for the first may be swallowed by its death; the others look again.
static void those_who_wait_go_on_when_waiters_are_killed(void) {
  arena_t *arena = make_arena(1);
  uint32_t permit = acquire(arena);
  pid_t victims[3];
  for (int i = 0; i < 3; i++) victims[i] = child_start(wait_and_go, arena);
  pid_t waiter = child_start(wait_and_go, arena);
  for (int i = 0; i < 3; i++) wait_until_asleep(victims[i]);
  wait_until_asleep(waiter);
  for (int i = 0; i < 3; i++) CHECK(kill(victims[i], SIGKILL) == 0);
  release(arena, permit);
  CHECK_EQUAL(child_join(waiter), 0);
  for (int i = 0; i < 3; i++) (void)child_join(victims[i]);
  release(arena, acquire(arena));
  CHECK_EQUAL(value(arena), 1);
}

static void *acquire_and_leave(void *argument) {
  arena_t *arena = argument;
  arena->permit = acquire(arena);
  return NULL;
}

static void a_thread_that_ends_gives_back(void) {
  arena_t *arena = make_arena(1);
  in_thread(acquire_and_leave, arena);
  CHECK_EQUAL(value(arena), 0);
  uint32_t permit = acquire(arena);
  release(arena, permit);
  in_thread(acquire_and_leave, arena);
  release(arena, (uint32_t)acquire(arena));
}

static void *hand_to_process_and_leave(void *argument) {
  arena_t *arena = argument;
  arena->permit = acquire(arena);
  CHECK_EQUAL(cipc_semaphore_hand(&arena->semaphore, arena->capacity, arena->permit,
                                  cipc_participant_this_thread(), cipc_participant_self()),
              0);
  return NULL;
}

static void what_the_process_holds_outlives_the_thread(void) {
  arena_t *arena = make_arena(1);
  in_thread(hand_to_process_and_leave, arena);
  for (int i = 0; i < 2; i++) {
    cipc_deadline_t deadline = cipc_clock_deadline(210 * MILLISECOND);
    CHECK_EQUAL(cipc_semaphore_acquire(&arena->semaphore, 1, deadline), CIPC_ETIMEDOUT);
  }
  CHECK_EQUAL(
      cipc_semaphore_release_for(&arena->semaphore, 1, arena->permit, cipc_participant_self()), 0);
}

static void *hang_in_thread(void *argument) {
  arena_t *arena = argument;
  (void)acquire(arena);
  gate_set(&arena->gate, 1);
  gate_wait(&arena->gate2, 1);
  return NULL;
}

static void end_leader_only(void *argument) {
  arena_t *arena = argument;
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, hang_in_thread, arena), 0);
  gate_wait(&arena->gate, 1);
#if defined(__GLIBC__)
  pthread_exit(NULL);
#else
  // In a forked child musl's (1.2.3) pthread_exit keeps a lock that the other thread waits for when
  // it ends.
  (void)syscall(SYS_exit, 0);
#endif
}

static void a_thread_outlives_the_first_one(void) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
  check_skip("under ThreadSanitizer a forked child's first thread cannot end before the others");
  return;
#endif
#endif
  arena_t *arena = make_arena(1);
  pid_t child = child_start(end_leader_only, arena);
  gate_wait(&arena->gate, 1);
  CHECK_EQUAL(cipc_semaphore_acquire(&arena->semaphore, 1, cipc_clock_deadline(450 * MILLISECOND)),
              CIPC_ETIMEDOUT);
  gate_set(&arena->gate2, 1);
  release(arena, acquire(arena));
  (void)child_join(child);
}

static void stopped_is_not_dead(void) {
  arena_t *arena = make_arena(2);
  pid_t holder = start_holder(arena);
  CHECK(kill(holder, SIGSTOP) == 0);
  int state = 0;
  CHECK(waitpid(holder, &state, WUNTRACED) == holder && WIFSTOPPED(state));
  CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_semaphore_acquire(&arena->semaphore, 2, cipc_clock_deadline(650 * MILLISECOND)),
              CIPC_ETIMEDOUT);
  CHECK_EQUAL(value(arena), 0);
  // Killed while stopped, and not reaped: dead.
  CHECK(kill(holder, SIGKILL) == 0);
  uint32_t permit = acquire(arena);
  release(arena, permit);
  CHECK_EQUAL(child_join(holder), -SIGKILL);
}

static void a_recycled_number_is_another_holder(void) {
  arena_t *arena = make_arena(1);
  // A holder with our number that started at another time.
  arena->permits[0] = cipc_participant_self() ^ (UINT64_C(1) << 40);
  release(arena, acquire(arena));
  arena->permits[0] = cipc_participant_this_thread() ^ (UINT64_C(1) << 40);
  // This thread has looked just now, so the next look is at the end of a slice.
  release(arena, acquire(arena));
}

static void *try_in_thread(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
  return NULL;
}

static void a_forked_child_does_not_hold_what_its_parent_does(void) {
  arena_t *arena = make_arena(2);
  uint32_t one = acquire(arena);
  uint32_t other = acquire_for_process(arena);
  in_child(expect_not_ours, arena);
  // Nor does its end give it back.
  in_thread(try_in_thread, arena);
  release(arena, one);
  CHECK_EQUAL(cipc_semaphore_release_for(&arena->semaphore, 2, other, cipc_participant_self()), 0);
}

static void adopt_and_hang(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_semaphore_hand(&arena->semaphore, arena->capacity, arena->permit, arena->sender,
                                  cipc_participant_self()),
              0);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void a_permit_is_handed_on(void) {
  arena_t *arena = make_arena(1);
  cipc_participant_t self = cipc_participant_self();
  arena->permit = acquire_for_process(arena);
  arena->sender = self;
  pid_t child = child_start(adopt_and_hang, arena);
  gate_wait(&arena->gate, 1);
  CHECK_EQUAL(cipc_participant_pid(cipc_semaphore_holder(&arena->semaphore, 1, 0)), child);
  // It is the child's now.
  CHECK_EQUAL(cipc_semaphore_release_for(&arena->semaphore, 1, arena->permit, self), CIPC_EPERM);
  CHECK_EQUAL(cipc_semaphore_hand(&arena->semaphore, 1, arena->permit, self, self), CIPC_EPERM);
  CHECK_EQUAL(cipc_semaphore_hand(&arena->semaphore, 1, 1, self, self), CIPC_EINVAL);
  CHECK_EQUAL(try_acquire(arena), CIPC_ETIMEDOUT);
  child_kill(child);
  release(arena, acquire(arena));
}

static void send_and_hang(void *argument) {
  arena_t *arena = argument;
  arena->sender = cipc_participant_self();
  arena->permit = acquire_for_process(arena);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void a_permit_of_a_dead_sender_can_be_taken(void) {
  arena_t *arena = make_arena(1);
  cipc_participant_t self = cipc_participant_self();
  pid_t child = child_start(send_and_hang, arena);
  gate_wait(&arena->gate, 1);
  child_kill(child);
  // Not looked for yet: the receiver still gets it.
  CHECK_EQUAL(cipc_semaphore_hand(&arena->semaphore, 1, arena->permit, arena->sender, self), 0);
  CHECK_EQUAL(cipc_semaphore_release_for(&arena->semaphore, 1, arena->permit, self), 0);
  arena->gate = 0;
  child = child_start(send_and_hang, arena);
  gate_wait(&arena->gate, 1);
  child_kill(child);
  uint32_t permit = acquire(arena);
  CHECK_EQUAL(cipc_semaphore_hand(&arena->semaphore, 1, arena->permit, arena->sender, self),
              CIPC_EPERM);
  release(arena, permit);
}

// What the library would find where a process scribbled.
static void scribbled_bytes_stay_inside(void) {
  arena_t *arena = make_arena(CAPACITY);
  memset(&arena->semaphore, 0xff, sizeof arena->semaphore);
  memset(arena->permits, 0xff, sizeof arena->permits);
  CHECK_EQUAL(value(arena), 0);
  int permit =
      cipc_semaphore_acquire(&arena->semaphore, CAPACITY, cipc_clock_deadline(300 * MILLISECOND));
  CHECK(permit == CIPC_ETIMEDOUT || (permit >= 0 && (uint32_t)permit < CAPACITY));
  CHECK(arena->guard == UINT64_C(0x5a5a5a5a5a5a5a5a));
}

static void come_and_go_for_ever(void *argument) {
  arena_t *arena = argument;
  gate_set(&arena->gate, 1);
  for (;;) {
    uint32_t one = acquire(arena);
    uint32_t other = acquire_for_process(arena);
    (void)__atomic_add_fetch(&arena->counter, 1, __ATOMIC_RELAXED);
    CHECK_EQUAL(cipc_semaphore_release_for(&arena->semaphore, arena->capacity, other,
                                           cipc_participant_self()),
                0);
    release(arena, one);
  }
}

// Wherever the kill falls: all permits can be taken again.
static void killed_anywhere_nothing_is_lost(void) {
  arena_t *arena = make_arena(2);
  for (int i = 0; i < 300; i++) {
    arena->gate = 0;
    pid_t one = child_start(come_and_go_for_ever, arena);
    gate_wait(&arena->gate, 1);
    uint64_t before = __atomic_load_n(&arena->counter, __ATOMIC_RELAXED);
    for (int spin = 0; spin < i * 10; spin++) {
      if (__atomic_load_n(&arena->counter, __ATOMIC_RELAXED) > before + (uint64_t)i) break;
    }
    child_kill(one);
    cipc_participant_t self = cipc_participant_this_thread();
    uint32_t permits = 0;
    for (int k = 0; k < 2; k++) {
      int permit = cipc_semaphore_step(&arena->semaphore, 2, self, 1, NULL);
      CHECK(permit >= 0);
      permits |= 1u << permit;
    }
    CHECK_EQUAL(permits, 3);
    release(arena, 0);
    release(arena, 1);
    CHECK_EQUAL(value(arena), 2);
  }
}

// MARK: Unowned

static void any_process_takes_posts(void) {
  arena_t *arena = make_unowned(1, 3);
  CHECK_EQUAL(cipc_semaphore_count(&arena->unowned), 1);
  CHECK_EQUAL(cipc_semaphore_bound(&arena->unowned), 3);
  CHECK_EQUAL(cipc_semaphore_take(&arena->unowned, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(cipc_semaphore_take(&arena->unowned, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_semaphore_try_take(&arena->unowned), CIPC_EBUSY);
  CHECK_EQUAL(cipc_semaphore_take(&arena->unowned, -1), CIPC_ETIMEDOUT);
  cipc_deadline_t deadline = cipc_clock_deadline(20 * MILLISECOND);
  CHECK_EQUAL(cipc_semaphore_take(&arena->unowned, deadline), CIPC_ETIMEDOUT);
  CHECK(cipc_clock_now() >= deadline);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 3), 0);
  CHECK_EQUAL(cipc_semaphore_count(&arena->unowned), 3);
}

static void there_are_never_more_than_the_bound(void) {
  arena_t *arena = make_unowned(0, 3);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 4), CIPC_ECAPACITY);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, UINT32_MAX), CIPC_ECAPACITY);
  CHECK_EQUAL(cipc_semaphore_count(&arena->unowned), 0);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 2), 0);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 2), CIPC_ECAPACITY);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 1), 0);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 1), CIPC_ECAPACITY);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 0), 0);
  CHECK_EQUAL(cipc_semaphore_count(&arena->unowned), 3);
  CHECK_EQUAL(cipc_semaphore_init_unowned(&arena->unowned, 4, 3), CIPC_ECAPACITY);
  CHECK_EQUAL(cipc_semaphore_init_unowned(&arena->unowned, 0, 0), CIPC_EINVAL);
  CHECK_EQUAL(cipc_semaphore_init_unowned(&arena->unowned, 0, CIPC_SEMAPHORE_BOUND_MAXIMUM + 1),
              CIPC_EINVAL);
  CHECK_EQUAL(cipc_semaphore_init_unowned(&arena->unowned, CIPC_SEMAPHORE_BOUND_MAXIMUM,
                                          CIPC_SEMAPHORE_BOUND_MAXIMUM),
              0);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 1), CIPC_ECAPACITY);
}

static void take_one(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_semaphore_take(&arena->unowned, soon()), 0);
  (void)__atomic_add_fetch(&arena->counter, 1, __ATOMIC_SEQ_CST);
}

static void a_post_of_n_releases_n(void) {
  arena_t *arena = make_unowned(0, 100);
  pid_t waiters[5];
  for (int i = 0; i < 5; i++) waiters[i] = child_start(take_one, arena);
  for (int i = 0; i < 5; i++) wait_until_asleep(waiters[i]);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 3), 0);
  int ended[3];
  for (int i = 0; i < 3; i++) CHECK(wait(&ended[i]) > 0 && ended[i] == 0);
  CHECK_EQUAL(arena->counter, 3);
  CHECK_EQUAL(waitpid(-1, &ended[0], WNOHANG), 0);
  CHECK_EQUAL(cipc_semaphore_post(&arena->unowned, 2), 0);
  for (int i = 0; i < 2; i++) CHECK(wait(&ended[i]) > 0 && ended[i] == 0);
  CHECK_EQUAL(cipc_semaphore_count(&arena->unowned), 0);
}

static void take_and_hang(void *argument) {
  arena_t *arena = argument;
  take_one(arena);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void what_the_dead_took_is_gone(void) {
  arena_t *arena = make_unowned(2, 2);
  pid_t child = child_start(take_and_hang, arena);
  gate_wait(&arena->gate, 1);
  child_kill(child);
  CHECK_EQUAL(cipc_semaphore_take(&arena->unowned, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(cipc_semaphore_take(&arena->unowned, cipc_clock_deadline(250 * MILLISECOND)),
              CIPC_ETIMEDOUT);
}

#define SIGNALS 30000

static void take_many(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < SIGNALS; i++) CHECK_EQUAL(cipc_semaphore_take(&arena->unowned, soon()), 0);
}

static void post_many(void *argument) {
  arena_t *arena = argument;
  for (int i = 0; i < SIGNALS; i++) {
    int status;
    while ((status = cipc_semaphore_post(&arena->unowned, 1)) != 0) {
      CHECK_EQUAL(status, CIPC_ECAPACITY);
      (void)sched_yield();
    }
  }
}

static void as_many_are_taken_as_posted(void) {
  arena_t *arena = make_unowned(0, 16);
  pid_t children[6];
  for (int i = 0; i < 3; i++) {
    children[2 * i] = child_start(take_many, arena);
    children[2 * i + 1] = child_start(post_many, arena);
  }
  for (int i = 0; i < 6; i++) CHECK_EQUAL(child_join(children[i]), 0);
  CHECK_EQUAL(cipc_semaphore_count(&arena->unowned), 0);
}

int main(void) {
  TEST(a_new_one_has_all_its_permits);
  TEST(capacities_have_bounds);
  TEST(nobody_holds_nothing);
  TEST(it_is_released_as_often_as_it_was_acquired);
  TEST(only_the_holder_releases);
  TEST(never_more_inside_than_permits);
  TEST(deadlines_are_kept);
  TEST(trying_leaves_no_mark);
  TEST(a_step_says_where_to_sleep);
  TEST(all_who_wait_come_through);
  TEST(the_permits_of_a_killed_process_come_back);
  TEST(who_only_tries_gets_what_the_dead_held);
  TEST(those_who_wait_go_on_when_the_holder_is_killed);
  TEST(those_who_wait_go_on_when_waiters_are_killed);
  TEST(a_thread_that_ends_gives_back);
  TEST(what_the_process_holds_outlives_the_thread);
  TEST(a_thread_outlives_the_first_one);
  TEST(stopped_is_not_dead);
  TEST(a_recycled_number_is_another_holder);
  TEST(a_forked_child_does_not_hold_what_its_parent_does);
  TEST(a_permit_is_handed_on);
  TEST(a_permit_of_a_dead_sender_can_be_taken);
  TEST(scribbled_bytes_stay_inside);
  TEST(killed_anywhere_nothing_is_lost);
  TEST(any_process_takes_posts);
  TEST(there_are_never_more_than_the_bound);
  TEST(a_post_of_n_releases_n);
  TEST(what_the_dead_took_is_gone);
  TEST(as_many_are_taken_as_posted);
  return check_finish();
}
