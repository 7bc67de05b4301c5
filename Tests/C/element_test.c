/* SPDX-License-Identifier: Apache-2.0 */
// Element types: their names, numbers and sizes stay what they are.
#include "cipc/element.h"

#include <stdalign.h>
#include <stdbool.h>

#include "check.h"
#include "cipc/ring.h"

static void the_list_is_the_hash_of_its_names(void) {
#define LISTED(NAME, text, bytes, boundary) \
  CHECK(cipc_fingerprint_of(text) == CIPC_FINGERPRINT_##NAME); \
  CHECK(cipc_element(text)->fingerprint == CIPC_FINGERPRINT_##NAME); \
  CHECK_EQUAL(cipc_element(text)->size, bytes); \
  CHECK_EQUAL(cipc_element(text)->stride, bytes); \
  CHECK_EQUAL(cipc_element(text)->alignment, boundary); \
  CHECK(strcmp(cipc_element_name(CIPC_FINGERPRINT_##NAME), text) == 0);
  CIPC_ELEMENT_LIST(LISTED)
#undef LISTED
  CHECK(cipc_fingerprint_of("bytes") == CIPC_FINGERPRINT_BYTES);
  CHECK(cipc_fingerprint_of("text") == CIPC_FINGERPRINT_TEXT);
  CHECK(strcmp(cipc_element_name(CIPC_FINGERPRINT_BYTES), "bytes") == 0);
  CHECK(strcmp(cipc_element_name(CIPC_FINGERPRINT_TEXT), "text") == 0);
  CHECK(cipc_element_name(0) == NULL && cipc_element_name(CIPC_FINGERPRINT_ANY) == NULL);
  CHECK(cipc_element("bytes") == NULL && cipc_element("") == NULL && cipc_element(NULL) == NULL);
  CHECK(cipc_fingerprint_of(NULL) == 0);
}

// Written out once more, since segments with these numbers may be there: they do not change.
static void the_numbers_never_change(void) {
  CHECK(CIPC_FINGERPRINT_INT8 == UINT64_C(0xf5a67dc57a8fe232));
  CHECK(CIPC_FINGERPRINT_INT64 == UINT64_C(0xf9d0c88f42834344));
  CHECK(CIPC_FINGERPRINT_UINT32 == UINT64_C(0x54c64ac60988012c));
  // Test vectors of the hash's authors.
  CHECK(cipc_fingerprint_of("") == UINT64_C(0xcbf29ce484222325));
  CHECK(cipc_fingerprint_of("a") == UINT64_C(0xaf63dc4c8601ec8c));
  CHECK(cipc_fingerprint_of("foobar") == UINT64_C(0x85944171f73967e8));
}

static void c_has_the_same_sizes(void) {
  CHECK_EQUAL(cipc_element("int64")->size, sizeof(int64_t));
  CHECK_EQUAL(cipc_element("int64")->alignment, alignof(int64_t));
  CHECK_EQUAL(cipc_element("float32")->size, sizeof(float));
  CHECK_EQUAL(cipc_element("float64")->alignment, alignof(double));
  CHECK_EQUAL(cipc_element("bool")->size, sizeof(bool));
#if defined(__SIZEOF_INT128__)
  __extension__ typedef __int128 wide_t;
  CHECK_EQUAL(cipc_element("int128")->size, sizeof(wide_t));
  CHECK_EQUAL(cipc_element("int128")->alignment, alignof(wide_t));
#endif
#if defined(__x86_64__)
  CHECK_EQUAL(cipc_element("float80")->size, sizeof(long double));
  CHECK_EQUAL(cipc_element("float80")->alignment, alignof(long double));
#endif
}

static void types_of_ones_own_are_described(void) {
  cipc_element_t element;
  CHECK_EQUAL(cipc_element_init(&element, "com.example.reading", 12, 8), 0);
  CHECK_EQUAL(element.size, 12);
  CHECK_EQUAL(element.stride, 16);
  CHECK_EQUAL(element.alignment, 8);
  CHECK(element.fingerprint == cipc_fingerprint_of("com.example.reading"));
  CHECK_EQUAL(cipc_element_init(&element, "int32", 4, 4), 0);
  CHECK(element.fingerprint == CIPC_FINGERPRINT_INT32);
  CHECK_EQUAL(cipc_element_init(&element, "int32", 8, 4), CIPC_EINVAL);
  CHECK_EQUAL(cipc_element_init(&element, "int32", 4, 2), CIPC_EINVAL);
  CHECK_EQUAL(cipc_element_init(&element, NULL, 4, 4), CIPC_EINVAL);
  CHECK_EQUAL(cipc_element_init(&element, "", 4, 4), CIPC_EINVAL);
  CHECK_EQUAL(cipc_element_init(&element, "own", 0, 4), CIPC_EINVAL);
  CHECK_EQUAL(cipc_element_init(&element, "own", SIZE_MAX, 4), CIPC_EINVAL);
  CHECK_EQUAL(cipc_element_init(&element, "own", 4, 0), CIPC_EINVAL);
  CHECK_EQUAL(cipc_element_init(&element, "own", 4, 3), CIPC_EINVAL);
  CHECK_EQUAL(cipc_element_init(&element, "own", 4, 8192), CIPC_EINVAL);
}

static void records_of_rings_differ_by_their_form(void) {
  const cipc_element_t *byte = cipc_element("uint8");
  CHECK(cipc_ring_fingerprint(CIPC_RING_OF_ARRAYS, byte) == CIPC_FINGERPRINT_BYTES);
  uint64_t forms[] = {cipc_ring_fingerprint(CIPC_RING_OF_ELEMENTS, byte),
                      cipc_ring_fingerprint(CIPC_RING_OF_MESSAGES, byte),
                      cipc_ring_fingerprint(CIPC_RING_OF_ELEMENTS, cipc_element("int8")),
                      cipc_ring_fingerprint(CIPC_RING_OF_ARRAYS, cipc_element("int8")),
                      CIPC_FINGERPRINT_BYTES};
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    for (size_t j = 0; j < i; j++) CHECK(forms[i] != forms[j]);
    CHECK(forms[i] != CIPC_FINGERPRINT_ANY);
  }
  // A type of another size is another one, also where it has the same name.
  cipc_element_t before, after;
  CHECK_EQUAL(cipc_element_init(&before, "own", 8, 8), 0);
  CHECK_EQUAL(cipc_element_init(&after, "own", 12, 8), 0);
  for (int form = CIPC_RING_OF_ELEMENTS; form <= CIPC_RING_OF_ARRAYS; form++) {
    CHECK(cipc_ring_fingerprint(form, &before) != cipc_ring_fingerprint(form, &after));
  }
  CHECK(cipc_ring_fingerprint(3, byte) == CIPC_FINGERPRINT_ANY);
  CHECK(cipc_ring_fingerprint(CIPC_RING_OF_ARRAYS, NULL) == CIPC_FINGERPRINT_ANY);
}

int main(void) {
  TEST(the_list_is_the_hash_of_its_names);
  TEST(the_numbers_never_change);
  TEST(c_has_the_same_sizes);
  TEST(types_of_ones_own_are_described);
  TEST(records_of_rings_differ_by_their_form);
  return check_finish();
}
