/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/bytes.h"

#include "child.h"

#define LARGEST 4097
static const size_t capacities[] = {0, 1, 7, 8, 9, 64, 1000, 4096, LARGEST};
#define CAPACITY_COUNT (sizeof capacities / sizeof capacities[0])

typedef struct arena {
  _Alignas(64) unsigned char room[16384];
  size_t capacity;
  uint32_t gate;
  uint32_t stop;
} arena_t;

static cipc_bytes_t *bytes_of(arena_t *arena) { return (cipc_bytes_t *)(void *)arena->room; }

static arena_t *make_arena(size_t capacity) {
  arena_t *arena = child_shared(sizeof *arena);
  arena->capacity = capacity;
  CHECK(cipc_bytes_footprint(capacity) <= sizeof arena->room);
  memset(arena->room, 0xee, sizeof arena->room);
  CHECK_EQUAL(cipc_bytes_init(bytes_of(arena), capacity, NULL, 0), 0);
  return arena;
}

static cipc_deadline_t soon(void) { return cipc_clock_deadline(CHILD_PATIENCE); }

static void store(arena_t *arena, const void *content, size_t length) {
  CHECK_EQUAL(cipc_bytes_store(bytes_of(arena), arena->capacity, content, length, soon()), 0);
}

static size_t read_all(arena_t *arena, unsigned char *buffer) {
  size_t length = SIZE_MAX;
  CHECK_EQUAL(cipc_bytes_read(bytes_of(arena), arena->capacity, buffer, LARGEST, &length, soon()),
              0);
  return length;
}

static void every_length_up_to_the_capacity_is_kept(void) {
  unsigned char in[LARGEST + 1];
  unsigned char out[LARGEST];
  for (size_t i = 0; i < sizeof in; i++) in[i] = (unsigned char)(i * 7 + 3);
  for (size_t c = 0; c < CAPACITY_COUNT; c++) {
    arena_t *arena = make_arena(capacities[c]);
    CHECK_EQUAL(read_all(arena, out), 0);
    for (size_t length = 0; length <= capacities[c]; length += length < 70 ? 1 : 613) {
      store(arena, in + length % 2, length);
      CHECK_EQUAL(read_all(arena, out), length);
      CHECK(memcmp(in + length % 2, out, length) == 0);
    }
    CHECK_EQUAL(cipc_bytes_store(bytes_of(arena), capacities[c], in, capacities[c] + 1, soon()),
                CIPC_ECAPACITY);
    for (size_t at = cipc_bytes_footprint(capacities[c]); at < sizeof arena->room; at++) {
      CHECK(arena->room[at] == 0xee);
    }
    CHECK_EQUAL(munmap(arena, sizeof *arena), 0);
  }
}

static void the_footprint_saturates(void) {
  const size_t huge[] = {SIZE_MAX, SIZE_MAX - 7, SIZE_MAX - 8, SIZE_MAX - 15, SIZE_MAX / 2};
  for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
    CHECK(cipc_bytes_footprint(huge[i]) == SIZE_MAX);
  }
  CHECK(cipc_bytes_footprint(0) == sizeof(cipc_bytes_t) + 16);
  CHECK(cipc_bytes_footprint(9) == sizeof(cipc_bytes_t) + 48);
}

static void the_first_content_must_fit(void) {
  arena_t *arena = make_arena(4);
  CHECK_EQUAL(cipc_bytes_init(bytes_of(arena), 4, "12345", 5), CIPC_ECAPACITY);
  CHECK_EQUAL(cipc_bytes_init(bytes_of(arena), 4, "1234", 4), 0);
  unsigned char out[LARGEST];
  CHECK_EQUAL(read_all(arena, out), 4);
  CHECK(memcmp(out, "1234", 4) == 0);
}

static void a_short_buffer_is_told_the_length(void) {
  arena_t *arena = make_arena(100);
  store(arena, "hello", 5);
  char out[6] = "-----";
  size_t length = 0;
  CHECK_EQUAL(cipc_bytes_read(bytes_of(arena), 100, out, 4, &length, soon()), CIPC_EMSGSIZE);
  CHECK(length == 5 && memcmp(out, "-----", 5) == 0);
  CHECK_EQUAL(cipc_bytes_read(bytes_of(arena), 100, NULL, 0, &length, soon()), CIPC_EMSGSIZE);
  CHECK_EQUAL(length, 5);
  CHECK_EQUAL(cipc_bytes_read(bytes_of(arena), 100, out, 5, &length, soon()), 0);
  CHECK(memcmp(out, "hello", 5) == 0);
}

static void an_update_sees_what_is_there(void) {
  arena_t *arena = make_arena(8);
  const void *content = NULL;
  size_t length = 0;
  store(arena, "one", 3);
  for (int round = 0; round < 3; round++) {
    CHECK_EQUAL(cipc_bytes_begin(bytes_of(arena), 8, &content, &length, soon()), 0);
    CHECK(length == 3 && memcmp(content, "one", 3) == 0);
    CHECK_EQUAL(cipc_bytes_commit(bytes_of(arena), 8, "much too long", 13), CIPC_ECAPACITY);
    if (round == 0) CHECK_EQUAL(cipc_bytes_cancel(bytes_of(arena)), 0);
    // From the current slot into the other.
    if (round > 0) CHECK_EQUAL(cipc_bytes_commit(bytes_of(arena), 8, content, length), 0);
  }
  CHECK_EQUAL(cipc_bytes_commit(bytes_of(arena), 8, "x", 1), CIPC_EPERM);
  CHECK_EQUAL(cipc_bytes_cancel(bytes_of(arena)), CIPC_EPERM);
}

static void a_claimed_length_is_bounded_by_the_capacity(void) {
  arena_t *arena = make_arena(8);
  unsigned char out[LARGEST];
  memset(out, 0xdd, sizeof out);
  store(arena, "12345678", 8);
  const uint64_t claims[] = {9, 1 << 20, UINT64_MAX, (uint64_t)INT64_MAX + 1};
  for (size_t i = 0; i < 4; i++) {
    *cipc_cell_slot(&bytes_of(arena)->cell, bytes_of(arena)->cell.sequence, 16) = claims[i];
    CHECK_EQUAL(read_all(arena, out), 8);
    CHECK(out[8] == 0xdd);
    const void *content = NULL;
    size_t length = 0;
    CHECK_EQUAL(cipc_bytes_begin(bytes_of(arena), 8, &content, &length, soon()), 0);
    CHECK_EQUAL(length, 8);
    CHECK_EQUAL(cipc_bytes_cancel(bytes_of(arena)), 0);
  }
}

// What a hostile peer can send: a huge capacity of which hardly a page exists.
static void the_capacity_costs_nothing(void) {
  const size_t capacity = (size_t)1 << 36;
  size_t size = cipc_bytes_footprint(capacity);
  void *memory =
      mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(memory != MAP_FAILED);
  cipc_bytes_t *bytes = memory;
  CHECK_EQUAL(cipc_bytes_init(bytes, capacity, "one", 3), 0);
  for (int round = 0; round < 3; round++) {
    char out[8];
    size_t length = 0;
    CHECK_EQUAL(cipc_bytes_read(bytes, capacity, out, sizeof out, &length, soon()), 0);
    CHECK(length == 3 && memcmp(out, "one", 3) == 0);
    CHECK_EQUAL(cipc_bytes_store(bytes, capacity, "one", 3, soon()), 0);
  }
  CHECK_EQUAL(munmap(memory, size), 0);
}

// Content of `length` bytes that says its length in each.
static void write_one(arena_t *arena, size_t length) {
  unsigned char content[LARGEST];
  memset(content, (int)(length % 251), length);
  store(arena, content, length);
}

static void look(arena_t *arena) {
  unsigned char out[LARGEST];
  size_t length = read_all(arena, out);
  for (size_t i = 0; i < length; i++) CHECK_EQUAL(out[i], length % 251);
}

static void write_until_stopped(void *argument) {
  arena_t *arena = argument;
  gate_set(&arena->gate, 1);
  for (size_t i = 0; __atomic_load_n(&arena->stop, __ATOMIC_RELAXED) == 0; i++) {
    write_one(arena, i * 331 % (arena->capacity + 1));
  }
}

static void no_reader_sees_a_part_of_an_update(void) {
  arena_t *arena = make_arena(LARGEST);
  pid_t writers[2] = {child_start(write_until_stopped, arena),
                      child_start(write_until_stopped, arena)};
  gate_wait(&arena->gate, 1);
  for (int i = 0; i < 20000; i++) look(arena);
  __atomic_store_n(&arena->stop, 1, __ATOMIC_RELAXED);
  for (int w = 0; w < 2; w++) CHECK_EQUAL(child_join(writers[w]), 0);
}

static void killed_writers_tear_nothing(void) {
  arena_t *arena = make_arena(1000);
  for (int i = 0; i < 200; i++) {
    arena->gate = 0;
    pid_t victim = child_start(write_until_stopped, arena);
    gate_wait(&arena->gate, 1);
    for (int looks = 0; looks < i; looks++) look(arena);
    child_kill(victim);
    look(arena);
    write_one(arena, (size_t)i);
    look(arena);
  }
}

int main(void) {
  TEST(every_length_up_to_the_capacity_is_kept);
  TEST(the_footprint_saturates);
  TEST(the_first_content_must_fit);
  TEST(a_short_buffer_is_told_the_length);
  TEST(an_update_sees_what_is_there);
  TEST(a_claimed_length_is_bounded_by_the_capacity);
  TEST(the_capacity_costs_nothing);
  TEST(no_reader_sees_a_part_of_an_update);
  TEST(killed_writers_tear_nothing);
  return check_finish();
}
