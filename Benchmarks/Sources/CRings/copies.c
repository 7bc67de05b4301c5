/* SPDX-License-Identifier: Apache-2.0 */
#include "floors.h"
#include "support.h"

typedef struct copies {
  cipc_ring_t *ring;
  /// Each process's own.
  void *buffer;
  size_t size;
} copies_t;

static void put(void *context, size_t count) {
  copies_t *copies = context;
  for (size_t i = 0; i < count; i++) {
    check(cipc_ring_put(copies->ring, copies->buffer, copies->size, CIPC_NO_DEADLINE));
  }
}

static void get(void *context, size_t count) {
  copies_t *copies = context;
  for (size_t i = 0; i < count; i++) {
    size_t length;
    check(cipc_ring_get(copies->ring, copies->buffer, copies->size, &length, CIPC_NO_DEADLINE));
    floor_keep(copies->buffer);
  }
}

static void finish(void *context) {
  copies_t *copies = context;
  cipc_ring_close(copies->ring);
  free(copies->buffer);
  free(copies);
}

floor_pair_t *rings_copies_create(int core, rings_kind_t kind, size_t size, size_t capacity) {
  copies_t *copies = make(sizeof *copies);
  *copies = (copies_t){
      .ring = make_ring(kind, capacity), .buffer = floor_buffer_create(size), .size = size};
  return floor_pair_create(core, (floor_jobs_t){put, get, 0, finish}, copies);
}
