/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/journal.h"

#include "child.h"

#define SIZE 12288
static const size_t lengths[] = {1, 7, 8, 9, 64, 4095, 4096, 4097, SIZE};
#define LENGTH_COUNT (sizeof lengths / sizeof lengths[0])

// A journal, its data and its redo area, each with a guard behind it.
typedef struct arena {
  cipc_journal_t journal;
  unsigned char guard_journal[64];
  unsigned char data[SIZE];
  unsigned char guard_data[64];
  unsigned char redo[SIZE];
  unsigned char guard_redo[64];
  uint32_t gate;
  size_t offset;
  size_t length;
  int how;
} arena_t;

static cipc_journal_area_t area_of(arena_t *arena) {
  return (cipc_journal_area_t){
      .data = arena->data, .size = SIZE, .redo = arena->redo, .capacity = SIZE};
}

static arena_t *make_arena(unsigned char fill) {
  arena_t *arena = child_shared(sizeof *arena);
  CHECK_EQUAL(cipc_journal_init(&arena->journal), 0);
  memset(arena->guard_journal, 0xee, 64);
  memset(arena->guard_data, 0xee, 64);
  memset(arena->guard_redo, 0xee, 64);
  memset(arena->data, fill, SIZE);
  arena->length = SIZE;
  return arena;
}

static void check_guards(const arena_t *arena) {
  for (size_t i = 0; i < 64; i++) {
    CHECK(arena->guard_journal[i] == 0xee && arena->guard_data[i] == 0xee &&
          arena->guard_redo[i] == 0xee);
  }
}

static void begin(arena_t *arena, int expected) {
  cipc_journal_area_t area = area_of(arena);
  CHECK_EQUAL(cipc_journal_begin(&arena->journal, &area, arena->offset, arena->length,
                                 cipc_clock_deadline(CHILD_PATIENCE)),
              expected);
}

static int commit(arena_t *arena) {
  cipc_journal_area_t area = area_of(arena);
  return cipc_journal_commit(&arena->journal, &area, arena->offset, arena->length);
}

static void lock(arena_t *arena, int expected) {
  cipc_journal_area_t area = area_of(arena);
  CHECK_EQUAL(cipc_journal_lock(&arena->journal, &area, cipc_clock_deadline(CHILD_PATIENCE)),
              expected);
}

static void unlock(arena_t *arena) { CHECK_EQUAL(cipc_journal_unlock(&arena->journal), 0); }

// That the range of `arena` is `inside`, and all else `outside`.
static void check_data(const arena_t *arena, unsigned char inside, unsigned char outside) {
  for (size_t i = 0; i < SIZE; i++) {
    int is_inside = i >= arena->offset && i - arena->offset < arena->length;
    CHECK_EQUAL(arena->data[i], is_inside ? inside : outside);
  }
}

static void an_update_changes_its_range_alone(void) {
  for (size_t i = 0; i < LENGTH_COUNT; i++) {
    const size_t offsets[] = {0, 3, SIZE - lengths[i]};
    for (size_t o = 0; o < 3; o++) {
      if (offsets[o] + lengths[i] > SIZE) continue;
      arena_t *arena = make_arena(1);
      arena->offset = offsets[o];
      arena->length = lengths[i];
      memset(arena->redo, 0xdd, SIZE);
      begin(arena, 0);
      for (size_t at = 0; at < lengths[i]; at++) CHECK(arena->redo[at] == 1);
      memset(arena->redo, 2, lengths[i]);
      check_data(arena, 1, 1);
      CHECK_EQUAL(commit(arena), 0);
      check_data(arena, 2, 1);
      check_guards(arena);
      begin(arena, 0);
      CHECK_EQUAL(cipc_journal_cancel(&arena->journal), 0);
      check_data(arena, 2, 1);
      CHECK_EQUAL(munmap(arena, sizeof *arena), 0);
    }
  }
}

static void ranges_are_checked(void) {
  arena_t *arena = make_arena(1);
  cipc_journal_area_t area = area_of(arena);
  area.capacity = 100;
  cipc_journal_t *journal = &arena->journal;
  const size_t bad[][2] = {{SIZE + 1, 0},        {SIZE, 1},     {0, SIZE + 1},
                           {SIZE_MAX, 1},        {1, SIZE_MAX}, {SIZE_MAX, SIZE_MAX},
                           {SIZE_MAX - 1, SIZE}, {SIZE - 9, 10}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    CHECK_EQUAL(cipc_journal_begin(journal, &area, bad[i][0], bad[i][1], 0), CIPC_EINVAL);
    CHECK_EQUAL(cipc_journal_stage(&area, bad[i][0], bad[i][1]), CIPC_EINVAL);
  }
  CHECK_EQUAL(cipc_journal_begin(journal, &area, 0, 101, 0), CIPC_ECAPACITY);
  // Not taken by any of these.
  CHECK_EQUAL(cipc_journal_begin(journal, &area, SIZE - 100, 100, 0), 0);
  // The owner stays the owner after a mistake.
  CHECK_EQUAL(cipc_journal_commit(journal, &area, SIZE, 1), CIPC_EINVAL);
  CHECK_EQUAL(cipc_journal_commit(journal, &area, 0, 101), CIPC_ECAPACITY);
  CHECK_EQUAL(cipc_journal_begin(journal, &area, 0, 1, 0), CIPC_EDEADLK);
  CHECK_EQUAL(cipc_journal_cancel(journal), 0);
  CHECK_EQUAL(cipc_journal_begin(journal, &area, SIZE, 0, 0), 0);
  CHECK_EQUAL(cipc_journal_commit(journal, &area, SIZE, 0), 0);
  cipc_journal_area_t nothing = {.data = NULL, .size = 0, .redo = NULL, .capacity = 0};
  CHECK_EQUAL(cipc_journal_begin(journal, &nothing, 0, 0, 0), 0);
  CHECK_EQUAL(cipc_journal_commit(journal, &nothing, 0, 0), 0);
  check_data(arena, 1, 1);
}

static void expect_not_owner(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(commit(arena), CIPC_EPERM);
  CHECK_EQUAL(cipc_journal_cancel(&arena->journal), CIPC_EPERM);
  CHECK_EQUAL(cipc_journal_unlock(&arena->journal), CIPC_EPERM);
  CHECK_EQUAL(cipc_journal_recover(&arena->journal), CIPC_EPERM);
}

static void only_the_owner_ends_an_update(void) {
  arena_t *arena = make_arena(1);
  expect_not_owner(arena);
  begin(arena, 0);
  CHECK_EQUAL(child_join(child_start(expect_not_owner, arena)), 0);
  memset(arena->redo, 2, SIZE);
  CHECK_EQUAL(commit(arena), 0);
  check_data(arena, 2, 1);
}

enum { IN_UPDATE, RECORDED, HALF_COPIED, COPIED, IN_PLACE, HOW_COUNT };

// Dies as if killed at one place of an update, or while it changes the data in place.
static void die(void *argument) {
  arena_t *arena = argument;
  cipc_journal_t *journal = &arena->journal;
  if (arena->how == IN_PLACE) {
    lock(arena, 0);
    arena->data[0] = 0xbb;
  } else {
    begin(arena, 0);
    memset(arena->redo, 2, arena->length);
    journal->offset = arena->offset;
    journal->length = arena->length;
    if (arena->how != IN_UPDATE) __atomic_store_n(&journal->committed, 1, __ATOMIC_SEQ_CST);
    size_t copied = arena->how == COPIED        ? arena->length
                    : arena->how == HALF_COPIED ? arena->length / 2
                                                : 0;
    memcpy(arena->data + arena->offset, arena->redo, copied);
  }
  gate_set(&arena->gate, 1);
  child_hang();
}

static void kill_at(arena_t *arena, int how) {
  arena->how = how;
  arena->gate = 0;
  pid_t child = child_start(die, arena);
  gate_wait(&arena->gate, 1);
  child_kill(child);
}

static void an_update_of_the_dead_is_finished_or_never_happened(void) {
  for (size_t i = 0; i < LENGTH_COUNT; i++) {
    for (int how = IN_UPDATE; how <= COPIED; how++) {
      arena_t *arena = make_arena(1);
      arena->offset = SIZE - lengths[i];
      arena->length = lengths[i];
      kill_at(arena, how);
      // No death is reported: nothing is half-changed.
      if (i % 2 == 0) {
        lock(arena, 0);
        check_data(arena, how == IN_UPDATE ? 1 : 2, 1);
        unlock(arena);
      } else {
        begin(arena, 0);
        CHECK(arena->redo[0] == (how == IN_UPDATE ? 1 : 2));
        check_data(arena, how == IN_UPDATE ? 1 : 2, 1);
        memset(arena->redo, 3, lengths[i]);
        CHECK_EQUAL(commit(arena), 0);
        check_data(arena, 3, 1);
      }
      CHECK(arena->journal.committed == 0 && arena->journal.mutex.dirty == 0);
      check_guards(arena);
      CHECK_EQUAL(munmap(arena, sizeof *arena), 0);
    }
  }
}

static void take_and_die(void *argument) {
  arena_t *arena = argument;
  CHECK_EQUAL(cipc_mutex_lock(&arena->journal.mutex, CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
  // As if killed in the middle of the rescue.
  memcpy(arena->data, arena->redo, SIZE / 3);
}

static void a_killed_rescuer_is_followed_by_another(void) {
  arena_t *arena = make_arena(1);
  kill_at(arena, RECORDED);
  for (int i = 0; i < 5; i++) CHECK_EQUAL(child_join(child_start(take_and_die, arena)), 0);
  lock(arena, 0);
  check_data(arena, 2, 1);
  unlock(arena);
}

static void a_death_in_place_is_told_until_it_is_repaired(void) {
  arena_t *arena = make_arena(1);
  kill_at(arena, IN_PLACE);
  lock(arena, CIPC_OWNER_DIED);
  unlock(arena);
  begin(arena, CIPC_OWNER_DIED);
  CHECK_EQUAL(cipc_journal_cancel(&arena->journal), 0);
  begin(arena, CIPC_OWNER_DIED);
  CHECK_EQUAL(commit(arena), 0);
  lock(arena, CIPC_OWNER_DIED);
  CHECK_EQUAL(arena->data[0], 0xbb);
  arena->data[0] = 1;
  CHECK_EQUAL(cipc_journal_recover(&arena->journal), 0);
  unlock(arena);
  lock(arena, 0);
  unlock(arena);
  // The death in an update that follows is not told again.
  kill_at(arena, HALF_COPIED);
  lock(arena, 0);
  check_data(arena, 2, 1);
  unlock(arena);
  // An update repairs as well.
  kill_at(arena, IN_PLACE);
  begin(arena, CIPC_OWNER_DIED);
  memset(arena->redo, 7, SIZE);
  CHECK_EQUAL(cipc_journal_recover(&arena->journal), 0);
  CHECK_EQUAL(commit(arena), 0);
  begin(arena, 0);
  check_data(arena, 7, 7);
  CHECK_EQUAL(cipc_journal_cancel(&arena->journal), 0);
}

static void a_record_that_does_not_fit_is_dropped_and_told(void) {
  const uint64_t bad[][2] = {{SIZE, 1},       {0, SIZE + 1},       {UINT64_MAX, 1},
                             {1, UINT64_MAX}, {UINT64_MAX - 1, 2}, {SIZE + 1, 0}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    arena_t *arena = make_arena(1);
    kill_at(arena, RECORDED);
    arena->journal.offset = bad[i][0];
    arena->journal.length = bad[i][1];
    lock(arena, CIPC_OWNER_DIED);
    check_data(arena, 1, 1);
    check_guards(arena);
    CHECK_EQUAL(cipc_journal_recover(&arena->journal), 0);
    unlock(arena);
    lock(arena, 0);
    unlock(arena);
  }
  // A redo area smaller than the record that another process has left.
  arena_t *arena = make_arena(1);
  kill_at(arena, RECORDED);
  cipc_journal_area_t area = area_of(arena);
  area.capacity = SIZE - 1;
  CHECK_EQUAL(cipc_journal_lock(&arena->journal, &area, CIPC_IMMEDIATELY), CIPC_OWNER_DIED);
  unlock(arena);
}

static void deadlines_are_kept(void) {
  arena_t *arena = make_arena(1);
  arena->how = IN_UPDATE;
  pid_t child = child_start(die, arena);
  gate_wait(&arena->gate, 1);
  cipc_journal_area_t area = area_of(arena);
  CHECK_EQUAL(cipc_journal_begin(&arena->journal, &area, 0, 1, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  cipc_deadline_t deadline = cipc_clock_deadline(INT64_C(20000000));
  CHECK_EQUAL(cipc_journal_lock(&arena->journal, &area, deadline), CIPC_ETIMEDOUT);
  CHECK(cipc_clock_now() >= deadline);
  child_kill(child);
}

#define UPDATES 3000

static void increment(void *argument) {
  arena_t *arena = argument;
  gate_wait(&arena->gate, 1);
  for (int i = 0; i < UPDATES; i++) {
    begin(arena, 0);
    for (size_t at = 0; at < arena->length; at++) arena->redo[at]++;
    CHECK_EQUAL(commit(arena), 0);
  }
}

static void no_update_is_lost(void) {
  arena_t *arena = make_arena(0);
  arena->offset = 100;
  arena->length = 5000;
  pid_t children[2] = {child_start(increment, arena), child_start(increment, arena)};
  gate_set(&arena->gate, 1);
  for (int i = 0; i < 2; i++) CHECK_EQUAL(child_join(children[i]), 0);
  check_data(arena, (unsigned char)(2 * UPDATES), 0);
}

static void increment_for_ever(void *argument) {
  arena_t *arena = argument;
  gate_set(&arena->gate, 1);
  for (;;) {
    begin(arena, 0);
    for (size_t at = 0; at < arena->length; at++) arena->redo[at]++;
    CHECK_EQUAL(commit(arena), 0);
  }
}

// Wherever the kill falls, with a second writer that goes on.
static void killed_writers_tear_nothing(void) {
  arena_t *arena = make_arena(0);
  arena->offset = 1;
  arena->length = SIZE - 2;
  pid_t steady = child_start(increment_for_ever, arena);
  for (int i = 0; i < 200; i++) {
    arena->gate = 0;
    pid_t victim = child_start(increment_for_ever, arena);
    gate_wait(&arena->gate, 1);
    for (int looks = 0; looks < i % 8; looks++) {
      lock(arena, 0);
      check_data(arena, arena->data[1], 0);
      unlock(arena);
    }
    child_kill(victim);
  }
  child_kill(steady);
  lock(arena, 0);
  check_data(arena, arena->data[1], 0);
  unlock(arena);
}

int main(void) {
  TEST(an_update_changes_its_range_alone);
  TEST(ranges_are_checked);
  TEST(only_the_owner_ends_an_update);
  TEST(an_update_of_the_dead_is_finished_or_never_happened);
  TEST(a_killed_rescuer_is_followed_by_another);
  TEST(a_death_in_place_is_told_until_it_is_repaired);
  TEST(a_record_that_does_not_fit_is_dropped_and_told);
  TEST(deadlines_are_kept);
  TEST(no_update_is_lost);
  TEST(killed_writers_tear_nothing);
  return check_finish();
}
