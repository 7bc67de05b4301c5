/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/stack.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

// This thread's stack, without the guard below it; `high` is 0 before the first call. Where the
// bounds are unknown no address lies between them.
static __thread uintptr_t low;
static __thread uintptr_t high;

static bool bounds_find(void) {
  pthread_attr_t attributes;
  void *start = NULL;
  size_t size = 0;
  size_t guard = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return false;
  bool is_known = pthread_attr_getstack(&attributes, &start, &size) == 0 &&
                  pthread_attr_getguardsize(&attributes, &guard) == 0;
  (void)pthread_attr_destroy(&attributes);
  // An unlimited main stack begins nowhere, and some libcs count the guard as stack.
  uintptr_t first = (uintptr_t)start;
  if (!is_known || size <= guard || first == 0 || size > UINTPTR_MAX - first) return false;
  low = first + guard;
  high = first + size;
  return true;
}

size_t cipc_stack_left(size_t *size) {
  if (high == 0 && !bounds_find()) low = high = UINTPTR_MAX;
  // The real stack: a sanitizer may keep local variables elsewhere.
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  bool is_inside = here >= low && here < high;
  if (size != NULL) *size = is_inside ? high - low : SIZE_MAX;
  return is_inside ? here - low : SIZE_MAX;
}
