/* SPDX-License-Identifier: Apache-2.0 */
#include "base/futex.h"

#include "base/clock.h"
#include "child.h"

#define MILLISECOND INT64_C(1000000)

static void wait_once(void *word) {
  CHECK_EQUAL(cipc_futex_wait(word, 0, cipc_clock_deadline(CHILD_PATIENCE)), 0);
}

// Wakes until a sleeper was woken: only then has the call been proven to wake.
static void wake_a_sleeper(uint32_t *word) {
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  int woken;
  while ((woken = cipc_futex_wake(word, 1)) == 0) {
    CHECK(cipc_clock_now() < deadline);
    (void)sched_yield();
  }
  CHECK_EQUAL(woken, 1);
}

static void wait_until_woken(void *argument) {
  uint32_t *words = argument;
  while (__atomic_load_n(&words[1], __ATOMIC_SEQ_CST) == 0) wait_once(&words[0]);
}

static void a_wake_reaches_another_process(void) {
  uint32_t *words = child_shared(2 * sizeof *words);
  pid_t child = child_start(wait_until_woken, words);
  wake_a_sleeper(&words[0]);
  __atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
  CHECK_EQUAL(child_join(child), 0);
}

static void a_wake_without_sleepers_wakes_nobody(void) {
  uint32_t *word = child_shared(sizeof *word);
  CHECK_EQUAL(cipc_futex_wake(word, 1), 0);
  CHECK_EQUAL(cipc_futex_wake(word, INT32_MAX), 0);
}

static void a_killed_sleeper_is_not_counted(void) {
  uint32_t *words = child_shared(2 * sizeof *words);
  pid_t child = child_start(wait_until_woken, words);
  wake_a_sleeper(&words[0]);
  child_kill(child);
  CHECK_EQUAL(cipc_futex_wake(&words[0], 1), 0);
}

// The kernel compares the word before it looks at the time, so that this needs no clock.
static void a_changed_word_is_not_waited_for(void) {
  uint32_t word = 1;
  CHECK_EQUAL(cipc_futex_wait(&word, 0, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_futex_wait(&word, 0, CIPC_IMMEDIATELY), 0);
}

static void times_that_are_over_end_the_wait(void) {
  uint32_t word = 0;
  CHECK_EQUAL(cipc_futex_wait(&word, 0, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_futex_wait(&word, 0, cipc_clock_now()), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_futex_wait(&word, 0, -1), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_futex_wait(&word, 0, INT64_MIN), CIPC_ETIMEDOUT);
}

static void the_deadline_is_kept(void) {
  uint32_t word = 0;
  cipc_deadline_t deadline = cipc_clock_deadline(30 * MILLISECOND);
  CHECK_EQUAL(cipc_futex_wait(&word, 0, deadline), CIPC_ETIMEDOUT);
  CHECK(cipc_clock_now() >= deadline);
}

static void a_wait_without_end_comes_up_after_a_slice(void) {
  uint32_t word = 0;
  cipc_deadline_t before = cipc_clock_now();
  CHECK_EQUAL(cipc_futex_wait(&word, 0, CIPC_NO_DEADLINE), 0);
  CHECK(cipc_clock_now() >= before + CIPC_SLICE_NANOSECONDS);
}

static void a_deadline_beyond_the_slice_is_not_over_with_it(void) {
  uint32_t word = 0;
  cipc_deadline_t deadline = cipc_clock_deadline(3 * CIPC_SLICE_NANOSECONDS / 2);
  CHECK_EQUAL(cipc_futex_wait(&word, 0, deadline), 0);
  int status;
  do {
    status = cipc_futex_wait(&word, 0, deadline);
  } while (status == 0);
  CHECK_EQUAL(status, CIPC_ETIMEDOUT);
  CHECK(cipc_clock_now() >= deadline);
}

static void ignore(int signal) { (void)signal; }

static void poke_parent(void *argument) {
  uint32_t *done = argument;
  while (__atomic_load_n(done, __ATOMIC_SEQ_CST) == 0) {
    (void)kill(getppid(), SIGUSR1);
    (void)sched_yield();
  }
}

// Installed without SA_RESTART, so that the system call does come back.
static void signals_are_no_errors(void) {
  uint32_t *done = child_shared(sizeof *done);
  struct sigaction action = {.sa_handler = ignore};
  struct sigaction before;
  CHECK(sigaction(SIGUSR1, &action, &before) == 0);
  pid_t child = child_start(poke_parent, done);
  uint32_t word = 0;
  for (int i = 0; i < 200; i++) CHECK_EQUAL(cipc_futex_wait(&word, 0, CIPC_NO_DEADLINE), 0);
  __atomic_store_n(done, 1, __ATOMIC_SEQ_CST);
  CHECK_EQUAL(child_join(child), 0);
  CHECK(sigaction(SIGUSR1, &before, NULL) == 0);
}

static void bad_words_are_errors(void) {
  char *page = child_shared(4096);
  const uint32_t *unaligned = (const uint32_t *)(uintptr_t)(page + 1);
  CHECK_EQUAL(cipc_futex_wait(unaligned, 0, CIPC_NO_DEADLINE), -EINVAL);
  CHECK_EQUAL(cipc_futex_wake(unaligned, 1), -EINVAL);
  CHECK(munmap(page, 4096) == 0);
  const uint32_t *unmapped = (const uint32_t *)(uintptr_t)page;
  CHECK_EQUAL(cipc_futex_wait(unmapped, 0, CIPC_NO_DEADLINE), -EFAULT);
  CHECK_EQUAL(cipc_futex_wake(unmapped, 1), -EFAULT);
}

int main(void) {
  TEST(a_wake_reaches_another_process);
  TEST(a_wake_without_sleepers_wakes_nobody);
  TEST(a_killed_sleeper_is_not_counted);
  TEST(a_changed_word_is_not_waited_for);
  TEST(times_that_are_over_end_the_wait);
  TEST(the_deadline_is_kept);
  TEST(a_wait_without_end_comes_up_after_a_slice);
  TEST(a_deadline_beyond_the_slice_is_not_over_with_it);
  TEST(signals_are_no_errors);
  TEST(bad_words_are_errors);
  return check_finish();
}
