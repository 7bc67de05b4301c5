/* SPDX-License-Identifier: Apache-2.0 */
// A process writes over shared words all the time, mutexes excepted (cipc/mutex.h says why).
// Results may be any; each call ends within its deadline or soon behind it, and nothing is trapped.
#include <stdbool.h>

#include "child.h"
#include "cipc.h"

#define MILLISECOND INT64_C(1000000)
#define LIMIT (20 * MILLISECOND)
// Far more than a call takes behind its deadline, on two busy processors and under a sanitizer.
#define LATE (5000 * MILLISECOND)
#define DURATION (1000 * MILLISECOND)
#define SLOTS 8u
#define LINES 2u

#define SIZE ((size_t)1 << 16)

static unsigned char *memory;

// What is scribbled: a part of the memory, without the mutex at its beginning.
typedef struct part {
  size_t from, to;
} part_t;

static uint64_t draw(uint64_t *state) {
  *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return *state >> 29;
}

// Until it is killed; in a process of its own, like every scribbler.
static void scribble(void *context) {
  const part_t *part = context;
  uint64_t state = 42;
  for (;;) {
    size_t at = part->from + draw(&state) % ((part->to - part->from) / 4) * 4;
    uint64_t kind = draw(&state) % 4;
    // Flags, numbers that are small, and anything.
    uint32_t value = kind == 0 ? 0 : (uint32_t)draw(&state) >> (kind == 3 ? 0 : draw(&state) % 32);
    __atomic_store_n((uint32_t *)(void *)(memory + at), value, __ATOMIC_SEQ_CST);
  }
}

// Each of the calls again and again, under scribbling from `from` to `to`.
static void try_all(void (*const *calls)(cipc_deadline_t), size_t count, size_t from, size_t to) {
  part_t part = {.from = from, .to = to};
  pid_t scribbler = child_start(scribble, &part);
  cipc_deadline_t until = cipc_clock_deadline(DURATION);
  for (unsigned i = 0; cipc_clock_now() < until; i++) {
    for (size_t k = 0; k < count; k++) {
      cipc_deadline_t deadline = i % 3 == 0 ? CIPC_IMMEDIATELY : cipc_clock_deadline(LIMIT);
      cipc_deadline_t begin = cipc_clock_now();
      calls[k](deadline);
      CHECK(cipc_clock_now() - begin < LATE);
    }
  }
  child_kill(scribbler);
}
#define TRY_ALL(calls, from, to) try_all((calls), sizeof(calls) / sizeof *(calls), (from), (to))

// MARK: Read-write locks

static cipc_rwlock_t *rwlock(void) { return (cipc_rwlock_t *)(void *)memory; }

static void read_and_leave(cipc_deadline_t deadline) {
  int status = cipc_rwlock_read_lock(rwlock(), LINES, deadline);
  if (status >= 0) (void)!cipc_rwlock_read_unlock(rwlock(), LINES);
}

static void write_and_leave(cipc_deadline_t deadline) {
  int status = cipc_rwlock_write_lock(rwlock(), LINES, deadline);
  if (status >= 0) {
    (void)!cipc_rwlock_recover(rwlock());
    (void)!cipc_rwlock_write_unlock(rwlock(), LINES);
  }
}

static void write_in_steps(cipc_deadline_t deadline) {
  (void)deadline;
  cipc_wait_t wait;
  cipc_participant_t self = cipc_participant_current();
  int status = cipc_rwlock_write_step(rwlock(), LINES, self, 1, &wait);
  if (status == CIPC_EAGAIN) status = cipc_rwlock_write_abandon(rwlock(), LINES, self);
  (void)!cipc_rwlock_write_unlock(rwlock(), LINES);
}

static void a_scribbled_read_write_lock_ends_in_time(void) {
  CHECK_EQUAL(cipc_rwlock_init(rwlock(), LINES), 0);
  static void (*const calls[])(cipc_deadline_t) = {read_and_leave, write_and_leave, write_in_steps};
  TRY_ALL(calls, sizeof(cipc_mutex_t), cipc_rwlock_footprint(LINES));
}

// A reader whose place names another owner, behind an open door.
static void a_reader_whose_place_was_taken_finds_another(void) {
  CHECK_EQUAL(cipc_rwlock_init(rwlock(), LINES), 0);
  cipc_participant_t self = cipc_participant_this_thread();
  for (uint64_t garbage = 0; garbage < 3; garbage++) {
    uint32_t place = 0;
    cipc_rwlock_places(rwlock())[0] = garbage * UINT64_C(0x123456789);
    cipc_wait_t wait;
    CHECK_EQUAL(cipc_rwlock_read_step(rwlock(), LINES, self, 0, &place, &wait), 0);
    CHECK_EQUAL(cipc_rwlock_places(rwlock())[place], self);
    CHECK_EQUAL(cipc_rwlock_read_leave(rwlock(), LINES, self, place), 0);
    // One that gives up has no share for that.
    place = 1;
    cipc_rwlock_places(rwlock())[1] = UINT64_C(0x987654321);
    CHECK_EQUAL(cipc_rwlock_read_abandon(rwlock(), LINES, self, &place), 0);
    CHECK_EQUAL(place, CIPC_RWLOCK_NOWHERE);
    cipc_rwlock_places(rwlock())[1] = 0;
  }
}

// MARK: Others

static cipc_event_t *event(void) { return (cipc_event_t *)(void *)memory; }
static void wait_for_event(cipc_deadline_t deadline) { (void)!cipc_event_wait(event(), deadline); }
static void set_event(cipc_deadline_t deadline) {
  (void)deadline;
  for (int i = 0; i < 100; i++) {
    cipc_event_set(event());
    cipc_event_clear(event());
  }
}

static void a_scribbled_event_ends_in_time(void) {
  cipc_event_init(event(), 0);
  static void (*const calls[])(cipc_deadline_t) = {wait_for_event, set_event};
  TRY_ALL(calls, 0, sizeof(cipc_event_t));
}

static cipc_semaphore_t *semaphore(void) { return (cipc_semaphore_t *)(void *)memory; }
static void acquire(cipc_deadline_t deadline) {
  int permit = cipc_semaphore_acquire(semaphore(), SLOTS, deadline);
  if (permit >= 0) {
    (void)!cipc_semaphore_release(semaphore(), SLOTS, (uint32_t)permit);
  }
  (void)cipc_semaphore_value(semaphore(), SLOTS);
}
static void take(cipc_deadline_t deadline) { (void)!cipc_semaphore_take(semaphore(), deadline); }
static void post(cipc_deadline_t deadline) {
  (void)deadline;
  (void)!cipc_semaphore_post(semaphore(), 1);
}

static void a_scribbled_semaphore_ends_in_time(void) {
  CHECK_EQUAL(cipc_semaphore_init(semaphore(), SLOTS), 0);
  static void (*const calls[])(cipc_deadline_t) = {acquire, take, post};
  TRY_ALL(calls, 0, cipc_semaphore_footprint(SLOTS));
}

static cipc_mutex_t mutex;
static cipc_condition_t *condition(void) { return (cipc_condition_t *)(void *)memory; }
static void wait_for_condition(cipc_deadline_t deadline) {
  CHECK_EQUAL(cipc_mutex_lock(&mutex, CIPC_NO_DEADLINE), 0);
  (void)!cipc_condition_wait(condition(), SLOTS, &mutex, deadline);
  CHECK_EQUAL(cipc_mutex_unlock(&mutex), 0);
}
static void notify(cipc_deadline_t deadline) {
  (void)deadline;
  CHECK_EQUAL(cipc_mutex_lock(&mutex, CIPC_NO_DEADLINE), 0);
  (void)!cipc_condition_notify(condition(), SLOTS, &mutex, 1);
  (void)!cipc_condition_notify(condition(), SLOTS, &mutex, UINT32_MAX);
  CHECK_EQUAL(cipc_mutex_unlock(&mutex), 0);
}

static void a_scribbled_condition_ends_in_time(void) {
  CHECK_EQUAL(cipc_mutex_init(&mutex, NULL), 0);
  CHECK_EQUAL(cipc_condition_init(condition(), SLOTS), 0);
  static void (*const calls[])(cipc_deadline_t) = {wait_for_condition, notify};
  TRY_ALL(calls, 0, cipc_condition_footprint(SLOTS));
}

static cipc_barrier_t *barrier(void) { return (cipc_barrier_t *)(void *)memory; }
static void wait_at_barrier(cipc_deadline_t deadline) {
  (void)!cipc_barrier_wait(barrier(), 2, NULL, NULL, deadline);
  (void)!cipc_barrier_reset(barrier(), 2);
  (void)!cipc_barrier_leave(barrier(), 2, cipc_participant_this_thread(), deadline);
}

static void a_scribbled_barrier_ends_in_time(void) {
  CHECK_EQUAL(cipc_barrier_init(barrier(), 2), 0);
  static void (*const calls[])(cipc_deadline_t) = {wait_at_barrier};
  TRY_ALL(calls, sizeof(cipc_mutex_t), cipc_barrier_footprint(2));
}

#define CAPACITY 100u
static cipc_bytes_t *bytes(void) { return (cipc_bytes_t *)(void *)memory; }
static void read_bytes(cipc_deadline_t deadline) {
  char text[CAPACITY];
  size_t length;
  int status = cipc_bytes_read(bytes(), CAPACITY, text, sizeof text, &length, deadline);
  CHECK(status < 0 || length <= CAPACITY);
}
static void store_bytes(cipc_deadline_t deadline) {
  (void)!cipc_bytes_store(bytes(), CAPACITY, "hello", 5, deadline);
}

static void scribbled_bytes_end_in_time(void) {
  CHECK_EQUAL(cipc_bytes_init(bytes(), CAPACITY, "a", 1), 0);
  static void (*const calls[])(cipc_deadline_t) = {read_bytes, store_bytes};
  TRY_ALL(calls, sizeof(cipc_mutex_t), cipc_bytes_footprint(CAPACITY));
}

static cipc_journal_t *journal(void) { return (cipc_journal_t *)(void *)memory; }
static void change_with_journal(cipc_deadline_t deadline) {
  // The data lie outside of what is scribbled, but where they are is not believed.
  static unsigned char data[256], redo[64];
  cipc_journal_area_t area = {.data = data, .size = sizeof data, .redo = redo, .capacity = 64};
  if (cipc_journal_begin(journal(), &area, 8, 64, deadline) < 0) return;
  (void)!cipc_journal_settle(journal(), &area);
  (void)!cipc_journal_commit(journal(), &area, 8, 64);
  (void)!cipc_journal_cancel(journal());
}

static void a_scribbled_journal_ends_in_time(void) {
  CHECK_EQUAL(cipc_journal_init(journal()), 0);
  static void (*const calls[])(cipc_deadline_t) = {change_with_journal};
  TRY_ALL(calls, sizeof(cipc_mutex_t), sizeof(cipc_journal_t));
}

static cipc_region_t *region(void) { return (cipc_region_t *)(void *)memory; }
static void use_region(cipc_deadline_t deadline) {
  cipc_region_entry_t entry;
  cipc_region_object_t object = {.name = "b", .size = 8, .type = {.stride = 8, .count = 1}};
  int status = cipc_region_allocate(region(), SIZE, &object, &entry, deadline);
  if (status >= 0) CHECK(entry.offset <= SIZE && entry.size <= SIZE);
  size_t count = cipc_region_count(region(), SIZE);
  for (size_t i = 0; i < count; i++) {
    status = cipc_region_entry(region(), SIZE, i, &entry);
    if (status == 0) CHECK(entry.offset <= SIZE - entry.size);
  }
}

static void a_scribbled_region_ends_in_time(void) {
  CHECK_EQUAL(cipc_region_format(region(), SIZE), 0);
  static void (*const calls[])(cipc_deadline_t) = {use_region};
  size_t mutex_at = offsetof(cipc_region_t, mutex);
  if (mutex_at > 0) TRY_ALL(calls, 0, mutex_at);
  TRY_ALL(calls, mutex_at + sizeof(cipc_mutex_t), SIZE);
}

int main(void) {
  memory = child_shared(SIZE);
  TEST(a_reader_whose_place_was_taken_finds_another);
  TEST(a_scribbled_read_write_lock_ends_in_time);
  TEST(a_scribbled_event_ends_in_time);
  TEST(a_scribbled_semaphore_ends_in_time);
  TEST(a_scribbled_condition_ends_in_time);
  TEST(a_scribbled_barrier_ends_in_time);
  TEST(scribbled_bytes_end_in_time);
  TEST(a_scribbled_journal_ends_in_time);
  TEST(a_scribbled_region_ends_in_time);
  return check_finish();
}
