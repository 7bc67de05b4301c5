/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/region.h"

#include "child.h"
#include "cipc/bytes.h"
#include "cipc/cell.h"

static const cipc_segment_type_t number_type = {.kind = CIPC_KIND_ATOMIC,
                                                .version = 1,
                                                .element_size = 8,
                                                .stride = 8,
                                                .alignment = 8,
                                                .count = 1,
                                                .fingerprint = 42};

static cipc_deadline_t soon(void) { return cipc_clock_deadline(CHILD_PATIENCE); }

static cipc_region_object_t number_named(const char *name) {
  return (cipc_region_object_t){.name = name, .type = number_type, .size = 8};
}

static cipc_region_t *make_region(size_t size) {
  cipc_region_t *region = child_shared(size);
  CHECK_EQUAL(cipc_region_format(region, size), 0);
  CHECK_EQUAL(cipc_region_check(region, size), 0);
  return region;
}

static uint64_t *word_at(cipc_region_t *region, const cipc_region_entry_t *entry) {
  return cipc_region_address(region, entry);
}

static void an_object_is_made_once_and_found_again(void) {
  cipc_region_t *region = make_region(4096);
  cipc_region_entry_t made;
  cipc_region_entry_t found;
  cipc_region_object_t object = number_named("hits");
  CHECK_EQUAL(cipc_region_find(region, 4096, "hits", NULL, &found), CIPC_ENOENT);
  CHECK_EQUAL(cipc_region_allocate(region, 4096, &object, &made, soon()), CIPC_REGION_CREATED);
  CHECK(strcmp(made.name, "hits") == 0 && made.size == 8 && made.offset % 64 == 0);
  CHECK(*word_at(region, &made) == 0);
  *word_at(region, &made) = 7;
  CHECK_EQUAL(cipc_region_allocate(region, 4096, &object, &found, soon()), 0);
  CHECK(memcmp(&made, &found, sizeof made) == 0);
  CHECK_EQUAL(cipc_region_find(region, 4096, "hits", &number_type, &found), 0);
  CHECK(memcmp(&made, &found, sizeof made) == 0);
  object.name = "misses";
  CHECK_EQUAL(cipc_region_allocate(region, 4096, &object, &found, soon()), CIPC_REGION_CREATED);
  CHECK(found.offset >= made.offset + made.size);
  CHECK_EQUAL(cipc_region_count(region, 4096), 2);
  CHECK_EQUAL(cipc_region_entry(region, 4096, 0, &found), 0);
  CHECK(strcmp(found.name, "hits") == 0);
  CHECK_EQUAL(cipc_region_entry(region, 4096, 1, &found), 0);
  CHECK(strcmp(found.name, "misses") == 0);
  CHECK_EQUAL(cipc_region_entry(region, 4096, 2, &found), CIPC_ENOENT);
  CHECK_EQUAL(cipc_region_find(region, 4096, "hit", NULL, &found), CIPC_ENOENT);
}

static void another_type_is_told_by_the_field(void) {
  cipc_region_t *region = make_region(4096);
  cipc_region_entry_t entry;
  cipc_region_object_t object = number_named("hits");
  CHECK_EQUAL(cipc_region_allocate(region, 4096, &object, &entry, soon()), CIPC_REGION_CREATED);
  static const struct {
    size_t offset;
    int status;
  } fields[] = {
      {offsetof(cipc_segment_type_t, kind), CIPC_ESEGMENTKIND},
      {offsetof(cipc_segment_type_t, version), CIPC_ESEGMENTVERSION},
      {offsetof(cipc_segment_type_t, element_size), CIPC_ESEGMENTELEMENT},
      {offsetof(cipc_segment_type_t, stride), CIPC_ESEGMENTSTRIDE},
      {offsetof(cipc_segment_type_t, alignment), CIPC_ESEGMENTALIGNMENT},
      {offsetof(cipc_segment_type_t, count), CIPC_ESEGMENTCOUNT},
      {offsetof(cipc_segment_type_t, fingerprint), CIPC_ESEGMENTTYPE},
  };
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    cipc_segment_type_t wanted = number_type;
    unsigned char *field = (unsigned char *)&wanted + fields[i].offset;
    *field = (unsigned char)(*field * 2);
    CHECK_EQUAL(cipc_region_find(region, 4096, "hits", &wanted, &entry), fields[i].status);
    cipc_region_object_t other = {.name = "hits", .type = wanted, .size = 64};
    CHECK_EQUAL(cipc_region_allocate(region, 4096, &other, &entry, soon()), fields[i].status);
  }
  cipc_segment_type_t any = number_type;
  any.count = CIPC_SEGMENT_ANY_COUNT;
  CHECK_EQUAL(cipc_region_find(region, 4096, "hits", &any, &entry), 0);
  CHECK_EQUAL(cipc_region_count(region, 4096), 1);
}

static void bad_requests_are_refused(void) {
  cipc_region_t *region = make_region(8192);
  cipc_region_entry_t entry;
  char name[CIPC_REGION_NAME_SIZE + 1];
  memset(name, 'n', sizeof name);
  name[CIPC_REGION_NAME_SIZE] = '\0';
  cipc_region_object_t object = number_named(name);
  CHECK_EQUAL(cipc_region_allocate(region, 8192, &object, &entry, soon()), CIPC_EINVAL);
  CHECK_EQUAL(cipc_region_find(region, 8192, name, NULL, &entry), CIPC_ENOENT);
  name[CIPC_REGION_NAME_SIZE - 1] = '\0';
  CHECK_EQUAL(cipc_region_allocate(region, 8192, &object, &entry, soon()), CIPC_REGION_CREATED);
  CHECK(strcmp(entry.name, name) == 0);
  CHECK_EQUAL(cipc_region_find(region, 8192, name, NULL, &entry), 0);
  object.name = "";
  CHECK_EQUAL(cipc_region_allocate(region, 8192, &object, &entry, soon()), CIPC_EINVAL);
  object.name = NULL;
  CHECK_EQUAL(cipc_region_allocate(region, 8192, &object, &entry, soon()), CIPC_EINVAL);
  CHECK_EQUAL(cipc_region_find(region, 8192, NULL, NULL, &entry), CIPC_ENOENT);
  const struct {
    size_t size;
    uint64_t count;
    uint64_t alignment;
  } bad[] = {{0, 0, 8}, {7, 1, 8}, {64, 9, 8}, {64, UINT64_MAX, 8}, {8, 1, 3}, {8, 1, 8192}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    object = number_named("bad");
    object.size = bad[i].size;
    object.type.count = bad[i].count;
    object.type.alignment = bad[i].alignment;
    CHECK_EQUAL(cipc_region_allocate(region, 8192, &object, &entry, soon()), CIPC_EINVAL);
  }
  CHECK_EQUAL(cipc_region_count(region, 8192), 1);
  CHECK_EQUAL(cipc_region_format(region, 319), CIPC_EINVAL);
  CHECK_EQUAL(cipc_region_format(region, 0), CIPC_EINVAL);
  CHECK_EQUAL(cipc_region_check(region, 100), CIPC_ESEGMENTSIZE);
  CHECK_EQUAL(cipc_region_check(region, 4096), CIPC_ESEGMENTSIZE);
  region->magic++;
  CHECK_EQUAL(cipc_region_check(region, 8192), CIPC_ESEGMENTMAGIC);
}

static void the_footprint_is_enough(void) {
  static const size_t sizes[] = {1, 8, 63, 64, 65, 1000};
  for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
    for (size_t count = 1; count < 40; count += 7) {
      size_t size = cipc_region_footprint(count, count * sizes[s]);
      cipc_region_t *region = make_region(size);
      cipc_region_entry_t entry;
      for (size_t i = 0; i < count; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%zu", i);
        cipc_region_object_t object = {.name = name, .size = sizes[s]};
        CHECK_EQUAL(cipc_region_allocate(region, size, &object, &entry, soon()),
                    CIPC_REGION_CREATED);
        memset(cipc_region_address(region, &entry), 0xdd, sizes[s]);
      }
      for (size_t i = 0; i < count; i++) CHECK_EQUAL(cipc_region_entry(region, size, i, &entry), 0);
      CHECK_EQUAL(munmap(region, size), 0);
    }
  }
  CHECK(cipc_region_footprint(SIZE_MAX, 0) == SIZE_MAX);
  CHECK(cipc_region_footprint(1, SIZE_MAX) == SIZE_MAX);
  CHECK(cipc_region_footprint(SIZE_MAX / 200, SIZE_MAX / 2) == SIZE_MAX);
}

static void a_full_region_says_so_and_keeps_what_it_has(void) {
  static const size_t sizes[] = {320, 383, 384, 4096};
  for (size_t s = 0; s < 4; s++) {
    cipc_region_t *region = make_region(sizes[s]);
    size_t made = 0;
    int status = 0;
    do {
      char name[32];
      (void)snprintf(name, sizeof name, "%zu", made);
      cipc_region_object_t object = number_named(name);
      cipc_region_entry_t entry;
      status = cipc_region_allocate(region, sizes[s], &object, &entry, soon());
      if (status == CIPC_REGION_CREATED) *word_at(region, &entry) = ++made;
    } while (status == CIPC_REGION_CREATED);
    CHECK_EQUAL(status, CIPC_ECAPACITY);
    CHECK(made == (sizes[s] == 4096 ? (4096 - 128) / 192 : 1));
    for (size_t i = 0; i < made; i++) {
      cipc_region_entry_t entry;
      CHECK_EQUAL(cipc_region_entry(region, sizes[s], i, &entry), 0);
      CHECK(*word_at(region, &entry) == i + 1);
    }
    cipc_region_object_t large = number_named("large");
    large.size = SIZE_MAX;
    cipc_region_entry_t entry;
    CHECK_EQUAL(cipc_region_allocate(region, sizes[s], &large, &entry, soon()), CIPC_ECAPACITY);
  }
}

static void alignments_are_kept_wherever_it_is_mapped(void) {
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(cipc_region_create(&segment, 65536), 0);
  cipc_region_t *region = cipc_region_in(segment);
  size_t size = cipc_segment_size(segment);
  int descriptor = dup(cipc_segment_descriptor(segment));
  cipc_segment_t *again = NULL;
  cipc_segment_type_t type = cipc_region_type(CIPC_SEGMENT_ANY_COUNT);
  cipc_segment_options_t options = {.type = &type};
  CHECK_EQUAL(cipc_segment_open(&again, descriptor, &options), 0);
  CHECK_EQUAL(cipc_region_check(cipc_region_in(again), cipc_segment_size(again)), 0);
  CHECK(cipc_region_in(again) != region);
  for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
    char name[32];
    (void)snprintf(name, sizeof name, "%zu", alignment);
    cipc_region_object_t object = number_named(name);
    object.type.alignment = alignment;
    cipc_region_entry_t entry;
    CHECK_EQUAL(cipc_region_allocate(region, size, &object, &entry, soon()), CIPC_REGION_CREATED);
    CHECK((uintptr_t)word_at(region, &entry) % alignment == 0);
    *word_at(region, &entry) = alignment;
    cipc_region_entry_t found;
    CHECK_EQUAL(cipc_region_find(cipc_region_in(again), size, name, &object.type, &found), 0);
    CHECK((uintptr_t)word_at(cipc_region_in(again), &found) % alignment == 0);
    CHECK(*word_at(cipc_region_in(again), &found) == alignment);
  }
  cipc_segment_close(segment);
  cipc_segment_close(again);
}

static int fail(void *payload, void *context) {
  memset(payload, 0xdd, 100);
  *(int *)context += 1;
  return CIPC_EBUSY;
}

static int fill(void *payload, void *context) {
  for (int i = 0; i < 200; i++) CHECK(((unsigned char *)payload)[i] == 0);
  memset(payload, *(int *)context, 200);
  return 0;
}

static void an_object_that_could_not_be_prepared_leaves_no_trace(void) {
  cipc_region_t *region = make_region(4096);
  cipc_region_entry_t entry;
  int context = 0;
  cipc_region_object_t object = number_named("one");
  object.size = 200;
  object.prepare = fail;
  object.context = &context;
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_region_allocate(region, 4096, &object, &entry, soon()), CIPC_EBUSY);
  }
  CHECK_EQUAL(context, 3);
  CHECK_EQUAL(cipc_region_count(region, 4096), 0);
  context = 5;
  object.prepare = fill;
  CHECK_EQUAL(cipc_region_allocate(region, 4096, &object, &entry, soon()), CIPC_REGION_CREATED);
  CHECK(*(unsigned char *)cipc_region_address(region, &entry) == 5);
  object.prepare = fail;
  CHECK_EQUAL(cipc_region_allocate(region, 4096, &object, &entry, soon()), 0);
}

static cipc_region_t *shared_region;
static uint32_t *gate;

static int hang(void *payload, void *context) {
  (void)context;
  memset(payload, 0xdd, 200);
  gate_set(gate, 1);
  child_hang();
}

static void die_preparing(void *argument) {
  (void)argument;
  cipc_region_entry_t entry;
  cipc_region_object_t object = number_named("one");
  object.size = 200;
  object.prepare = hang;
  (void)!cipc_region_allocate(shared_region, 4096, &object, &entry, CIPC_NO_DEADLINE);
}

static void a_maker_that_was_killed_leaves_no_trace(void) {
  shared_region = make_region(4096);
  gate = child_shared(sizeof *gate);
  pid_t child = child_start(die_preparing, NULL);
  gate_wait(gate, 1);
  cipc_region_entry_t entry;
  int context = 6;
  cipc_region_object_t object = number_named("one");
  object.size = 200;
  object.prepare = fill;
  object.context = &context;
  CHECK_EQUAL(cipc_region_find(shared_region, 4096, "one", NULL, &entry), CIPC_ENOENT);
  CHECK_EQUAL(cipc_region_allocate(shared_region, 4096, &object, &entry, CIPC_IMMEDIATELY),
              CIPC_ETIMEDOUT);
  child_kill(child);
  CHECK_EQUAL(cipc_region_allocate(shared_region, 4096, &object, &entry, soon()),
              CIPC_REGION_CREATED);
  object = number_named("two");
  CHECK_EQUAL(cipc_region_allocate(shared_region, 4096, &object, &entry, soon()),
              CIPC_REGION_CREATED);
}

#define OBJECTS 1000
static size_t shared_size;

static int begin_at_one(void *payload, void *context) {
  (void)context;
  CHECK(*(uint64_t *)payload == 0);
  *(uint64_t *)payload = 1;
  return 0;
}

// Asks for all objects, each process in another order, and adds one to each.
static void add_to_all(void *argument) {
  size_t stride = (size_t)(uintptr_t)argument;
  gate_wait(gate, 1);
  for (size_t i = 0; i < OBJECTS; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "object %zu", i * stride % OBJECTS);
    cipc_region_object_t object = number_named(name);
    object.prepare = begin_at_one;
    cipc_region_entry_t entry;
    CHECK(cipc_region_allocate(shared_region, shared_size, &object, &entry, soon()) >= 0);
    (void)cipc_atomic_add(word_at(shared_region, &entry), 8, 1);
  }
}

static void a_thousand_objects_are_made_once_by_racing_processes(void) {
  shared_size = cipc_region_footprint(OBJECTS, OBJECTS * 8);
  shared_region = make_region(shared_size);
  gate = child_shared(sizeof *gate);
  pid_t children[4];
  static const uintptr_t strides[] = {1, 3, 7, 999};
  for (int i = 0; i < 4; i++) children[i] = child_start(add_to_all, (void *)strides[i]);
  gate_set(gate, 1);
  for (int i = 0; i < 4; i++) CHECK_EQUAL(child_join(children[i]), 0);
  CHECK_EQUAL(cipc_region_count(shared_region, shared_size), OBJECTS);
  for (size_t i = 0; i < OBJECTS; i++) {
    cipc_region_entry_t entry;
    CHECK_EQUAL(cipc_region_entry(shared_region, shared_size, i, &entry), 0);
    CHECK_EQUAL(*word_at(shared_region, &entry), 5);
  }
}

static void make_for_ever(void *argument) {
  (void)argument;
  for (size_t i = 0;; i++) {
    char name[32];
    (void)snprintf(name, sizeof name, "object %zu", i % OBJECTS);
    cipc_region_object_t object = number_named(name);
    object.prepare = begin_at_one;
    cipc_region_entry_t entry;
    CHECK(cipc_region_allocate(shared_region, shared_size, &object, &entry, soon()) >= 0);
    if (i == 0) gate_set(gate, 1);
  }
}

// Wherever the kill falls.
static void killed_makers_leave_whole_objects(void) {
  shared_size = cipc_region_footprint(OBJECTS, OBJECTS * 8);
  shared_region = make_region(shared_size);
  gate = child_shared(sizeof *gate);
  for (int i = 0; i < 200; i++) {
    *gate = 0;
    pid_t child = child_start(make_for_ever, NULL);
    gate_wait(gate, 1);
    child_kill(child);
    size_t count = cipc_region_count(shared_region, shared_size);
    for (size_t at = 0; at < count; at++) {
      cipc_region_entry_t entry;
      CHECK_EQUAL(cipc_region_entry(shared_region, shared_size, at, &entry), 0);
      CHECK_EQUAL(*word_at(shared_region, &entry), 1);
    }
  }
}

// The types of this library, by offsets: what a C program does.
static void locks_cells_and_bytes_live_in_a_region(void) {
  cipc_segment_t *segment = NULL;
  CHECK_EQUAL(cipc_region_create(&segment, 8192), 0);
  cipc_region_t *region = cipc_region_in(segment);
  size_t size = cipc_segment_size(segment);
  cipc_region_entry_t entry;
  cipc_region_object_t object = {.name = "lock", .size = sizeof(cipc_mutex_t)};
  CHECK_EQUAL(cipc_region_allocate(region, size, &object, &entry, soon()), CIPC_REGION_CREATED);
  cipc_mutex_t *mutex = cipc_region_address(region, &entry);
  CHECK_EQUAL(cipc_mutex_init(mutex, NULL), 0);
  CHECK_EQUAL(cipc_mutex_lock(mutex, soon()), 0);
  object = (cipc_region_object_t){.name = "text", .size = cipc_bytes_footprint(100)};
  CHECK_EQUAL(cipc_region_allocate(region, size, &object, &entry, soon()), CIPC_REGION_CREATED);
  cipc_bytes_t *text = cipc_region_address(region, &entry);
  CHECK_EQUAL(cipc_bytes_init(text, 100, "hello", 5), 0);
  CHECK_EQUAL(cipc_bytes_store(text, 100, "world", 5, soon()), 0);
  CHECK_EQUAL(cipc_mutex_unlock(mutex), 0);
  cipc_segment_close(segment);
}

static uint64_t next_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

// Every function, on whatever is there. What they find lies inside the region, or is an error.
static void use_all(cipc_region_t *region, size_t size, uint64_t *random) {
  cipc_region_entry_t entry;
  (void)!cipc_region_check(region, size);
  size_t count = cipc_region_count(region, size);
  for (size_t i = 0; i < count + 1; i++) {
    if (cipc_region_entry(region, size, i, &entry) < 0) continue;
    CHECK(entry.offset >= sizeof *region && entry.offset <= size &&
          entry.size <= size - entry.offset);
    CHECK(entry.type.stride == 0 || entry.type.count <= entry.size / entry.type.stride);
    CHECK(strnlen(entry.name, sizeof entry.name) < sizeof entry.name);
    // Touches all of it: outside there are guards.
    volatile unsigned char *bytes = cipc_region_address(region, &entry);
    if (entry.size > 0) (void)(bytes[0] + bytes[entry.size - 1]);
  }
  char name[8];
  (void)snprintf(name, sizeof name, "%u", (unsigned)(next_random(random) % 20));
  (void)!cipc_region_find(region, size, name, &number_type, &entry);
  cipc_region_object_t object = number_named(name);
  object.size = 8 + next_random(random) % 300;
  int status = cipc_region_allocate(region, size, &object, &entry, CIPC_IMMEDIATELY);
  if (status >= 0) memset(cipc_region_address(region, &entry), 0xdd, (size_t)entry.size);
}

// Bytes of a hostile process, everywhere but in the mutex (which is for trusted processes): in a
// mapping whose neighbours are not mapped, and on the heap, where AddressSanitizer looks.
static void hostile_bytes_lead_nowhere(void) {
  uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
  static const uint64_t favourites[] = {
      0,   1,    63,   64,   127,        128,       129,        320,        4095, 4096,
      256, 8064, 8191, 8192, UINT64_MAX, INT64_MAX, 1ull << 63, 1ull << 32, 31,   62};
  const size_t size = 8192;
  char *mapped = mmap(NULL, size + 8192, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(mapped != MAP_FAILED && mprotect(mapped + 4096, size, PROT_READ | PROT_WRITE) == 0);
  void *heap = NULL;
  CHECK(posix_memalign(&heap, 64, size) == 0);
  for (int round = 0; round < 6000; round++) {
    cipc_region_t *region = (void *)(round % 2 == 0 ? mapped + 4096 : (char *)heap);
    memset((void *)region, 0, size);
    CHECK_EQUAL(cipc_region_format(region, size), 0);
    for (int i = 0; i < round % 20; i++) use_all(region, size, &random);
    int changes = 1 + (int)(next_random(&random) % 12);
    for (int i = 0; i < changes; i++) {
      // The head, the directory, or anywhere.
      uint64_t where = next_random(&random);
      size_t at = where % 3 == 0   ? 64 + where / 3 % 64
                  : where % 3 == 1 ? size - 1 - where / 3 % 1024
                                   : 64 + where / 3 % (size - 64);
      uint64_t what = next_random(&random);
      uint64_t value = what % 4 == 0 ? next_random(&random) : favourites[what / 4 % 20];
      size_t word = at / 8 * 8;
      if (what % 5 == 0) {
        ((unsigned char *)region)[at] = (unsigned char)value;
      } else {
        memcpy((unsigned char *)region + word, &value, 8);
      }
      use_all(region, size, &random);
    }
  }
  free(heap);
  CHECK_EQUAL(munmap(mapped, size + 8192), 0);
}

// All bytes but the mutex at random: hardly anything passes for an entry.
static void noise_is_no_region(void) {
  uint64_t random = 42;
  const size_t size = 4160;
  void *heap = NULL;
  CHECK(posix_memalign(&heap, 64, size) == 0);
  for (int round = 0; round < 2000; round++) {
    cipc_region_t *region = heap;
    memset(heap, 0, size);
    CHECK_EQUAL(cipc_region_format(region, size), 0);
    for (size_t at = 64; at + 8 <= size; at += 8) {
      uint64_t value = next_random(&random);
      memcpy((unsigned char *)heap + at, &value, 8);
    }
    region->count = next_random(&random) % 64;
    use_all(region, size, &random);
  }
  free(heap);
}

int main(void) {
  TEST(an_object_is_made_once_and_found_again);
  TEST(another_type_is_told_by_the_field);
  TEST(bad_requests_are_refused);
  TEST(the_footprint_is_enough);
  TEST(a_full_region_says_so_and_keeps_what_it_has);
  TEST(alignments_are_kept_wherever_it_is_mapped);
  TEST(an_object_that_could_not_be_prepared_leaves_no_trace);
  TEST(a_maker_that_was_killed_leaves_no_trace);
  TEST(a_thousand_objects_are_made_once_by_racing_processes);
  TEST(killed_makers_leave_whole_objects);
  TEST(locks_cells_and_bytes_live_in_a_region);
  TEST(hostile_bytes_lead_nowhere);
  TEST(noise_is_no_region);
  return check_finish();
}
