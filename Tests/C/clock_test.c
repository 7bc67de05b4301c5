/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <limits.h>
#include <poll.h>

#include "check.h"

#define MILLISECOND INT64_C(1000000)
#define SECOND INT64_C(1000000000)

static void the_clock_does_not_go_back(void) {
  cipc_deadline_t last = cipc_clock_now();
  CHECK(last > 0);
  for (int i = 0; i < 100000; i++) {
    cipc_deadline_t now = cipc_clock_now();
    CHECK(now >= last);
    last = now;
  }
}

static void no_time_is_immediately(void) {
  CHECK(cipc_clock_deadline(0) == CIPC_IMMEDIATELY);
  CHECK(cipc_clock_deadline(-1) == CIPC_IMMEDIATELY);
  CHECK(cipc_clock_deadline(INT64_MIN) == CIPC_IMMEDIATELY);
}

static void too_much_time_saturates(void) {
  CHECK(cipc_clock_deadline(INT64_MAX) == CIPC_NO_DEADLINE);
  CHECK(cipc_clock_deadline(INT64_MAX - 1) == CIPC_NO_DEADLINE);
  // An hour short of the range, on a machine that has been up for longer than no time.
  cipc_deadline_t now = cipc_clock_now();
  CHECK(cipc_clock_deadline(INT64_MAX - now) == CIPC_NO_DEADLINE);
  CHECK(cipc_clock_deadline(INT64_MAX - now - 3600 * SECOND) < CIPC_NO_DEADLINE);
}

static void a_deadline_lies_that_far_ahead(void) {
  cipc_deadline_t before = cipc_clock_now();
  cipc_deadline_t deadline = cipc_clock_deadline(SECOND);
  cipc_deadline_t after = cipc_clock_now();
  CHECK(deadline >= before + SECOND && deadline <= after + SECOND);
}

static void a_slice_ends_at_the_deadline_or_before(void) {
  cipc_deadline_t before = cipc_clock_now();
  cipc_deadline_t slice = cipc_clock_slice(CIPC_NO_DEADLINE);
  cipc_deadline_t after = cipc_clock_now();
  CHECK(slice >= before + CIPC_SLICE_NANOSECONDS && slice <= after + CIPC_SLICE_NANOSECONDS);
  CHECK(cipc_clock_slice(before) == before);
  CHECK(cipc_clock_slice(CIPC_IMMEDIATELY) == CIPC_IMMEDIATELY);
}

// The kernel takes no negative times.
static void a_slice_is_never_negative(void) {
  CHECK(cipc_clock_slice(-1) == CIPC_IMMEDIATELY);
  CHECK(cipc_clock_slice(INT64_MIN) == CIPC_IMMEDIATELY);
}

static void poll_timeouts_saturate(void) {
  CHECK_EQUAL(cipc_clock_poll_timeout(CIPC_NO_DEADLINE), -1);
  CHECK_EQUAL(cipc_clock_poll_timeout(CIPC_NO_DEADLINE - 1), INT_MAX);
  CHECK_EQUAL(cipc_clock_poll_timeout(CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(cipc_clock_poll_timeout(cipc_clock_now()), 0);
  CHECK_EQUAL(cipc_clock_poll_timeout(-1), 0);
  CHECK_EQUAL(cipc_clock_poll_timeout(INT64_MIN), 0);
}

static void poll_never_ends_early(void) {
  for (int i = 1; i <= 20; i++) {
    cipc_deadline_t deadline = cipc_clock_deadline(i * MILLISECOND / 10 + 1);
    int timeout = cipc_clock_poll_timeout(deadline);
    CHECK(timeout >= 0 && timeout <= 3);
    CHECK_EQUAL(poll(NULL, 0, timeout), 0);
    CHECK(cipc_clock_now() >= deadline);
  }
}

static void a_timespec_is_normalised(void) {
  struct timespec time = cipc_clock_timespec(3 * SECOND + 999999999);
  CHECK(time.tv_sec == 3 && time.tv_nsec == 999999999);
  time = cipc_clock_timespec(CIPC_NO_DEADLINE);
  CHECK(time.tv_sec == INT64_MAX / SECOND && time.tv_nsec == (long)(INT64_MAX % SECOND));
  time = cipc_clock_timespec(CIPC_IMMEDIATELY);
  CHECK(time.tv_sec == 0 && time.tv_nsec == 0);
}

int main(void) {
  TEST(the_clock_does_not_go_back);
  TEST(no_time_is_immediately);
  TEST(too_much_time_saturates);
  TEST(a_deadline_lies_that_far_ahead);
  TEST(a_slice_ends_at_the_deadline_or_before);
  TEST(a_slice_is_never_negative);
  TEST(poll_timeouts_saturate);
  TEST(poll_never_ends_early);
  TEST(a_timespec_is_normalised);
  return check_finish();
}
