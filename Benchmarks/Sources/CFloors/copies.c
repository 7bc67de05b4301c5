/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "fail.h"
#include "floors.h"
#include "pairs.h"

typedef struct copies {
  /// The same in both processes.
  char *shared;
  /// Each process's own.
  char *private;
  size_t size, places, next;
} copies_t;

/// Where the next copy goes, or comes from.
static char *place(copies_t *copies) {
  copies->next = (copies->next + 1) % copies->places;
  return copies->shared + copies->next * copies->size;
}

static void copy_in(void *context, size_t count) {
  copies_t *copies = context;
  for (size_t i = 0; i < count; i++) floor_copy(place(copies), copies->private, copies->size);
}

static void copy_out(void *context, size_t count) {
  copies_t *copies = context;
  for (size_t i = 0; i < count; i++) floor_copy(copies->private, place(copies), copies->size);
}

static void end(void *context) {
  copies_t *copies = context;
  free(copies->private);
  free(copies);
}

floor_pair_t *floor_copies_create(int core, size_t size, size_t places) {
  copies_t *copies = malloc(sizeof *copies);
  if (copies == NULL) fail("malloc", errno);
  *copies = (copies_t){.shared = floor_memory_create(size * places),
                       .private = floor_buffer_create(size),
                       .size = size,
                       .places = places};
  return floor_pair_create(core, (floor_jobs_t){copy_in, copy_out, 0, end}, copies);
}
