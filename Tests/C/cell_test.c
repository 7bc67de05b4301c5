/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/cell.h"

#include "child.h"

static const size_t sizes[] = {1, 7, 8, 9, 63, 64, 65, 1000, 4096, 4097};
#define SIZE_COUNT (sizeof sizes / sizeof sizes[0])
#define LARGEST 4097

// A cell, what stands behind it, and the words of one test's processes.
typedef struct arena {
  _Alignas(64) unsigned char room[16384];
  size_t size;
  uint32_t gate;
  uint32_t stop;
  uint64_t reads;
  uint64_t atomics[4];
} arena_t;

static cipc_cell_t *cell_of(arena_t *arena) { return (cipc_cell_t *)(void *)arena->room; }

static arena_t *make_arena(size_t size, unsigned char fill) {
  arena_t *arena = child_shared(sizeof *arena);
  arena->size = size;
  unsigned char value[LARGEST];
  memset(value, fill, sizeof value);
  size_t footprint = cipc_cell_footprint(size);
  CHECK(footprint <= sizeof arena->room);
  memset(arena->room, 0xee, sizeof arena->room);
  CHECK_EQUAL(cipc_cell_init(cell_of(arena), value, size), 0);
  return arena;
}

static void begin(arena_t *arena, void *value) {
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  CHECK_EQUAL(cipc_cell_begin(cell_of(arena), value, arena->size, deadline), 0);
}

static void commit(arena_t *arena, const void *value) {
  CHECK_EQUAL(cipc_cell_commit(cell_of(arena), value, arena->size), 0);
}

// The byte that the whole value consists of.
static unsigned char whole(const unsigned char *value, size_t size) {
  for (size_t i = 1; i < size; i++) CHECK(value[i] == value[0]);
  return value[0];
}

static unsigned char read_whole(arena_t *arena) {
  unsigned char value[LARGEST];
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  CHECK_EQUAL(cipc_cell_read(cell_of(arena), value, arena->size, deadline), 0);
  return whole(value, arena->size);
}

static void the_footprint_is_the_cell_and_two_slots(void) {
  CHECK(cipc_cell_footprint(0) == sizeof(cipc_cell_t));
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    size_t slot = (sizes[i] + 7) / 8 * 8;
    CHECK(cipc_cell_footprint(sizes[i]) == sizeof(cipc_cell_t) + 2 * slot);
  }
}

static void the_footprint_saturates(void) {
  const size_t huge[] = {SIZE_MAX, SIZE_MAX - 6, SIZE_MAX - 7, SIZE_MAX / 2,
                         SIZE_MAX / 2 - sizeof(cipc_cell_t) / 2};
  for (size_t i = 0; i < sizeof huge / sizeof huge[0]; i++) {
    CHECK(cipc_cell_footprint(huge[i]) == SIZE_MAX);
  }
  CHECK(cipc_cell_footprint(SIZE_MAX / 4) < SIZE_MAX);
}

static void what_was_stored_is_read(void) {
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    arena_t *arena = make_arena(sizes[i], 1);
    CHECK_EQUAL(read_whole(arena), 1);
    unsigned char value[LARGEST];
    // Both slots, more than once.
    for (int round = 2; round < 7; round++) {
      begin(arena, value);
      CHECK_EQUAL(whole(value, sizes[i]), round - 1);
      memset(value, round, sizes[i]);
      CHECK_EQUAL(read_whole(arena), round - 1);
      commit(arena, value);
      CHECK_EQUAL(read_whole(arena), round);
    }
  }
}

static void each_byte_has_its_place(void) {
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    arena_t *arena = make_arena(sizes[i], 0);
    unsigned char in[LARGEST];
    unsigned char out[LARGEST];
    begin(arena, in);
    for (size_t at = 0; at < sizes[i]; at++) in[at] = (unsigned char)(at * 7 + 3);
    commit(arena, in);
    CHECK_EQUAL(cipc_cell_read(cell_of(arena), out, sizes[i], CIPC_IMMEDIATELY), 0);
    CHECK(memcmp(in, out, sizes[i]) == 0);
    CHECK_EQUAL(cipc_cell_read_locked(cell_of(arena), out, sizes[i], CIPC_IMMEDIATELY), 0);
    CHECK(memcmp(in, out, sizes[i]) == 0);
  }
}

static void nothing_is_written_behind_the_footprint(void) {
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    arena_t *arena = make_arena(sizes[i], 1);
    unsigned char value[LARGEST + 1];
    value[sizes[i]] = 0xaa;
    for (int round = 0; round < 3; round++) {
      begin(arena, value);
      commit(arena, value);
    }
    CHECK_EQUAL(cipc_cell_read(cell_of(arena), value, sizes[i], CIPC_IMMEDIATELY), 0);
    CHECK(value[sizes[i]] == 0xaa);
    for (size_t at = cipc_cell_footprint(sizes[i]); at < sizeof arena->room; at++) {
      CHECK(arena->room[at] == 0xee);
    }
  }
}

static void a_value_of_no_bytes_is_a_lock(void) {
  arena_t *arena = make_arena(0, 0);
  unsigned char nothing[1];
  begin(arena, nothing);
  commit(arena, nothing);
  CHECK_EQUAL(cipc_cell_read(cell_of(arena), nothing, 0, CIPC_IMMEDIATELY), 0);
}

static void cancel_leaves_the_value(void) {
  arena_t *arena = make_arena(65, 4);
  unsigned char value[LARGEST];
  begin(arena, value);
  memset(value, 5, sizeof value);
  CHECK_EQUAL(cipc_cell_cancel(cell_of(arena)), 0);
  CHECK_EQUAL(read_whole(arena), 4);
  begin(arena, value);
  CHECK_EQUAL(whole(value, 65), 4);
  CHECK_EQUAL(cipc_cell_cancel(cell_of(arena)), 0);
}

static void expect_not_owner(void *argument) {
  arena_t *arena = argument;
  unsigned char value[LARGEST];
  memset(value, 9, sizeof value);
  CHECK_EQUAL(cipc_cell_commit(cell_of(arena), value, arena->size), CIPC_EPERM);
  CHECK_EQUAL(cipc_cell_cancel(cell_of(arena)), CIPC_EPERM);
}

static void only_the_owner_commits_and_cancels(void) {
  arena_t *arena = make_arena(8, 1);
  unsigned char value[LARGEST];
  expect_not_owner(arena);
  begin(arena, value);
  CHECK_EQUAL(child_join(child_start(expect_not_owner, arena)), 0);
  memset(value, 2, sizeof value);
  commit(arena, value);
  expect_not_owner(arena);
  CHECK_EQUAL(read_whole(arena), 2);
}

static void hold(void *argument) {
  arena_t *arena = argument;
  unsigned char value[LARGEST];
  begin(arena, value);
  memset(value, 0xdd, sizeof value);
  gate_set(&arena->gate, 1);
  child_hang();
}

static pid_t start_holder(arena_t *arena) {
  arena->gate = 0;
  pid_t child = child_start(hold, arena);
  gate_wait(&arena->gate, 1);
  return child;
}

static void readers_do_not_wait_for_an_update(void) {
  arena_t *arena = make_arena(4097, 6);
  pid_t owner = start_holder(arena);
  unsigned char value[LARGEST];
  CHECK_EQUAL(cipc_cell_read(cell_of(arena), value, arena->size, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(whole(value, arena->size), 6);
  child_kill(owner);
}

static void deadlines_are_kept(void) {
  arena_t *arena = make_arena(8, 6);
  pid_t owner = start_holder(arena);
  unsigned char value[LARGEST];
  cipc_cell_t *cell = cell_of(arena);
  CHECK_EQUAL(cipc_cell_begin(cell, value, 8, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_cell_read_locked(cell, value, 8, -1), CIPC_ETIMEDOUT);
  cipc_deadline_t deadline = cipc_clock_deadline(INT64_C(20000000));
  CHECK_EQUAL(cipc_cell_begin(cell, value, 8, deadline), CIPC_ETIMEDOUT);
  CHECK(cipc_clock_now() >= deadline);
  child_kill(owner);
}

static void an_update_by_the_dead_never_happened(void) {
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    arena_t *arena = make_arena(sizes[i], 3);
    unsigned char value[LARGEST];
    child_kill(start_holder(arena));
    CHECK_EQUAL(read_whole(arena), 3);
    CHECK_EQUAL(
        cipc_cell_read_locked(cell_of(arena), value, sizes[i], cipc_clock_deadline(CHILD_PATIENCE)),
        0);
    CHECK_EQUAL(whole(value, sizes[i]), 3);
    child_kill(start_holder(arena));
    // The death is settled: the next update is one like any other.
    begin(arena, value);
    CHECK_EQUAL(whole(value, sizes[i]), 3);
    memset(value, 4, sizes[i]);
    commit(arena, value);
    CHECK_EQUAL(read_whole(arena), 4);
  }
}

// As if killed within `cipc_cell_commit`, in the middle of copying.
static void die_with_half_a_slot_written(void *argument) {
  arena_t *arena = argument;
  unsigned char value[LARGEST];
  begin(arena, value);
  cipc_cell_t *cell = cell_of(arena);
  memset(cipc_cell_slot(cell, cell->sequence + 1, arena->size), 0xdd, arena->size / 2 + 1);
}

static void half_a_commit_never_happened(void) {
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    arena_t *arena = make_arena(sizes[i], 3);
    CHECK_EQUAL(child_join(child_start(die_with_half_a_slot_written, arena)), 0);
    CHECK_EQUAL(read_whole(arena), 3);
    unsigned char value[LARGEST];
    begin(arena, value);
    CHECK_EQUAL(whole(value, sizes[i]), 3);
    commit(arena, value);
  }
}

#define UPDATES 20000

static void update(void *argument) {
  arena_t *arena = argument;
  unsigned char value[LARGEST];
  gate_wait(&arena->gate, 1);
  for (int i = 0; i < UPDATES; i++) {
    begin(arena, value);
    unsigned char next = (unsigned char)(whole(value, arena->size) + 1);
    memset(value, next, arena->size);
    commit(arena, value);
  }
}

static void read_until_stopped(void *argument) {
  arena_t *arena = argument;
  gate_wait(&arena->gate, 1);
  uint64_t reads = 0;
  do {
    (void)read_whole(arena);
    reads++;
  } while (__atomic_load_n(&arena->stop, __ATOMIC_RELAXED) == 0);
  arena->reads = reads;
}

static void no_reader_sees_a_part_of_an_update(void) {
  for (size_t i = 0; i < SIZE_COUNT; i++) {
    arena_t *arena = make_arena(sizes[i], 0);
    pid_t writers[2] = {child_start(update, arena), child_start(update, arena)};
    pid_t reader = child_start(read_until_stopped, arena);
    gate_set(&arena->gate, 1);
    for (int w = 0; w < 2; w++) CHECK_EQUAL(child_join(writers[w]), 0);
    __atomic_store_n(&arena->stop, 1, __ATOMIC_RELAXED);
    CHECK_EQUAL(child_join(reader), 0);
    CHECK(arena->reads > 0);
    CHECK(cell_of(arena)->sequence == 2 * UPDATES);
    CHECK_EQUAL(read_whole(arena), (unsigned char)(2 * UPDATES));
  }
}

static void update_for_ever(void *argument) {
  arena_t *arena = argument;
  unsigned char value[LARGEST];
  gate_set(&arena->gate, 1);
  for (;;) {
    begin(arena, value);
    memset(value, whole(value, arena->size) + 1, arena->size);
    commit(arena, value);
  }
}

// Wherever the kill falls, with a second writer that goes on.
static void killed_writers_tear_nothing(void) {
  arena_t *arena = make_arena(1000, 0);
  pid_t steady = child_start(update_for_ever, arena);
  for (int i = 0; i < 200; i++) {
    arena->gate = 0;
    pid_t victim = child_start(update_for_ever, arena);
    gate_wait(&arena->gate, 1);
    for (int reads = 0; reads < i; reads++) (void)read_whole(arena);
    child_kill(victim);
    (void)read_whole(arena);
  }
  child_kill(steady);
  unsigned char value[LARGEST];
  begin(arena, value);
  (void)whole(value, arena->size);
  commit(arena, value);
}

static const size_t widths[] = {1, 2, 4, 8};

static uint64_t mask(size_t width) {
  return width == 8 ? UINT64_MAX : (UINT64_C(1) << (width * 8)) - 1;
}

static void atomics_keep_to_their_width(void) {
  const uint64_t all = UINT64_MAX;
  for (size_t i = 0; i < 4; i++) {
    size_t width = widths[i];
    uint64_t word = all;
    cipc_atomic_store(&word, width, 0);
    CHECK(word == (width == 8 ? 0 : all << (width * 8)));
    CHECK(cipc_atomic_load(&word, width) == 0);
    CHECK(cipc_atomic_add(&word, width, all) == 0);
    CHECK(word == all);
    // Wraps around without a carry into the neighbour.
    CHECK(cipc_atomic_add(&word, width, 1) == mask(width));
    CHECK(word == (width == 8 ? 0 : all << (width * 8)));
    CHECK(cipc_atomic_exchange(&word, width, 7) == 0);
    CHECK(cipc_atomic_load(&word, width) == 7);
  }
}

static void compare_exchange_stores_only_on_a_match(void) {
  for (size_t i = 0; i < 4; i++) {
    size_t width = widths[i];
    uint64_t word = 0;
    cipc_atomic_store(&word, width, 5);
    uint64_t expected = 6;
    CHECK(!cipc_atomic_compare_exchange(&word, width, &expected, 9));
    CHECK(expected == 5 && cipc_atomic_load(&word, width) == 5);
    CHECK(cipc_atomic_compare_exchange(&word, width, &expected, 9));
    CHECK(expected == 5 && cipc_atomic_load(&word, width) == 9);
  }
}

#define ADDITIONS 100000

static void add(void *argument) {
  arena_t *arena = argument;
  gate_wait(&arena->gate, 1);
  for (int n = 0; n < ADDITIONS; n++) {
    for (size_t i = 0; i < 4; i++) (void)cipc_atomic_add(&arena->atomics[i], widths[i], 1);
  }
}

static void no_addition_is_lost(void) {
  arena_t *arena = make_arena(8, 0);
  pid_t children[2] = {child_start(add, arena), child_start(add, arena)};
  gate_set(&arena->gate, 1);
  for (int i = 0; i < 2; i++) CHECK_EQUAL(child_join(children[i]), 0);
  for (size_t i = 0; i < 4; i++) {
    CHECK(arena->atomics[i] == (UINT64_C(2) * ADDITIONS & mask(widths[i])));
  }
}

int main(void) {
  TEST(the_footprint_is_the_cell_and_two_slots);
  TEST(the_footprint_saturates);
  TEST(what_was_stored_is_read);
  TEST(each_byte_has_its_place);
  TEST(nothing_is_written_behind_the_footprint);
  TEST(a_value_of_no_bytes_is_a_lock);
  TEST(cancel_leaves_the_value);
  TEST(only_the_owner_commits_and_cancels);
  TEST(readers_do_not_wait_for_an_update);
  TEST(deadlines_are_kept);
  TEST(an_update_by_the_dead_never_happened);
  TEST(half_a_commit_never_happened);
  TEST(no_reader_sees_a_part_of_an_update);
  TEST(killed_writers_tear_nothing);
  TEST(atomics_keep_to_their_width);
  TEST(compare_exchange_stores_only_on_a_match);
  TEST(no_addition_is_lost);
  return check_finish();
}
