/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FLOORS_FAIL_H
#define FLOORS_FAIL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline _Noreturn void fail(const char *what, int error) {
  (void)fprintf(stderr, "floor: %s: %s\n", what, strerror(error));
  exit(2);
}

#endif
