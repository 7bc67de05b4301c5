/* SPDX-License-Identifier: Apache-2.0 */
// Arrays: found by name, of any shape; no shared word leads out of them; their lock tells of death.
#include "cipc/array.h"

#include <stdbool.h>

#include "check.h"
#include "child.h"

static char name[64];
static const uint64_t shape[] = {3, 4};

static int make(cipc_segment_t **segment, cipc_array_t *array, int transactional) {
  return cipc_array_open_or_create(segment, array, name, cipc_element("int32"), 2, shape,
                                   transactional);
}

static void finish(cipc_segment_t *segment) {
  cipc_segment_close(segment);
  CHECK_EQUAL(cipc_segment_unlink(name), 0);
}

static void check_refused(int status, int expected, const char *text) {
  CHECK_EQUAL(status, expected);
  const char *said = cipc_segment_refusal(status);
  if (strstr(said, text) != said) check_fail(__FILE__, __LINE__, said, text);
}

static void one_is_made_and_found(int transactional) {
  cipc_segment_t *segment = NULL, *second = NULL;
  cipc_array_t array, found;
  CHECK_EQUAL(cipc_array_open_named(&segment, &array, name, cipc_element("int32")), CIPC_ENOENT);
  CHECK_EQUAL(make(&segment, &array, transactional), CIPC_SEGMENT_CREATED);
  CHECK_EQUAL(array.count, 12);
  CHECK_EQUAL((uintptr_t)array.elements % 64, 0);
  int32_t *elements = array.elements;
  for (int i = 0; i < 12; i++) {
    CHECK_EQUAL(elements[i], 0);
    elements[i] = i;
  }
  CHECK_EQUAL(make(&second, &found, transactional), 0);
  cipc_segment_close(second);
  CHECK_EQUAL(cipc_array_open_named(&second, &found, name, cipc_element("int32")), 0);
  CHECK(found.rank == 2 && found.shape[0] == 3 && found.shape[1] == 4 && found.stride == 4);
  CHECK_EQUAL(found.area.capacity, transactional ? 48 : 0);
  CHECK((found.area.redo != NULL) == (transactional != 0));
  for (int i = 0; i < 12; i++) CHECK_EQUAL(((int32_t *)found.elements)[i], i);
  cipc_segment_close(second);
  // Of whatever type.
  const cipc_element_t any = {.fingerprint = CIPC_FINGERPRINT_ANY};
  CHECK_EQUAL(cipc_array_open_named(&second, &found, name, &any), 0);
  CHECK(found.stride == 4 && found.count == 12);
  cipc_segment_close(second);
  finish(segment);
}

static void a_plain_one_is_made_and_found(void) { one_is_made_and_found(0); }
static void a_transactional_one_is_made_and_found(void) { one_is_made_and_found(1); }

static void what_differs_is_named(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  cipc_array_t array;
  CHECK_EQUAL(make(&segment, &array, 0), CIPC_SEGMENT_CREATED);
  check_refused(make(&other, &array, 1), CIPC_ESEGMENTSIZE, "segment size: ");
  const uint64_t turned[] = {4, 3};
  check_refused(
      cipc_array_open_or_create(&other, &array, name, cipc_element("int32"), 2, turned, 0),
      CIPC_ESEGMENTSHAPE, "segment shape: 3 x 4 instead of 4 x 3");
  const uint64_t longer[] = {13};
  check_refused(
      cipc_array_open_or_create(&other, &array, name, cipc_element("int32"), 1, longer, 0),
      CIPC_ESEGMENTCOUNT, "segment count: 12 instead of 13");
  check_refused(cipc_array_open_named(&other, &array, name, cipc_element("uint32")),
                CIPC_ESEGMENTTYPE, "segment type fingerprint: int32 instead of uint32");
  CHECK_EQUAL(cipc_array_open_named(&other, &array, name, NULL), CIPC_EINVAL);
  finish(segment);
  CHECK_EQUAL(make(&segment, &array, 1), CIPC_SEGMENT_CREATED);
  check_refused(make(&other, &array, 0), CIPC_ESEGMENTSHAPE,
                "segment shape: 3 x 4, transactional instead of 3 x 4");
  finish(segment);
}

static void shapes_that_no_array_has_are_refused(void) {
  cipc_segment_t *segment = NULL;
  cipc_array_t array;
  const cipc_element_t *element = cipc_element("float64");
  uint64_t large[65];
  for (int i = 0; i < 65; i++) large[i] = 1;
  CHECK(cipc_array_footprint(element, 64, large, 1) != SIZE_MAX);
  CHECK_EQUAL(cipc_array_footprint(element, 65, large, 0), SIZE_MAX);
  CHECK_EQUAL(cipc_array_footprint(element, 0, large, 0), SIZE_MAX);
  CHECK_EQUAL(cipc_array_footprint(NULL, 1, large, 0), SIZE_MAX);
  const uint64_t overflowing[] = {UINT64_MAX, UINT64_MAX, 0};
  CHECK_EQUAL(cipc_array_count(2, overflowing), UINT64_MAX);
  CHECK_EQUAL(cipc_array_count(3, overflowing), 0);
  CHECK_EQUAL(cipc_array_footprint(element, 1, overflowing, 0), SIZE_MAX);
  CHECK_EQUAL(cipc_array_open_or_create(&segment, &array, name, element, 1, overflowing, 0),
              CIPC_EINVAL);
  cipc_element_t odd = *element;
  odd.alignment = 24;
  CHECK_EQUAL(cipc_array_footprint(&odd, 1, large, 0), SIZE_MAX);
  odd.alignment = 8192;
  CHECK_EQUAL(cipc_array_footprint(&odd, 1, large, 0), SIZE_MAX);
  CHECK_EQUAL(cipc_array_open_named(&segment, &array, name, element), CIPC_ENOENT);
}

// One word of what another process may have written.
static int view_with(size_t word, uint64_t value, int transactional) {
  static _Alignas(64) unsigned char memory[1024];
  cipc_array_t array;
  const cipc_element_t *element = cipc_element("int32");
  memset(memory, 0, sizeof memory);
  size_t size = cipc_array_footprint(element, 2, shape, transactional);
  CHECK(size <= sizeof memory);
  CHECK_EQUAL(cipc_array_format(&array, memory, size - 1, element, 2, shape, transactional),
              CIPC_EINVAL);
  CHECK_EQUAL(cipc_array_format(&array, memory, size, element, 2, shape, transactional), 0);
  cipc_segment_type_t type = cipc_array_type(element, 12);
  CHECK_EQUAL(cipc_array_view(&array, memory, size, &type), 0);
  ((uint64_t *)(void *)(memory + sizeof(cipc_journal_t)))[word] = value;
  int status = cipc_array_view(&array, memory, size, &type);
  if (status < 0) CHECK(cipc_segment_refusal(status) != cipc_status_message(status));
  return status;
}

static void no_word_leads_out_of_an_array(void) {
  // The redo area, the rank, and two extents.
  CHECK_EQUAL(view_with(0, 8, 1), CIPC_ESEGMENTSHAPE);
  CHECK_EQUAL(view_with(0, UINT64_MAX, 1), CIPC_ESEGMENTSHAPE);
  CHECK_EQUAL(view_with(0, 64, 0), CIPC_ESEGMENTCOUNT);
  CHECK_EQUAL(view_with(0, 0, 1), 0);
  CHECK_EQUAL(view_with(1, 0, 0), CIPC_ESEGMENTSHAPE);
  CHECK_EQUAL(view_with(1, 65, 0), CIPC_ESEGMENTSHAPE);
  CHECK_EQUAL(view_with(1, UINT64_MAX, 0), CIPC_ESEGMENTSHAPE);
  CHECK_EQUAL(view_with(1, 64, 0), CIPC_ESEGMENTSIZE);
  CHECK_EQUAL(view_with(1, 3, 0), CIPC_ESEGMENTSHAPE);
  CHECK_EQUAL(view_with(2, 4, 0), CIPC_ESEGMENTSHAPE);
  CHECK_EQUAL(view_with(3, UINT64_MAX, 0), CIPC_ESEGMENTSHAPE);
}

static void change_and_die(void *argument) {
  cipc_segment_t *segment = NULL;
  cipc_array_t array;
  CHECK_EQUAL(make(&segment, &array, *(int *)argument), 0);
  CHECK_EQUAL(cipc_array_lock(&array, CIPC_NO_DEADLINE), 0);
  ((int32_t *)array.elements)[0] = 7;
}

static void the_death_of_an_owner_is_told(void) {
  for (int transactional = 0; transactional < 2; transactional++) {
    cipc_segment_t *segment = NULL;
    cipc_array_t array;
    CHECK_EQUAL(make(&segment, &array, transactional), CIPC_SEGMENT_CREATED);
    CHECK_EQUAL(child_join(child_start(change_and_die, &transactional)), 0);
    for (int i = 0; i < 2; i++) {
      CHECK_EQUAL(cipc_array_lock(&array, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
      if (i == 1) CHECK_EQUAL(cipc_array_recover(&array), 0);
      CHECK_EQUAL(cipc_array_unlock(&array), 0);
    }
    CHECK_EQUAL(cipc_array_lock(&array, CIPC_NO_DEADLINE), 0);
    CHECK_EQUAL(cipc_array_unlock(&array), 0);
    CHECK_EQUAL(cipc_array_unlock(&array), CIPC_EPERM);
    finish(segment);
  }
}

static void updates_go_through_the_journal(void) {
  cipc_segment_t *segment = NULL;
  cipc_array_t array;
  CHECK_EQUAL(make(&segment, &array, 1), CIPC_SEGMENT_CREATED);
  CHECK_EQUAL(cipc_journal_begin(array.journal, &array.area, 4, 8, CIPC_NO_DEADLINE), 0);
  ((int32_t *)array.area.redo)[1] = 9;
  CHECK_EQUAL(cipc_journal_commit(array.journal, &array.area, 4, 8), 0);
  CHECK_EQUAL(((int32_t *)array.elements)[2], 9);
  finish(segment);
}

int main(void) {
  (void)snprintf(name, sizeof name, "cipc-array-test-%d", (int)getpid());
  TEST(a_plain_one_is_made_and_found);
  TEST(a_transactional_one_is_made_and_found);
  TEST(what_differs_is_named);
  TEST(shapes_that_no_array_has_are_refused);
  TEST(no_word_leads_out_of_an_array);
  TEST(the_death_of_an_owner_is_told);
  TEST(updates_go_through_the_journal);
  return check_finish();
}
