/* SPDX-License-Identifier: Apache-2.0 */
// The payload is a journal, whose mutex is the array's lock; where the redo area is, from the
// payload's beginning, as a word (0: none); the rank, and an extent for each dimension, a word
// each; from the next multiple of 64 (or of a larger alignment of the elements) the elements; and
// from the next such multiple the redo area, as large as the elements.
#include "cipc/array.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "segment/layout.h"
#include "segment/mismatch.h"
#include "segment/object.h"

// The first had no journal.
#define VERSION 2u
#define BOUNDARY 64u
#define ALIGNMENT_MAXIMUM 4096u
#define HEADER ((size_t)CIPC_SEGMENT_HEADER_SIZE)

typedef struct words {
  cipc_journal_t journal;
  uint64_t redo;
  uint64_t rank;
  uint64_t shape[];
} words_t;

_Static_assert(offsetof(words_t, shape) == sizeof(cipc_journal_t) + 16, "array layout");

// Where everything is, from the payload's beginning.
typedef struct plan {
  uint64_t count;
  size_t elements;
  size_t bytes;
  // 0: none.
  size_t redo;
  size_t end;
} plan_t;

uint64_t cipc_array_count(uint64_t rank, const uint64_t *shape) {
  if (rank == 0 || rank > CIPC_ARRAY_RANK_MAXIMUM) return UINT64_MAX;
  // An extent of 0 makes the product 0 wherever it stands, also beside extents that overflow.
  for (uint64_t i = 0; i < rank; i++) {
    if (shape[i] == 0) return 0;
  }
  uint64_t count = 1;
  for (uint64_t i = 0; i < rank; i++) {
    if (__builtin_mul_overflow(count, shape[i], &count)) return UINT64_MAX;
  }
  return count;
}

// False for an array that there cannot be. `shape` and the type may be from anywhere.
static bool make_plan(plan_t *plan, uint64_t stride, uint64_t alignment, uint64_t rank,
                      const uint64_t *shape, bool transactional) {
  if (alignment == 0 || alignment > ALIGNMENT_MAXIMUM || (alignment & (alignment - 1)) != 0) {
    return false;
  }
  plan->count = cipc_array_count(rank, shape);
  if (plan->count == UINT64_MAX) return false;
  size_t boundary = alignment > BOUNDARY ? (size_t)alignment : BOUNDARY;
  // A segment's payload begins behind the header, and the mapping on a page.
  size_t before = HEADER + offsetof(words_t, shape) + (size_t)rank * sizeof(uint64_t);
  plan->elements = (before + boundary - 1) / boundary * boundary - HEADER;
  if (__builtin_mul_overflow(plan->count, stride, &plan->bytes) ||
      __builtin_add_overflow(plan->elements, plan->bytes, &plan->end)) {
    return false;
  }
  plan->redo = 0;
  if (!transactional) return true;
  // The elements are aligned to the boundary in the mapping, so what is a multiple behind them is.
  size_t padded = 0;
  if (__builtin_add_overflow(plan->bytes, boundary - 1, &padded) ||
      __builtin_add_overflow(plan->elements, padded / boundary * boundary, &plan->redo) ||
      __builtin_add_overflow(plan->redo, plan->bytes, &plan->end)) {
    return false;
  }
  return true;
}

static void fill(cipc_array_t *array, void *memory, const plan_t *plan, uint64_t stride,
                 uint64_t rank, const uint64_t *shape) {
  char *start = memory;
  *array = (cipc_array_t){.elements = start + plan->elements,
                          .count = plan->count,
                          .stride = stride,
                          .journal = memory,
                          .area = {.data = start + plan->elements,
                                   .size = plan->bytes,
                                   .redo = plan->redo != 0 ? start + plan->redo : NULL,
                                   .capacity = plan->redo != 0 ? plan->bytes : 0},
                          .rank = rank};
  memcpy(array->shape, shape, (size_t)rank * sizeof *shape);
}

cipc_segment_type_t cipc_array_type(const cipc_element_t *element, uint64_t count) {
  return cipc_object_type(CIPC_KIND_ARRAY, VERSION, element, count);
}

size_t cipc_array_footprint(const cipc_element_t *element, uint64_t rank, const uint64_t *shape,
                            int transactional) {
  plan_t plan;
  if (element == NULL || element->stride < element->size) return SIZE_MAX;
  return make_plan(&plan, element->stride, element->alignment, rank, shape, transactional != 0)
             ? plan.end
             : SIZE_MAX;
}

int cipc_array_format(cipc_array_t *array, void *memory, size_t size, const cipc_element_t *element,
                      uint64_t rank, const uint64_t *shape, int transactional) {
  plan_t plan;
  if (element == NULL || element->stride < element->size ||
      !make_plan(&plan, element->stride, element->alignment, rank, shape, transactional != 0) ||
      plan.end > size) {
    return CIPC_EINVAL;
  }
  words_t *words = memory;
  words->redo = plan.redo;
  words->rank = rank;
  memcpy(words->shape, shape, (size_t)rank * sizeof *shape);
  fill(array, memory, &plan, element->stride, rank, shape);
  return cipc_journal_init(&words->journal);
}

// "2 x 3", as much of it as there is room for.
static void write_shape(char *text, size_t room, uint64_t rank, const uint64_t *shape) {
  size_t length = 0;
  for (uint64_t i = 0; i < rank && length < room; i++) {
    length += (size_t)snprintf(text + length, room - length, "%s%llu", i > 0 ? " x " : "",
                               (unsigned long long)shape[i]);
  }
}

static int refuse_count(uint64_t rank, const uint64_t *shape, uint64_t count) {
  char found[64], wanted[64];
  write_shape(found, sizeof found, rank, shape);
  (void)snprintf(wanted, sizeof wanted, "one of %llu elements", (unsigned long long)count);
  return cipc_mismatch(CIPC_ESEGMENTSHAPE, found, wanted);
}

int cipc_array_view(cipc_array_t *array, void *memory, size_t size,
                    const cipc_segment_type_t *type) {
  cipc_mismatch_clear();
  const words_t *words = memory;
  size_t least = offsetof(words_t, shape) + sizeof(uint64_t);
  if (size < least) return cipc_mismatch_numbers(CIPC_ESEGMENTSIZE, size, least);
  // Each word is read once: from here on the copies count.
  uint64_t rank = __atomic_load_n(&words->rank, __ATOMIC_RELAXED);
  uint64_t redo = __atomic_load_n(&words->redo, __ATOMIC_RELAXED);
  if (rank == 0 || rank > CIPC_ARRAY_RANK_MAXIMUM) {
    char found[32];
    (void)snprintf(found, sizeof found, "rank %llu", (unsigned long long)rank);
    return cipc_mismatch(CIPC_ESEGMENTSHAPE, found, "1 to 64");
  }
  least = offsetof(words_t, shape) + (size_t)rank * sizeof(uint64_t);
  if (size < least) return cipc_mismatch_numbers(CIPC_ESEGMENTSIZE, size, least);
  uint64_t shape[CIPC_ARRAY_RANK_MAXIMUM];
  for (uint64_t i = 0; i < rank; i++) {
    shape[i] = __atomic_load_n(&words->shape[i], __ATOMIC_RELAXED);
  }
  if (cipc_array_count(rank, shape) != type->count) return refuse_count(rank, shape, type->count);
  plan_t plan;
  if (!make_plan(&plan, type->stride, type->alignment, rank, shape, redo != 0)) {
    return cipc_mismatch_numbers(CIPC_ESEGMENTALIGNMENT, type->alignment, 1);
  }
  // The check of the header had the whole payload in mind; the elements have what is behind the
  // shape.
  if (plan.end > size) return cipc_mismatch_numbers(CIPC_ESEGMENTCOUNT, size, plan.end);
  if (redo != plan.redo) {
    char found[48], wanted[48];
    (void)snprintf(found, sizeof found, "redo area at %llu", (unsigned long long)redo);
    (void)snprintf(wanted, sizeof wanted, "at %zu", plan.redo);
    return cipc_mismatch(CIPC_ESEGMENTSHAPE, found, wanted);
  }
  fill(array, memory, &plan, type->stride, rank, shape);
  return 0;
}

// MARK: By name

typedef struct request {
  cipc_array_t *array;
  const cipc_element_t *element;
  // NULL: any.
  const uint64_t *shape;
  uint64_t rank;
  int transactional;
  size_t size;
} request_t;

static int prepare(void *payload, void *context) {
  const request_t *request = context;
  return cipc_array_format(request->array, payload, request->size, request->element, request->rank,
                           request->shape, request->transactional);
}

static int check(const cipc_segment_t *segment, const cipc_object_t *object) {
  const request_t *request = object->context;
  cipc_array_t *array = request->array;
  cipc_segment_type_t type = cipc_segment_type(segment);
  int status =
      cipc_array_view(array, cipc_segment_address(segment), cipc_segment_size(segment), &type);
  if (status < 0 || request->shape == NULL) return status;
  bool transactional = array->area.redo != NULL;
  if (array->rank == request->rank && transactional == (request->transactional != 0) &&
      memcmp(array->shape, request->shape, (size_t)request->rank * sizeof(uint64_t)) == 0) {
    return 0;
  }
  char found[64], wanted[64], shape[48];
  write_shape(shape, sizeof shape, array->rank, array->shape);
  (void)snprintf(found, sizeof found, "%s%s", shape, transactional ? ", transactional" : "");
  write_shape(shape, sizeof shape, request->rank, request->shape);
  (void)snprintf(wanted, sizeof wanted, "%s%s", shape,
                 request->transactional ? ", transactional" : "");
  return cipc_mismatch(CIPC_ESEGMENTSHAPE, found, wanted);
}

int cipc_array_open_named(cipc_segment_t **segment, cipc_array_t *array, const char *name,
                          const cipc_element_t *element) {
  if (element == NULL) return CIPC_EINVAL;
  request_t request = {.array = array};
  return cipc_object_open(segment, name,
                          &(cipc_object_t){.type = cipc_array_type(element, CIPC_SEGMENT_ANY_COUNT),
                                           .context = &request,
                                           .check = check});
}

int cipc_array_open_or_create(cipc_segment_t **segment, cipc_array_t *array, const char *name,
                              const cipc_element_t *element, uint64_t rank, const uint64_t *shape,
                              int transactional) {
  size_t size = cipc_array_footprint(element, rank, shape, transactional);
  if (size == SIZE_MAX) return CIPC_EINVAL;
  request_t request = {.array = array,
                       .element = element,
                       .shape = shape,
                       .rank = rank,
                       .transactional = transactional,
                       .size = size};
  cipc_object_t object = {.type = cipc_array_type(element, cipc_array_count(rank, shape)),
                          .size = size,
                          .prepare = prepare,
                          .context = &request,
                          .check = check};
  return cipc_object_make(segment, name, &object);
}

// MARK: The lock

// An array that is not transactional uses the journal's mutex alone: any death of an owner is told.
static bool is_transactional(const cipc_array_t *array) { return array->area.redo != NULL; }

int cipc_array_lock(const cipc_array_t *array, cipc_deadline_t deadline) {
  return is_transactional(array) ? cipc_journal_lock(array->journal, &array->area, deadline)
                                 : cipc_mutex_lock(&array->journal->mutex, deadline);
}

int cipc_array_unlock(const cipc_array_t *array) {
  return is_transactional(array) ? cipc_journal_unlock(array->journal)
                                 : cipc_mutex_unlock(&array->journal->mutex);
}

int cipc_array_recover(const cipc_array_t *array) {
  return cipc_mutex_recover(&array->journal->mutex);
}
