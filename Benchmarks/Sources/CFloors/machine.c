/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "fail.h"
#include "floors.h"

uint64_t floor_now(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void floor_pin(int core) {
  static cpu_set_t at_first;
  static int known;
  if (!known && sched_getaffinity(0, sizeof at_first, &at_first) < 0) {
    fail("sched_getaffinity", errno);
  }
  known = 1;
  cpu_set_t cores = at_first;
  if (core >= 0) {
    CPU_ZERO(&cores);
    CPU_SET((unsigned)core, &cores);
  }
  if (sched_setaffinity(0, sizeof cores, &cores) < 0) fail("sched_setaffinity", errno);
}
