/* SPDX-License-Identifier: Apache-2.0 */
// What has a name: each noun's openers find what is there, make what is not, and say which field
// of something else differs, with both values.
#include "check.h"
#include "child.h"
#include "cipc.h"

static char name[64];

static void set_name(void) {
  (void)snprintf(name, sizeof name, "cipc-named-test-%d", (int)getpid());
}

// What the last refusal said.
static void check_refused(int status, int expected, const char *text) {
  CHECK_EQUAL(status, expected);
  const char *said = cipc_segment_refusal(status);
  if (strstr(said, text) != said) check_fail(__FILE__, __LINE__, said, text);
}

// Of an opener that finds and one that finds or makes.
#define CHECK_OPENERS(open, make, segment) \
  do { \
    cipc_segment_t *found_ = NULL; \
    CHECK_EQUAL(open(&found_), CIPC_ENOENT); \
    CHECK(found_ == NULL); \
    CHECK_EQUAL(make(&(segment)), CIPC_SEGMENT_CREATED); \
    CHECK_EQUAL(make(&found_), 0); \
    cipc_segment_close(found_); \
    CHECK_EQUAL(open(&found_), 0); \
    cipc_segment_close(found_); \
    CHECK_EQUAL(cipc_event_open_named(&found_, name), CIPC_ESEGMENTKIND); \
  } while (0)

static void finish(cipc_segment_t *segment) {
  cipc_segment_close(segment);
  CHECK_EQUAL(cipc_segment_unlink(name), 0);
}

static const cipc_mutex_options_t recursive = {.recursive = 1};

static int open_mutex(cipc_segment_t **segment) {
  return cipc_mutex_open_named(segment, name, NULL);
}
static int make_mutex(cipc_segment_t **segment) {
  return cipc_mutex_open_or_create(segment, name, NULL);
}

static void mutexes(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_mutex, make_mutex, segment);
  check_refused(cipc_mutex_open_named(&other, name, &recursive), CIPC_ESEGMENTTYPE,
                "segment type fingerprint: plain instead of recursive");
  cipc_mutex_t *mutex = cipc_segment_address(segment);
  CHECK_EQUAL(cipc_mutex_lock(mutex, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_mutex_lock(mutex, CIPC_NO_DEADLINE), CIPC_EDEADLK);
  CHECK_EQUAL(cipc_mutex_unlock(mutex), 0);
  finish(segment);
  CHECK_EQUAL(cipc_mutex_open_or_create(&segment, name, &recursive), CIPC_SEGMENT_CREATED);
  mutex = cipc_segment_address(segment);
  for (int i = 0; i < 2; i++) CHECK_EQUAL(cipc_mutex_lock(mutex, CIPC_NO_DEADLINE), 0);
  for (int i = 0; i < 2; i++) CHECK_EQUAL(cipc_mutex_unlock(mutex), 0);
  check_refused(make_mutex(&other), CIPC_ESEGMENTTYPE,
                "segment type fingerprint: recursive instead of plain");
  finish(segment);
}

static void hold(void *argument) {
  (void)argument;
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(open_mutex(&segment), 0);
  CHECK_EQUAL(cipc_mutex_lock(cipc_segment_address(segment), CIPC_NO_DEADLINE), 0);
}

static void a_mutex_found_by_name_tells_of_a_dead_owner(void) {
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(make_mutex(&segment), CIPC_SEGMENT_CREATED);
  CHECK_EQUAL(child_join(child_start(hold, NULL)), 0);
  cipc_mutex_t *mutex = cipc_segment_address(segment);
  CHECK_EQUAL(cipc_mutex_lock(mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_mutex_recover(mutex), 0);
  CHECK_EQUAL(cipc_mutex_unlock(mutex), 0);
  finish(segment);
}

static int open_semaphore(cipc_segment_t **segment) {
  return cipc_semaphore_open_named(segment, name, CIPC_SEGMENT_ANY_COUNT);
}
static int make_semaphore(cipc_segment_t **segment) {
  return cipc_semaphore_open_or_create(segment, name, 3);
}

static void semaphores(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_semaphore, make_semaphore, segment);
  CHECK_EQUAL(cipc_segment_count(segment), 3);
  CHECK_EQUAL(cipc_semaphore_value(cipc_segment_address(segment), 3), 3);
  check_refused(cipc_semaphore_open_named(&other, name, 2), CIPC_ESEGMENTCOUNT,
                "segment count: 3 instead of 2");
  check_refused(cipc_semaphore_open_or_create(&other, name, 4), CIPC_ESEGMENTCOUNT,
                "segment count: 3 instead of 4");
  check_refused(cipc_semaphore_open_named_unowned(&other, name, 0), CIPC_ESEGMENTELEMENT,
                "segment element size: 8 instead of 64");
  CHECK_EQUAL(cipc_semaphore_open_or_create(&other, name, 0), CIPC_EINVAL);
  finish(segment);
}

static int open_unowned(cipc_segment_t **segment) {
  return cipc_semaphore_open_named_unowned(segment, name, 0);
}
static int make_unowned(cipc_segment_t **segment) {
  return cipc_semaphore_open_or_create_unowned(segment, name, 2, 5);
}

static void unowned_semaphores(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_unowned, make_unowned, segment);
  CHECK_EQUAL(cipc_semaphore_count(cipc_segment_address(segment)), 2);
  CHECK_EQUAL(cipc_semaphore_bound(cipc_segment_address(segment)), 5);
  CHECK_EQUAL(cipc_semaphore_open_named_unowned(&other, name, 5), 0);
  cipc_segment_close(other);
  check_refused(cipc_semaphore_open_named_unowned(&other, name, 6), CIPC_ESEGMENTBOUND,
                "segment bound: 5 instead of 6");
  CHECK_EQUAL(cipc_semaphore_open_or_create_unowned(&other, name, 0, 0), CIPC_EINVAL);
  finish(segment);
  CHECK_EQUAL(cipc_semaphore_open_or_create_unowned(&other, name, 6, 5), CIPC_ECAPACITY);
  CHECK_EQUAL(open_unowned(&other), CIPC_ENOENT);
}

static void events(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_EQUAL(cipc_event_open_named(&segment, name), CIPC_ENOENT);
  CHECK_EQUAL(cipc_event_open_or_create(&segment, name, 1), CIPC_SEGMENT_CREATED);
  CHECK_EQUAL(cipc_event_open_or_create(&other, name, 0), 0);
  CHECK(cipc_event_is_set(cipc_segment_address(other)));
  cipc_event_clear(cipc_segment_address(other));
  CHECK(!cipc_event_is_set(cipc_segment_address(segment)));
  cipc_segment_close(other);
  check_refused(open_mutex(&other), CIPC_ESEGMENTKIND, "segment kind: event instead of mutex");
  check_refused(cipc_region_open_named(&other, name, CIPC_SEGMENT_ANY_COUNT), CIPC_ESEGMENTKIND,
                "segment kind: event instead of region");
  finish(segment);
}

static int open_condition(cipc_segment_t **segment) {
  return cipc_condition_open_named(segment, name, CIPC_SEGMENT_ANY_COUNT);
}
static int make_condition(cipc_segment_t **segment) {
  return cipc_condition_open_or_create(segment, name, 7);
}

static void conditions(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_condition, make_condition, segment);
  CHECK_EQUAL(cipc_segment_count(segment), 7);
  CHECK_EQUAL(cipc_condition_waiting(cipc_segment_address(segment), 7), 0);
  check_refused(cipc_condition_open_named(&other, name, 8), CIPC_ESEGMENTCOUNT,
                "segment count: 7 instead of 8");
  CHECK_EQUAL(cipc_condition_open_or_create(&other, name, 0), CIPC_EINVAL);
  CHECK_EQUAL(cipc_condition_open_or_create(&other, name, UINT32_MAX), CIPC_EINVAL);
  finish(segment);
}

static int open_barrier(cipc_segment_t **segment) {
  return cipc_barrier_open_named(segment, name, CIPC_SEGMENT_ANY_COUNT);
}
static int make_barrier(cipc_segment_t **segment) {
  return cipc_barrier_open_or_create(segment, name, 1);
}

static void barriers(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_barrier, make_barrier, segment);
  CHECK_EQUAL(cipc_segment_count(segment), 1);
  CHECK_EQUAL(cipc_barrier_wait(cipc_segment_address(segment), 1, NULL, NULL, CIPC_NO_DEADLINE), 0);
  check_refused(cipc_barrier_open_or_create(&other, name, 2), CIPC_ESEGMENTCOUNT,
                "segment count: 1 instead of 2");
  CHECK_EQUAL(cipc_barrier_open_or_create(&other, name, 0), CIPC_EINVAL);
  finish(segment);
}

static int open_rwlock(cipc_segment_t **segment) {
  return cipc_rwlock_open_named(segment, name, CIPC_SEGMENT_ANY_COUNT);
}
static int make_rwlock(cipc_segment_t **segment) {
  return cipc_rwlock_open_or_create(segment, name, CIPC_RWLOCK_LINES);
}

static void reader_writer_locks(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_rwlock, make_rwlock, segment);
  cipc_rwlock_t *lock = cipc_segment_address(segment);
  CHECK_EQUAL(cipc_rwlock_read_lock(lock, CIPC_RWLOCK_LINES, CIPC_NO_DEADLINE), 0);
  CHECK_EQUAL(cipc_rwlock_readers(lock, CIPC_RWLOCK_LINES), 1);
  CHECK_EQUAL(cipc_rwlock_read_unlock(lock, CIPC_RWLOCK_LINES), 0);
  check_refused(cipc_rwlock_open_named(&other, name, 4), CIPC_ESEGMENTCOUNT,
                "segment count: 16 instead of 4");
  CHECK_EQUAL(cipc_rwlock_open_or_create(&other, name, 3), CIPC_EINVAL);
  finish(segment);
}

static int open_cell(cipc_segment_t **segment) {
  return cipc_cell_open_named(segment, name, cipc_element("float64"));
}
static int make_cell(cipc_segment_t **segment) {
  const double first = 1.5;
  return cipc_cell_open_or_create(segment, name, cipc_element("float64"), &first);
}

static void cells(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_cell, make_cell, segment);
  double value = 0;
  CHECK_EQUAL(cipc_cell_read(cipc_segment_address(segment), &value, sizeof value, CIPC_NO_DEADLINE),
              0);
  CHECK(value > 1.4 && value < 1.6);
  check_refused(cipc_cell_open_named(&other, name, cipc_element("int64")), CIPC_ESEGMENTTYPE,
                "segment type fingerprint: float64 instead of int64");
  check_refused(cipc_cell_open_named(&other, name, cipc_element("float32")), CIPC_ESEGMENTELEMENT,
                "segment element size: 8 instead of 4");
  CHECK_EQUAL(cipc_cell_open_named(&other, name, cipc_element("no such")), CIPC_EINVAL);
  const cipc_element_t any = {.fingerprint = CIPC_FINGERPRINT_ANY};
  CHECK_EQUAL(cipc_cell_open_named(&other, name, &any), 0);
  CHECK_EQUAL(cipc_segment_type(other).element_size, 8);
  CHECK_EQUAL(cipc_segment_type(other).fingerprint, CIPC_FINGERPRINT_FLOAT64);
  cipc_segment_close(other);
  cipc_element_t own;
  CHECK_EQUAL(cipc_element_init(&own, "com.example.celsius", 8, 8), 0);
  check_refused(cipc_cell_open_named(&other, name, &own), CIPC_ESEGMENTTYPE,
                "segment type fingerprint: float64 instead of 0x");
  finish(segment);
  CHECK_EQUAL(cipc_cell_open_or_create(&other, name, &any, &value), CIPC_EINVAL);
  CHECK_EQUAL(cipc_cell_open_or_create(&segment, name, &own, &value), CIPC_SEGMENT_CREATED);
  check_refused(make_cell(&other), CIPC_ESEGMENTTYPE, "segment type fingerprint: 0x");
  finish(segment);
}

static int open_atomic(cipc_segment_t **segment) {
  return cipc_atomic_open_named(segment, name, cipc_element("int32"));
}
static int make_atomic(cipc_segment_t **segment) {
  return cipc_atomic_open_or_create(segment, name, cipc_element("int32"), 5);
}

static void atomic_integers(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_atomic, make_atomic, segment);
  CHECK_EQUAL(cipc_atomic_add(cipc_segment_address(segment), 4, 2), 5);
  CHECK_EQUAL(cipc_atomic_load(cipc_segment_address(segment), 4), 7);
  check_refused(cipc_atomic_open_named(&other, name, cipc_element("uint32")), CIPC_ESEGMENTTYPE,
                "segment type fingerprint: int32 instead of uint32");
  CHECK_EQUAL(cipc_atomic_open_named(&other, name, cipc_element("int128")), CIPC_EINVAL);
  CHECK_EQUAL(cipc_atomic_open_or_create(&other, name, NULL, 0), CIPC_EINVAL);
  finish(segment);
}

static int open_bytes(cipc_segment_t **segment) {
  return cipc_bytes_open_named(segment, name, CIPC_SEGMENT_ANY_COUNT);
}
static int make_bytes(cipc_segment_t **segment) {
  return cipc_bytes_open_or_create(segment, name, 100, "hello", 5);
}
static int open_string(cipc_segment_t **segment) {
  return cipc_string_open_named(segment, name, CIPC_SEGMENT_ANY_COUNT);
}
static int make_string(cipc_segment_t **segment) {
  return cipc_string_open_or_create(segment, name, 100, "hello", 5);
}

static void check_content(cipc_segment_t *segment) {
  char content[100];
  size_t length = 0;
  size_t capacity = (size_t)cipc_segment_count(segment);
  CHECK_EQUAL(capacity, 100);
  CHECK_EQUAL(cipc_bytes_read(cipc_segment_address(segment), capacity, content, sizeof content,
                              &length, CIPC_NO_DEADLINE),
              0);
  CHECK(length == 5 && memcmp(content, "hello", 5) == 0);
}

static void bytes_and_texts(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_bytes, make_bytes, segment);
  check_content(segment);
  check_refused(open_string(&other), CIPC_ESEGMENTKIND, "segment kind: bytes instead of string");
  check_refused(cipc_bytes_open_named(&other, name, 99), CIPC_ESEGMENTCOUNT,
                "segment count: 100 instead of 99");
  CHECK_EQUAL(cipc_bytes_open_or_create(&other, name, 4, "hello", 5), CIPC_ECAPACITY);
  finish(segment);
  CHECK_OPENERS(open_string, make_string, segment);
  check_content(segment);
  check_refused(open_bytes(&other), CIPC_ESEGMENTKIND, "segment kind: string instead of bytes");
  finish(segment);
}

static int open_region(cipc_segment_t **segment) {
  return cipc_region_open_named(segment, name, CIPC_SEGMENT_ANY_COUNT);
}
static int make_region(cipc_segment_t **segment) {
  return cipc_region_open_or_create(segment, name, 8192);
}

static int init_mutex(void *payload, void *context) { return cipc_mutex_init(payload, context); }

static void regions(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_OPENERS(open_region, make_region, segment);
  check_refused(cipc_region_open_named(&other, name, 4096), CIPC_ESEGMENTCOUNT,
                "segment count: 8192 instead of 4096");
  CHECK_EQUAL(cipc_region_open_or_create(&other, name, 1), CIPC_EINVAL);
  const cipc_region_object_t lock = {.name = "lock",
                                     .type = cipc_mutex_type(0),
                                     .size = sizeof(cipc_mutex_t),
                                     .prepare = init_mutex};
  cipc_region_entry_t entry;
  size_t size = cipc_segment_size(segment);
  cipc_region_t *region = cipc_region_in(segment);
  CHECK_EQUAL(cipc_region_allocate(region, size, &lock, &entry, CIPC_NO_DEADLINE),
              CIPC_REGION_CREATED);
  const cipc_segment_type_t event = cipc_event_type();
  check_refused(cipc_region_find(region, size, "lock", &event, &entry), CIPC_ESEGMENTKIND,
                "segment kind: mutex instead of event");
  cipc_region_object_t any = lock;
  any.name = "any";
  any.type.fingerprint = CIPC_FINGERPRINT_ANY;
  CHECK_EQUAL(cipc_region_allocate(region, size, &any, &entry, CIPC_NO_DEADLINE), CIPC_EINVAL);
  finish(segment);
}

static void rings(void) {
  cipc_ring_t *ring = NULL, *other = NULL;
  cipc_ring_options_t options = {
      .fingerprint = cipc_ring_fingerprint(CIPC_RING_OF_ELEMENTS, cipc_element("int32"))};
  CHECK_EQUAL(cipc_ring_open_or_create(&ring, name, &options), CIPC_SEGMENT_CREATED);
  const int32_t number = 12;
  CHECK_EQUAL(cipc_ring_put(ring, &number, sizeof number, CIPC_NO_DEADLINE), 0);
  cipc_ring_options_t wrong = {.fingerprint = CIPC_FINGERPRINT_BYTES};
  check_refused(cipc_ring_open_named(&other, name, &wrong), CIPC_ESEGMENTTYPE,
                "segment type fingerprint: 0x");
  check_refused(cipc_ring_open_named(&other, name, NULL), CIPC_ESEGMENTTYPE,
                "segment type fingerprint: 0x");
  wrong = options;
  wrong.flags = CIPC_RING_LEASED;
  check_refused(cipc_ring_open_named(&other, name, &wrong), CIPC_ERINGHEADER,
                "ring header: neither leased nor tracked instead of leased");
  const cipc_ring_options_t any = {.fingerprint = CIPC_FINGERPRINT_ANY};
  CHECK_EQUAL(cipc_ring_open_named(&other, name, &any), 0);
  int32_t got = 0;
  size_t length = 0;
  CHECK_EQUAL(cipc_ring_get(other, &got, sizeof got, &length, CIPC_NO_DEADLINE), 0);
  CHECK(length == 4 && got == 12);
  CHECK_EQUAL(cipc_segment_type(cipc_ring_segment(other)).fingerprint, options.fingerprint);
  cipc_ring_close(other);
  cipc_ring_close(ring);
  CHECK_EQUAL(cipc_segment_unlink(name), 0);
  CHECK_EQUAL(cipc_ring_open_or_create(&ring, name, &any), CIPC_EINVAL);
}

static void a_refusal_is_of_the_last_thing_asked_for(void) {
  cipc_segment_t *segment = NULL, *other = NULL;
  CHECK_EQUAL(make_cell(&segment), CIPC_SEGMENT_CREATED);
  check_refused(open_mutex(&other), CIPC_ESEGMENTKIND, "segment kind: value instead of mutex");
  // Of another status it says what that means; of the same, after something was found, too.
  CHECK(cipc_segment_refusal(CIPC_EINVAL) == cipc_status_message(CIPC_EINVAL));
  CHECK_EQUAL(open_cell(&other), 0);
  cipc_segment_close(other);
  CHECK(cipc_segment_refusal(CIPC_ESEGMENTKIND) == cipc_status_message(CIPC_ESEGMENTKIND));
  CHECK(cipc_segment_refusal(0) == cipc_status_message(0));
  finish(segment);
}

int main(void) {
  set_name();
  TEST(mutexes);
  TEST(a_mutex_found_by_name_tells_of_a_dead_owner);
  TEST(semaphores);
  TEST(unowned_semaphores);
  TEST(events);
  TEST(conditions);
  TEST(barriers);
  TEST(reader_writer_locks);
  TEST(cells);
  TEST(atomic_integers);
  TEST(bytes_and_texts);
  TEST(regions);
  TEST(rings);
  TEST(a_refusal_is_of_the_last_thing_asked_for);
  return check_finish();
}
