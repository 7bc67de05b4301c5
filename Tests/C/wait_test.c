/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/wait.h"

#include <sys/time.h>

#include "child.h"
#include "clock.h"

#define MILLISECOND INT64_C(1000000)

// Waits on fresh words, so that no test begins in the slice of another.
static const uint32_t *fresh_word(void) { return child_shared(sizeof(uint32_t)); }

static void a_word_that_differs_is_not_slept_on(void) {
  cipc_wait_t wait = {fresh_word(), 1};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_IMMEDIATELY), 0);
}

static void sleep_until_set(void *argument) {
  const uint32_t *word = argument;
  cipc_wait_t wait = {word, 0};
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
  cipc_wait_t wait = {fresh_word(), 0};
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
  cipc_wait_t wait = {words, 0};
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
  cipc_wait_t wait = {fresh_word(), 0};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), CIPC_WAIT_LOOK);
  CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
  CHECK(sigaction(SIGALRM, &before, NULL) == 0);
  (void)alarm(CHECK_TEST_SECONDS);
}

static void no_wait_times_out_before_a_look(void) {
  cipc_wait_t wait = {fresh_word(), 0};
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
  cipc_wait_t wait = {fresh_word(), 0};
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
  cipc_wait_t wait = {(const uint32_t *)(uintptr_t)(page + 1), 0};
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), CIPC_EINVAL);
  CHECK(munmap(page, 4096) == 0);
  wait.word = (const uint32_t *)(uintptr_t)page;
  CHECK_EQUAL(cipc_wait_sleep(&wait, CIPC_NO_DEADLINE), -EFAULT);
}

int main(void) {
  TEST(a_word_that_differs_is_not_slept_on);
  TEST(a_wake_ends_the_sleep);
  TEST(a_slice_ends_with_a_look);
  TEST(wake_ups_do_not_put_off_the_look);
  TEST(signals_do_not_end_the_sleep);
  TEST(no_wait_times_out_before_a_look);
  TEST(who_polls_is_told_to_look_every_slice);
  TEST(bad_words_are_errors);
  return check_finish();
}
