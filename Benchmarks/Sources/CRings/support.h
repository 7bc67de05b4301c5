/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RINGS_SUPPORT_H
#define RINGS_SUPPORT_H

#include <cipc.h>
#include <stdio.h>
#include <stdlib.h>

#include "rings.h"

/// Ends the program if a call failed; otherwise its result.
static inline int check(int status) {
  if (__builtin_expect(status < 0, 0)) {
    (void)fprintf(stderr, "rings: %s\n", cipc_status_message(status));
    exit(2);
  }
  return status;
}

static inline void *make(size_t size) {
  void *made = calloc(1, size);
  if (made == NULL) check(CIPC_ENOMEM);
  return made;
}

static inline cipc_ring_t *make_ring(rings_kind_t kind, size_t capacity) {
  cipc_ring_options_t options = {.flags = kind == RINGS_SPSC ? CIPC_RING_SPSC : 0,
                                 .capacity = capacity};
  cipc_ring_t *ring = NULL;
  check(cipc_ring_create(&ring, &options));
  return ring;
}

#endif
