/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#include "child.h"

#ifndef CIPC_FAULTS
#error "the C tests are built with fault points"
#endif

static void nothing_fails_unasked(void) {
  for (int point = 0; point < CIPC_FAULT_COUNT; point++) {
    CHECK_EQUAL(cipc_fault_at((cipc_fault_t)point), 0);
  }
}

static void the_armed_point_alone_fails_until_disarmed(void) {
  for (int armed = CIPC_FAULT_NONE + 1; armed < CIPC_FAULT_COUNT; armed++) {
    cipc_fault_arm((cipc_fault_t)armed, CIPC_ENOMEM);
    for (int point = CIPC_FAULT_NONE + 1; point < CIPC_FAULT_COUNT; point++) {
      int expected = point == armed ? CIPC_ENOMEM : 0;
      CHECK_EQUAL(cipc_fault_at((cipc_fault_t)point), expected);
      CHECK_EQUAL(cipc_fault_at((cipc_fault_t)point), expected);
    }
    cipc_fault_arm(CIPC_FAULT_NONE, 0);
    CHECK_EQUAL(cipc_fault_at((cipc_fault_t)armed), 0);
  }
}

static void pass_a_lethal_point(void *unused) {
  (void)unused;
  cipc_fault_arm(CIPC_FAULT_SEGMENT_MAP, CIPC_FAULT_KILL);
  CHECK_EQUAL(cipc_fault_at(CIPC_FAULT_SEGMENT_SEAL), 0);
  (void)cipc_fault_at(CIPC_FAULT_SEGMENT_MAP);
}

static void a_lethal_point_kills(void) {
  CHECK_EQUAL(child_join(child_start(pass_a_lethal_point, NULL)), -SIGKILL);
}

int main(void) {
  TEST(nothing_fails_unasked);
  TEST(the_armed_point_alone_fails_until_disarmed);
  TEST(a_lethal_point_kills);
  return check_finish();
}
