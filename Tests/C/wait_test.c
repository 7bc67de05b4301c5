/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/wait.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/time.h>

#include "base/clock.h"
#include "child.h"
#include "wait/wait.h"

#define MILLISECOND INT64_C(1000000)

// Waits on fresh words, so that no test begins in the slice of another.
static const uint32_t *fresh_word(void) { return child_shared(sizeof(uint32_t)); }

static void a_word_that_differs_is_not_slept_on(void) {
  cipc_wait_t wait = {.word = fresh_word(), .expected = 1};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_IMMEDIATELY), 0);
}

// As one that others change all the time.
static void a_deadline_passes_although_the_word_differs(void) {
  cipc_wait_t wait = {.word = fresh_word(), .expected = 1};
  cipc_deadline_t deadline = cipc_clock_deadline(20 * MILLISECOND);
  int status;
  do {
    status = cipc_wait_sleep(&wait, deadline);
  } while (status >= 0);
  CHECK_EQUAL(status, CIPC_ETIMEDOUT);
}

static void sleep_until_set(void *argument) {
  const uint32_t *word = argument;
  cipc_wait_t wait = {.word = word, .expected = 0};
  while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == 0) {
    CHECK(cipc_wait_sleep(&wait, cipc_clock_deadline(CHILD_PATIENCE)) >= 0);
  }
}

static void a_wake_ends_the_sleep(void) {
  uint32_t *word = child_shared(sizeof *word);
  pid_t child = child_start(sleep_until_set, word);
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  // Until it was asleep: only then has the call been proven to sleep.
  while (cipc_futex_wake(word, 1) == 0) CHECK(cipc_clock_now() < deadline && sched_yield() == 0);
  gate_set(word, 1);
  CHECK_EQUAL(child_join(child), 0);
}

static void a_slice_ends_with_a_look(void) {
  cipc_wait_t wait = {.word = fresh_word(), .expected = 0};
  cipc_deadline_t before = cipc_clock_now();
  for (int i = 1; i <= 2; i++) {
    CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), CIPC_WAIT_LOOK);
    CHECK(cipc_clock_now() >= before + i * CIPC_SLICE_NANOSECONDS);
  }
}

static void wake_without_end(void *argument) {
  uint32_t *words = argument;
  while (__atomic_load_n(&words[1], __ATOMIC_SEQ_CST) == 0) (void)cipc_futex_wake(&words[0], 1);
}

static void wake_ups_do_not_put_off_the_look(void) {
  uint32_t *words = child_shared(2 * sizeof *words);
  pid_t child = child_start(wake_without_end, words);
  cipc_wait_t wait = {.word = words, .expected = 0};
  cipc_deadline_t before = cipc_clock_now();
  int status;
  do {
    status = cipc_wait_sleep(&wait, CIPC_NO_DEADLINE);
  } while (status == 0);
  CHECK_EQUAL(status, CIPC_WAIT_LOOK);
  CHECK(cipc_clock_now() >= before + CIPC_SLICE_NANOSECONDS);
  __atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
  CHECK_EQUAL(child_join(child), 0);
}

static void ignore(int signal) { (void)signal; }

static void signals_do_not_end_the_sleep(void) {
  struct sigaction action = {.sa_handler = ignore};
  struct sigaction before;
  CHECK(sigaction(SIGALRM, &action, &before) == 0);
  struct itimerval often = {{0, 1000}, {0, 1000}};
  struct itimerval never = {{0, 0}, {0, 0}};
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  cipc_wait_t wait = {.word = fresh_word(), .expected = 0};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), CIPC_WAIT_LOOK);
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
  CHECK(sigaction(SIGALRM, &before, NULL) == 0);
  (void)alarm(CHECK_TEST_SECONDS);
}

static void no_wait_times_out_before_a_look(void) {
  cipc_wait_t wait = {.word = fresh_word(), .expected = 0};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_IMMEDIATELY), CIPC_WAIT_LOOK);
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_wait_sleep(&wait, -1), CIPC_ETIMEDOUT);
  wait.word = fresh_word();
  cipc_deadline_t deadline = cipc_clock_deadline(20 * MILLISECOND);
  CHECK_EQUAL(cipc_wait_sleep(&wait, deadline), CIPC_WAIT_LOOK);
  CHECK(cipc_clock_now() >= deadline);
  CHECK_EQUAL(cipc_wait_sleep(&wait, deadline), CIPC_ETIMEDOUT);
}

static void who_polls_is_told_to_look_every_slice(void) {
  cipc_wait_t wait = {.word = fresh_word(), .expected = 0};
  int looks = 0;
  cipc_deadline_t end = cipc_clock_deadline(5 * CIPC_SLICE_NANOSECONDS / 2);
  while (cipc_clock_now() < end) {
    int status = cipc_wait_sleep(&wait, cipc_clock_deadline(10 * MILLISECOND));
    CHECK(status == CIPC_WAIT_LOOK || status == CIPC_ETIMEDOUT);
    looks += status == CIPC_WAIT_LOOK;
  }
  CHECK(looks >= 2 && looks <= 4);
}

static void bad_words_are_errors(void) {
  char *page = child_shared(4096);
  cipc_wait_t wait = {.word = (const uint32_t *)(uintptr_t)(page + 1), .expected = 0};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), CIPC_EINVAL);
  CHECK(munmap(page, 4096) == 0);
  wait.word = (const uint32_t *)(uintptr_t)page;
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), -EFAULT);
}

// MARK: Without a thread of the caller's

// What callbacks leave, by the number that is their context.
#define CALLS_MAX 20000
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int calls;
static int times[CALLS_MAX];
static int statuses[CALLS_MAX];

static void note(void *context, int status) {
  size_t number = (size_t)(uintptr_t)context;
  (void)pthread_mutex_lock(&lock);
  calls++;
  times[number]++;
  statuses[number] = status;
  (void)pthread_cond_broadcast(&changed);
  (void)pthread_mutex_unlock(&lock);
}

static void forget(void) {
  (void)pthread_mutex_lock(&lock);
  calls = 0;
  memset(times, 0, sizeof times);
  (void)pthread_mutex_unlock(&lock);
}

static void until_called(int count) {
  (void)pthread_mutex_lock(&lock);
  while (calls < count) (void)pthread_cond_wait(&changed, &lock);
  (void)pthread_mutex_unlock(&lock);
}

static void check_call(size_t number, int status) {
  (void)pthread_mutex_lock(&lock);
  CHECK_EQUAL(times[number], 1);
  CHECK_EQUAL(statuses[number], status);
  (void)pthread_mutex_unlock(&lock);
}

static cipc_poller_ticket_t begin_at(const uint32_t *word, uint32_t expected,
                                     cipc_deadline_t deadline, size_t number) {
  cipc_wait_t wait = {.word = word, .expected = expected};
  cipc_poller_ticket_t ticket = 0;
  CHECK_EQUAL(cipc_wait_start(&wait, deadline, note, (void *)(uintptr_t)number, &ticket), 0);
  CHECK(ticket != 0);
  return ticket;
}

static cipc_poller_ticket_t begin(const uint32_t *word, size_t number) {
  return begin_at(word, 0, CIPC_NO_DEADLINE, number);
}

// Whether a wait was cancelled; otherwise it has called back, if only after a slice.
static bool cancel(cipc_poller_ticket_t ticket, size_t number) {
  int status = cipc_wait_cancel(ticket);
  CHECK(status == 0 || status == CIPC_ENOENT);
  CHECK_EQUAL(cipc_wait_cancel(ticket), CIPC_ENOENT);
  (void)pthread_mutex_lock(&lock);
  while (status < 0 && times[number] == 0) (void)pthread_cond_wait(&changed, &lock);
  CHECK_EQUAL(times[number], status < 0);
  (void)pthread_mutex_unlock(&lock);
  return status == 0;
}

// Wakes until a sleeper was woken.
static void wake_a_sleeper(uint32_t *word) {
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  while (cipc_futex_wake(word, 1) == 0) CHECK(cipc_clock_now() < deadline && sched_yield() == 0);
}

static void a_wake_calls_back(void) {
  forget();
  uint32_t *words = child_shared(3 * sizeof *words);
  (void)begin(&words[0], 0);
  cipc_poller_ticket_t second = begin(&words[1], 1);
  wake_a_sleeper(&words[0]);
  until_called(1);
  check_call(0, 0);
  // One that differs already.
  (void)begin_at(&words[2], 1, CIPC_NO_DEADLINE, 2);
  until_called(2);
  check_call(2, 0);
  CHECK_EQUAL(calls, 3 - cancel(second, 1));
}

static void set_after_the_sleep(void *argument) {
  uint32_t *word = argument;
  wake_a_sleeper(word);
  gate_set(word, 1);
}

static void another_process_calls_back(void) {
  forget();
  uint32_t *word = child_shared(sizeof *word);
  (void)begin(word, 0);
  pid_t child = child_start(set_after_the_sleep, word);
  until_called(1);
  check_call(0, 0);
  CHECK_EQUAL(child_join(child), 0);
}

static void all_waits_of_a_word_end_with_one_wake(void) {
  forget();
  uint32_t *word = child_shared(sizeof *word);
  cipc_poller_ticket_t tickets[50];
  for (size_t i = 0; i < 50; i++) tickets[i] = begin(word, i);
  int left = 50;
  for (size_t i = 0; i < 50; i += 2) left -= cancel(tickets[i], i);
  gate_set(word, 1);
  until_called(left);
  for (size_t i = 0; i < 50; i++) {
    CHECK_EQUAL(cipc_wait_cancel(tickets[i]), CIPC_ENOENT);
    CHECK(i % 2 == 0 || times[i] == 1);
  }
  CHECK_EQUAL(calls, left);
}

static void deadlines_call_back(void) {
  forget();
  uint32_t *word = child_shared(sizeof *word);
  cipc_deadline_t deadline = cipc_clock_deadline(20 * MILLISECOND);
  (void)begin_at(word, 0, deadline, 0);
  (void)begin_at(word, 0, CIPC_IMMEDIATELY, 1);
  cipc_poller_ticket_t third = begin(word, 2);
  until_called(2);
  CHECK(cipc_clock_now() >= deadline);
  check_call(0, CIPC_ETIMEDOUT);
  check_call(1, CIPC_ETIMEDOUT);
  (void)cancel(third, 2);
}

static void one_wait_of_a_word_is_told_to_look(void) {
  forget();
  uint32_t *words = child_shared(2 * sizeof *words);
  cipc_deadline_t before = cipc_clock_now();
  cipc_poller_ticket_t tickets[3];
  for (size_t i = 0; i < 3; i++) tickets[i] = begin(&words[0], i);
  cipc_poller_ticket_t other = begin(&words[1], 3);
  until_called(2);
  CHECK(cipc_clock_now() >= before + CIPC_SLICE_NANOSECONDS);
  check_call(0, CIPC_WAIT_LOOK);
  check_call(3, CIPC_WAIT_LOOK);
  until_called(3);
  CHECK(cipc_clock_now() >= before + 2 * CIPC_SLICE_NANOSECONDS);
  check_call(1, CIPC_WAIT_LOOK);
  (void)cancel(tickets[2], 2);
  CHECK(!cancel(other, 3));
}

static void more_words_than_the_kernel_takes(void) {
  forget();
  enum { COUNT = 1000 };
  uint32_t *words = child_shared(COUNT * sizeof *words);
  cipc_poller_ticket_t tickets[COUNT];
  for (size_t i = 0; i < COUNT; i++) tickets[i] = begin(&words[i], i);
  for (size_t i = 0; i < COUNT; i += 7) gate_set(&words[i], 1);
  (void)pthread_mutex_lock(&lock);
  for (size_t i = 0; i < COUNT; i += 7) {
    // Some may have been told to look before.
    while (times[i] == 0) (void)pthread_cond_wait(&changed, &lock);
  }
  (void)pthread_mutex_unlock(&lock);
  for (size_t i = 0; i < COUNT; i++) (void)cancel(tickets[i], i);
}

static void unmapped_words_are_errors(void) {
  forget();
  uint32_t *gone = child_shared(4096);
  uint32_t *kept = child_shared(sizeof *kept);
  (void)begin(gone, 0);
  cipc_poller_ticket_t other = begin(kept, 1);
  CHECK(munmap(gone, 4096) == 0);
  (void)pthread_mutex_lock(&lock);
  while (times[0] == 0) (void)pthread_cond_wait(&changed, &lock);
  CHECK(statuses[0] == -EFAULT || statuses[0] == CIPC_WAIT_LOOK);
  (void)pthread_mutex_unlock(&lock);
  (void)begin(gone, 2);
  (void)begin((const uint32_t *)(uintptr_t)((char *)kept + 1), 3);
  (void)pthread_mutex_lock(&lock);
  while (times[2] == 0 || times[3] == 0) (void)pthread_cond_wait(&changed, &lock);
  (void)pthread_mutex_unlock(&lock);
  check_call(2, -EFAULT);
  check_call(3, CIPC_EINVAL);
  (void)cancel(other, 1);
}

typedef struct again {
  uint32_t *word;
  uint32_t rounds;
} again_t;

// As a task does: what it waits for is not there yet, so it waits again.
static void begin_again(void *context, int status) {
  again_t *again = context;
  CHECK(status >= 0);
  if (__atomic_load_n(again->word, __ATOMIC_SEQ_CST) != 0) {
    note((void *)(uintptr_t)0, status);
    return;
  }
  (void)__atomic_fetch_add(&again->rounds, 1, __ATOMIC_SEQ_CST);
  cipc_wait_t wait = {.word = again->word, .expected = 0};
  cipc_poller_ticket_t ticket;
  CHECK_EQUAL(cipc_wait_start(&wait, CIPC_NO_DEADLINE, begin_again, again, &ticket), 0);
}

static void callbacks_may_wait_again(void) {
  forget();
  again_t again = {child_shared(sizeof(uint32_t)), 0};
  begin_again(&again, 0);
  for (uint32_t round = 1; round <= 100; round++) {
    while (__atomic_load_n(&again.rounds, __ATOMIC_SEQ_CST) <= round)
      (void)cipc_futex_wake(again.word, 1);
  }
  gate_set(again.word, 1);
  until_called(1);
}

// Without slices: one wake-up has to do.
static void sleep_on_one_wake(void *argument) {
  uint32_t *words = argument;
  gate_set(&words[1], 1);
  while (__atomic_load_n(&words[0], __ATOMIC_SEQ_CST) == 0) {
    CHECK_EQUAL(cipc_futex_wait_until(&words[0], 0, cipc_clock_deadline(CHILD_PATIENCE)), 0);
  }
}

// The thread may be asleep still for a wait that is no more, before the child.
static void a_wake_up_for_nobody_is_passed_on(void) {
  for (int round = 0; round < 100; round++) {
    forget();
    uint32_t *words = child_shared(2 * sizeof *words);
    cipc_poller_ticket_t ticket = begin(&words[0], 0);
    pid_t child = child_start(sleep_on_one_wake, words);
    gate_wait(&words[1], 1);
    (void)cancel(ticket, 0);
    __atomic_store_n(&words[0], 1, __ATOMIC_SEQ_CST);
    CHECK(cipc_futex_wake(&words[0], 1) >= 0);
    CHECK_EQUAL(child_join(child), 0);
  }
}

static void wait_in_the_child(void *unused) {
  (void)unused;
  forget();
  uint32_t *word = child_shared(sizeof *word);
  (void)begin(word, 7);
  gate_set(word, 1);
  until_called(1);
  CHECK_EQUAL(times[7], 1);
}

static void a_forked_child_has_no_waits_of_its_parent(void) {
  forget();
  uint32_t *word = child_shared(sizeof *word);
  cipc_poller_ticket_t ticket = begin(word, 0);
  CHECK_EQUAL(child_join(child_start(wait_in_the_child, NULL)), 0);
  (void)cancel(ticket, 0);
}

// An older kernel, or a filter of system calls that is: 449 is futex_waitv.
static void wait_the_old_way(void *unused) {
  (void)unused;
  if (!child_forbid(449, ENOSYS)) _exit(2);
  forget();
  uint32_t *words = child_shared(300 * sizeof *words);
  for (size_t i = 0; i < 300; i++) (void)begin(&words[i], i);
  for (size_t i = 0; i < 300; i++) gate_set(&words[i], 1);
  until_called(300);
  (void)begin_at(&words[0], 1, cipc_clock_deadline(20 * MILLISECOND), 300);
  until_called(301);
  check_call(300, CIPC_ETIMEDOUT);
}

static void older_kernels_look_in_turn(void) {
  int status = child_join(child_start(wait_the_old_way, NULL));
  if (status == 2) {
    check_skip("seccomp filters are unavailable");
    return;
  }
  CHECK_EQUAL(status, 0);
}

// MARK: Descriptors and pauses

static void a_descriptor_is_waited_for(void) {
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC) == 0);
  cipc_wait_t wait = {
      .kind = CIPC_WAIT_DESCRIPTOR, .descriptor = ends[0], .directions = CIPC_POLLER_READABLE};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_wait_sleep(&wait, cipc_clock_deadline(MILLISECOND)), CIPC_ETIMEDOUT);
  forget();
  cipc_poller_ticket_t ticket = 0, other = 0;
  CHECK_EQUAL(cipc_wait_start(&wait, CIPC_NO_DEADLINE, note, (void *)(uintptr_t)1, &ticket), 0);
  CHECK_EQUAL(cipc_wait_start(&wait, CIPC_NO_DEADLINE, note, (void *)(uintptr_t)2, &other), 0);
  // Tickets of both kinds are one kind to the caller: each ends its own wait alone.
  uint32_t *word = child_shared(sizeof *word);
  cipc_poller_ticket_t of_word = begin(word, 3);
  CHECK(cancel(other, 2));
  CHECK(cancel(of_word, 3));
  CHECK(write(ends[1], "!", 1) == 1);
  until_called(1);
  check_call(1, 0);
  CHECK_EQUAL(cipc_wait_cancel(ticket), CIPC_ENOENT);
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), 0);
  // The end of the stream is something, too; a writer finds it without waiting.
  close(ends[0]);
  wait = (cipc_wait_t){
      .kind = CIPC_WAIT_DESCRIPTOR, .descriptor = ends[1], .directions = CIPC_POLLER_WRITABLE};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), 0);
  close(ends[1]);
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), CIPC_EBADF);
}

static void a_pause_ends(void) {
  cipc_wait_t wait = {.kind = CIPC_WAIT_PAUSE, .pause = 5 * MILLISECOND};
  cipc_deadline_t before = cipc_clock_now();
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), 0);
  CHECK(cipc_clock_now() >= before + 5 * MILLISECOND);
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_wait_sleep(&wait, cipc_clock_deadline(MILLISECOND)), CIPC_ETIMEDOUT);
  forget();
  cipc_poller_ticket_t ticket = 0;
  CHECK_EQUAL(cipc_wait_start(&wait, CIPC_NO_DEADLINE, note, (void *)(uintptr_t)1, &ticket), 0);
  until_called(1);
  check_call(1, CIPC_ETIMEDOUT);
  // One without end is cancelled.
  wait.pause = INT64_MAX;
  CHECK_EQUAL(cipc_wait_start(&wait, CIPC_NO_DEADLINE, note, (void *)(uintptr_t)2, &ticket), 0);
  CHECK(cancel(ticket, 2));
  // Nobody is woken by what has no word.
  cipc_wait_pass(&wait);
}

// Twice as long from one to the next, up to 50 ms; what is waited for in between begins anew.
static void pauses_grow(void) {
  cipc_wait_t wait = {0};
  CHECK_EQUAL(cipc_wait_for_pause(&wait), CIPC_EAGAIN);
  CHECK(wait.kind == CIPC_WAIT_PAUSE && wait.pause == MILLISECOND);
  for (int i = 0; i < 10; i++) CHECK_EQUAL(cipc_wait_for_pause(&wait), CIPC_EAGAIN);
  CHECK(wait.pause == 50 * MILLISECOND);
  CHECK_EQUAL(cipc_wait_for_descriptor(&wait, 0, CIPC_POLLER_READABLE), CIPC_EAGAIN);
  CHECK_EQUAL(cipc_wait_for_pause(&wait), CIPC_EAGAIN);
  CHECK(wait.pause == MILLISECOND);
}

int main(void) {
  TEST(a_word_that_differs_is_not_slept_on);
  TEST(a_deadline_passes_although_the_word_differs);
  TEST(a_wake_ends_the_sleep);
  TEST(a_slice_ends_with_a_look);
  TEST(wake_ups_do_not_put_off_the_look);
  TEST(signals_do_not_end_the_sleep);
  TEST(no_wait_times_out_before_a_look);
  TEST(who_polls_is_told_to_look_every_slice);
  TEST(bad_words_are_errors);
  TEST(a_wake_calls_back);
  TEST(another_process_calls_back);
  TEST(all_waits_of_a_word_end_with_one_wake);
  TEST(deadlines_call_back);
  TEST(one_wait_of_a_word_is_told_to_look);
  TEST(more_words_than_the_kernel_takes);
  TEST(unmapped_words_are_errors);
  TEST(callbacks_may_wait_again);
  TEST(a_wake_up_for_nobody_is_passed_on);
  TEST(a_forked_child_has_no_waits_of_its_parent);
  TEST(older_kernels_look_in_turn);
  TEST(a_descriptor_is_waited_for);
  TEST(a_pause_ends);
  TEST(pauses_grow);
  return check_finish();
}
