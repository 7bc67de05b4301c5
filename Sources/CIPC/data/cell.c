/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/cell.h"

#include <stdbool.h>

#include "segment/object.h"

_Static_assert(sizeof(cipc_cell_t) == sizeof(cipc_mutex_t) + 8, "the slots follow the sequence");

size_t cipc_cell_footprint(size_t size) {
  size_t slots = 0;
  size_t total = 0;
  if (__builtin_add_overflow(size, 7, &slots) ||
      __builtin_mul_overflow(slots / 8, 2 * sizeof(uint64_t), &slots) ||
      __builtin_add_overflow(slots, sizeof(cipc_cell_t), &total)) {
    return SIZE_MAX;
  }
  return total;
}

int cipc_cell_init(cipc_cell_t *cell, const void *value, size_t size) {
  int status = cipc_mutex_init(&cell->mutex, NULL);
  if (status < 0) return status;
  cell->sequence = 0;
  cipc_cell_copy_in(cipc_cell_slot(cell, 0, size), value, size);
  return 0;
}

int cipc_cell_read_locked(cipc_cell_t *cell, void *value, size_t size, cipc_deadline_t deadline) {
  int status = cipc_cell_begin(cell, value, size, deadline);
  return status < 0 ? status : cipc_cell_cancel(cell);
}

// MARK: By name

cipc_segment_type_t cipc_cell_type(const cipc_element_t *element) {
  return cipc_object_type(CIPC_KIND_VALUE, 1, element, 1);
}

typedef struct first {
  const void *value;
  size_t size;
} first_t;

static int prepare(void *payload, void *context) {
  const first_t *first = context;
  return cipc_cell_init(payload, first->value, first->size);
}

static int check(const cipc_segment_t *segment, const cipc_object_t *object) {
  (void)object;
  return cipc_object_fits(segment,
                          cipc_cell_footprint((size_t)cipc_segment_type(segment).element_size));
}

int cipc_cell_open_named(cipc_segment_t **segment, const char *name,
                         const cipc_element_t *element) {
  if (element == NULL) return CIPC_EINVAL;
  return cipc_object_open(segment, name,
                          &(cipc_object_t){.type = cipc_cell_type(element), .check = check});
}

int cipc_cell_open_or_create(cipc_segment_t **segment, const char *name,
                             const cipc_element_t *element, const void *value) {
  if (element == NULL) return CIPC_EINVAL;
  first_t first = {.value = value, .size = (size_t)element->size};
  return cipc_object_make(segment, name,
                          &(cipc_object_t){.type = cipc_cell_type(element),
                                           .size = cipc_cell_footprint(first.size),
                                           .prepare = prepare,
                                           .context = &first,
                                           .check = check});
}

// MARK: Atomic integers by name

cipc_segment_type_t cipc_atomic_type(const cipc_element_t *element) {
  return cipc_object_type(CIPC_KIND_ATOMIC, 1, element, 1);
}

static bool is_integer(const cipc_element_t *element) {
  return element != NULL &&
         (element->size == 1 || element->size == 2 || element->size == 4 || element->size == 8);
}

typedef struct integer {
  uint64_t value;
  size_t width;
} integer_t;

static int prepare_integer(void *payload, void *context) {
  const integer_t *integer = context;
  cipc_atomic_store(payload, integer->width, integer->value);
  return 0;
}

int cipc_atomic_open_named(cipc_segment_t **segment, const char *name,
                           const cipc_element_t *element) {
  if (!is_integer(element)) return CIPC_EINVAL;
  return cipc_object_open(segment, name, &(cipc_object_t){.type = cipc_atomic_type(element)});
}

int cipc_atomic_open_or_create(cipc_segment_t **segment, const char *name,
                               const cipc_element_t *element, uint64_t value) {
  if (!is_integer(element)) return CIPC_EINVAL;
  integer_t integer = {.value = value, .width = (size_t)element->size};
  return cipc_object_make(segment, name,
                          &(cipc_object_t){.type = cipc_atomic_type(element),
                                           .size = sizeof(uint64_t),
                                           .prepare = prepare_integer,
                                           .context = &integer});
}
