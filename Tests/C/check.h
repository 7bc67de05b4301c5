/* SPDX-License-Identifier: Apache-2.0 */
// What a C test is written with. Each test is a function, each file a program:
//
//   static void counts(void) { CHECK(1 + 1 == 2); }
//
//   int main(void) {
//     TEST(counts);
//     return check_finish();
//   }
//
// The first failure ends the program: what comes after it proves nothing. A test that hangs is
// killed by SIGALRM after a minute.
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_TEST_SECONDS 60

static int check_passed;
static int check_skipped;

// _exit: a forked child must not run what its parent registered for the end.
_Noreturn static inline void check_fail(const char *file, int line, const char *expression,
                                        const char *detail) {
  (void)fprintf(stderr, "%s:%d: failed: %s%s\n", file, line, expression, detail);
  (void)fflush(NULL);
  _exit(1);
}

// Ends the program unless the condition holds.
#define CHECK(condition) \
  do { \
    if (!(condition)) check_fail(__FILE__, __LINE__, #condition, ""); \
  } while (0)

// Ends the program unless two integers are equal; prints both.
#define CHECK_EQUAL(found, expected) \
  do { \
    long long check_found = (long long)(found); \
    long long check_expected = (long long)(expected); \
    if (check_found != check_expected) { \
      char check_detail[96]; \
      (void)snprintf(check_detail, sizeof check_detail, ": found %lld, not %lld", check_found, \
                     check_expected); \
      check_fail(__FILE__, __LINE__, #found " == " #expected, check_detail); \
    } \
  } while (0)

// Runs a test function and prints its name.
#define TEST(function) \
  do { \
    int check_skipped_before = check_skipped; \
    (void)printf("%s\n", #function); \
    (void)fflush(stdout); \
    (void)alarm(CHECK_TEST_SECONDS); \
    function(); \
    (void)alarm(0); \
    if (check_skipped == check_skipped_before) check_passed++; \
  } while (0)

// For a test that this machine cannot run: counted, with its reason; then return from the test.
static inline void check_skip(const char *reason) {
  (void)printf("  skipped: %s\n", reason);
  check_skipped++;
}

// The closing line, and the result of main.
static inline int check_finish(void) {
  (void)printf("%d passed, 0 failed", check_passed);
  if (check_skipped != 0) (void)printf(", %d skipped", check_skipped);
  (void)printf("\n");
  return fflush(stdout) == 0 ? 0 : 1;
}

#endif
