/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/status.h"

#include <limits.h>

#include "check.h"

typedef struct entry {
  int value;
  const char *name;
  const char *message;
} entry_t;

static const entry_t entries[] = {
#define ENTRY(name, value, message) {value, #name, message},
    CIPC_STATUS_LIST(ENTRY)
#undef ENTRY
};
#define ENTRY_COUNT (sizeof entries / sizeof entries[0])

static void every_status_has_its_name_and_message(void) {
  for (size_t i = 0; i < ENTRY_COUNT; i++) {
    CHECK(strcmp(cipc_status_name(entries[i].value), entries[i].name) == 0);
    CHECK(strcmp(cipc_status_message(entries[i].value), entries[i].message) == 0);
  }
}

static void values_and_messages_are_distinct(void) {
  for (size_t i = 0; i < ENTRY_COUNT; i++) {
    for (size_t j = 0; j < i; j++) {
      CHECK(entries[i].value != entries[j].value);
      CHECK(strcmp(entries[i].message, entries[j].message) != 0);
    }
  }
}

static void positive_codes_are_numbered_from_1(void) {
  int highest = 0, count = 0;
  for (size_t i = 0; i < ENTRY_COUNT; i++) {
    if (entries[i].value > 0) count++;
    if (entries[i].value > highest) highest = entries[i].value;
  }
  CHECK(count > 1);
  CHECK_EQUAL(highest, count);
}

static void messages_are_one_line_without_a_full_stop(void) {
  for (size_t i = 0; i < ENTRY_COUNT; i++) {
    const char *message = entries[i].message;
    size_t length = strlen(message);
    CHECK(length > 0 && length < 100);
    CHECK(strchr(message, '\n') == NULL);
    CHECK(message[length - 1] != '.');
  }
}

static void own_codes_lie_below_the_kernels(void) {
  for (size_t i = 0; i < ENTRY_COUNT; i++) {
    const char *message = entries[i].message;
    int value = entries[i].value;
    CHECK(message != NULL);
    CHECK(value >= 0 || value > -134 || value <= -4096);
  }
}

static void kernel_errors_without_a_name_are_errno(void) {
  const int unnamed[] = {-EIO, -EXDEV, -4095};
  for (size_t i = 0; i < sizeof unnamed / sizeof unnamed[0]; i++) {
    CHECK(strcmp(cipc_status_name(unnamed[i]), "errno") == 0);
    CHECK(strcmp(cipc_status_message(unnamed[i]), "a system call failed") == 0);
  }
}

static void unknown_values_are_unknown(void) {
  const int unknown[] = {1000, 4095, INT_MAX, -5000, INT_MIN};
  for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
    CHECK(strcmp(cipc_status_name(unknown[i]), "unknown") == 0);
    CHECK(strcmp(cipc_status_message(unknown[i]), "unknown status") == 0);
  }
}

int main(void) {
  TEST(every_status_has_its_name_and_message);
  TEST(values_and_messages_are_distinct);
  TEST(positive_codes_are_numbered_from_1);
  TEST(messages_are_one_line_without_a_full_stop);
  TEST(own_codes_lie_below_the_kernels);
  TEST(kernel_errors_without_a_name_are_errno);
  TEST(unknown_values_are_unknown);
  return check_finish();
}
