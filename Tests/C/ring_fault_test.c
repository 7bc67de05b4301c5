/* SPDX-License-Identifier: Apache-2.0 */
// Rings whose users end, fork, give up and scribble at the worst moment. (Killed at each
// instruction: Tests/Crash. Killed at random: ring_soak_test.c.)
#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.h"
#include "cipc/ring.h"
#include "ring/tiers.h"
#include "segment/layout.h"
#include "wait/wait.h"

#define MILLISECONDS(n) ((n)*INT64_C(1000000))

static cipc_deadline_t soon(void) { return cipc_clock_deadline(CHILD_PATIENCE); }

static cipc_ring_t *ring;

static struct arena {
  uint32_t gate;
  pid_t grandchild;
  uint32_t stop;
  // Per user: what went well.
  uint64_t done[2];
} * arena;

// A new ring, which forked children have open as well.
static void begin(unsigned flags, uint64_t capacity) {
  if (arena == NULL) arena = child_shared(sizeof *arena);
  memset(arena, 0, sizeof *arena);
  const cipc_ring_options_t options = {.flags = flags, .capacity = capacity};
  CHECK_EQUAL(cipc_ring_create(&ring, &options), 0);
}

static int put_until(const void *data, size_t length, cipc_deadline_t deadline) {
  return cipc_ring_put(ring, data, length, deadline);
}

static void put_number(uint64_t number) {
  CHECK_EQUAL(put_until(&number, sizeof number, soon()), 0);
}

static uint64_t get_number(void) {
  uint64_t number = 0;
  size_t length = 0;
  CHECK_EQUAL(cipc_ring_get(ring, &number, sizeof number, &length, soon()), 0);
  CHECK_EQUAL(length, sizeof number);
  return number;
}

static uint64_t number_of(const cipc_ring_record_t *record) {
  uint64_t number = 0;
  CHECK(record->length >= sizeof number);
  memcpy(&number, record->data, sizeof number);
  return number;
}

static uint64_t lease_number(void) {
  cipc_ring_record_t record;
  CHECK_EQUAL(cipc_ring_lease(ring, &record, soon()), 0);
  return number_of(&record);
}

static void in_thread(void *(*body)(void *)) {
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, body, NULL), 0);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
}

static void in_child(void (*body)(void *)) { CHECK_EQUAL(child_join(child_start(body, NULL)), 0); }

// MARK: Ends and forks

static void *reserve_and_end(void *argument) {
  void *payload;
  CHECK_EQUAL(cipc_ring_reserve(ring, 8, &payload, soon()), 0);
  return argument;
}

static void *peek_and_end(void *argument) {
  cipc_ring_record_t record;
  CHECK_EQUAL(cipc_ring_peek(ring, &record, soon()), 0);
  return argument;
}

static void put_three(void *argument) {
  (void)argument;
  for (uint64_t i = 1; i <= 3; i++) put_number(i);
}

static void get_two(void *argument) {
  (void)argument;
  for (uint64_t i = 1; i <= 2; i++) CHECK_EQUAL(get_number(), i);
}

// Another process is told of the end of a thread of this one, and this one is told nothing.
static void what_a_thread_left_open_is_not_gone_on_with(void) {
  begin(0, 4096);
  in_thread(reserve_and_end);
  in_child(put_three);
  put_number(4);
  in_thread(peek_and_end);
  in_child(get_two);
  cipc_ring_record_t record;
  CHECK_EQUAL(cipc_ring_peek(ring, &record, soon()), 0);
  CHECK_EQUAL(number_of(&record), 3);
  CHECK_EQUAL(cipc_ring_release(ring), 0);
  CHECK_EQUAL(get_number(), 4);
  cipc_ring_close(ring);
}

// As the fork of a thread does while another one puts.
static void reserve_fork_and_hang(void *argument) {
  (void)argument;
  void *payload;
  CHECK_EQUAL(cipc_ring_reserve(ring, 8, &payload, soon()), 0);
  pid_t child = fork();
  if (child == 0) {
    // Until its parent is dead and waited for.
    gate_wait(&arena->gate, 2);
    put_three(NULL);
    gate_set(&arena->gate, 3);
    child_hang();
  }
  arena->grandchild = child;
  gate_set(&arena->gate, 1);
  child_hang();
}

static void a_child_does_not_go_on_with_its_parents_batch(void) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
  check_skip("ThreadSanitizer ends a forked child whose parent held a mutex");
  return;
#endif
#endif
  static const unsigned kinds[] = {0, CIPC_RING_SPSC};
  // What is left of a child is this process's to wait for.
  CHECK_EQUAL(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
  for (size_t kind = 0; kind < 2; kind++) {
    begin(kinds[kind], 4096);
    pid_t child = child_start(reserve_fork_and_hang, NULL);
    gate_wait(&arena->gate, 1);
    child_kill(child);
    gate_set(&arena->gate, 2);
    for (uint64_t i = 1; i <= 3; i++) CHECK_EQUAL(get_number(), i);
    gate_wait(&arena->gate, 3);
    child_kill(arena->grandchild);
    cipc_ring_close(ring);
  }
}

// Records of 16 units, 32 of which go round the ring.
static void put_wide(uint64_t number) {
  uint64_t words[14] = {number};
  CHECK_EQUAL(put_until(words, sizeof words, soon()), 0);
}

static void lease_two_and_acknowledge_the_first(void *argument) {
  (void)argument;
  gate_set(&arena->gate, 1);
  gate_wait(&arena->gate, 2);
  CHECK_EQUAL(lease_number(), 31);
  // Where the one lies that its parent had leased when it forked.
  CHECK_EQUAL(lease_number(), 32);
  CHECK_EQUAL(cipc_ring_acknowledge_first(ring, soon()), 0);
}

static void a_child_has_none_of_its_parents_leases(void) {
  begin(CIPC_RING_LEASED, 4096);
  put_wide(0);
  CHECK_EQUAL(lease_number(), 0);
  pid_t child = child_start(lease_two_and_acknowledge_the_first, NULL);
  gate_wait(&arena->gate, 1);
  CHECK_EQUAL(cipc_ring_acknowledge_first(ring, soon()), 0);
  for (uint64_t i = 1; i < 33; i++) {
    put_wide(i);
    if (i < 31) CHECK_EQUAL(lease_number(), i);
    if (i < 31) CHECK_EQUAL(cipc_ring_acknowledge_first(ring, soon()), 0);
  }
  gate_set(&arena->gate, 2);
  CHECK_EQUAL(child_join(child), 0);
  CHECK_EQUAL(lease_number(), 32);
  CHECK_EQUAL(cipc_ring_acknowledge_first(ring, soon()), 0);
  CHECK_EQUAL(cipc_ring_join(ring, CIPC_IMMEDIATELY), 0);
  cipc_ring_close(ring);
}

// MARK: Memory

static int64_t memory_of_ring(void) {
  struct stat status;
  CHECK_EQUAL(fstat(cipc_segment_descriptor(cipc_ring_segment(ring)), &status), 0);
  return (int64_t)status.st_blocks;
}

static void hold_producers(void *argument) {
  (void)argument;
  void *payload;
  // Where little is left: in the first tier again.
  CHECK_EQUAL(cipc_ring_reserve(ring, 8, &payload, soon()), 0);
  CHECK_EQUAL(cipc_ring_commit(ring), 0);
  CHECK_EQUAL(cipc_ring_reserve(ring, 8, &payload, soon()), 0);
  gate_set(&arena->gate, 1);
  gate_wait(&arena->gate, 2);
  CHECK_EQUAL(cipc_ring_cancel(ring), 0);
}

// The memory of the larger tiers is taken back by the producers' side too, which is not free at
// the moment when it could be.
static void memory_goes_back_when_producers_were_in_the_way(void) {
  begin(0, 0);
  int64_t before = memory_of_ring();
  static char block[1 << 20];
  size_t length;
  for (int i = 0; i < 3; i++) CHECK_EQUAL(put_until(block, sizeof block, soon()), 0);
  // Still in a large tier, with little in it.
  put_number(1);
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_ring_get(ring, block, sizeof block, &length, soon()), 0);
  }
  for (uint64_t i = 2; cipc_index_tier(ring->control->tail) != 0; i++) put_number(i);
  pid_t child = child_start(hold_producers, NULL);
  gate_wait(&arena->gate, 1);
  // As if it had been long ago that memory was needed.
  do ring->busy_at = 0;
  while (cipc_ring_get(ring, block, sizeof block, &length, CIPC_IMMEDIATELY) == 0);
  CHECK_EQUAL(cipc_index_tier(ring->control->head), 0);
  CHECK(memory_of_ring() > before);
  gate_set(&arena->gate, 2);
  CHECK_EQUAL(child_join(child), 0);
  ring->busy_at = 0;
  CHECK_EQUAL(cipc_ring_get(ring, block, sizeof block, &length, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(memory_of_ring(), before);
  cipc_ring_close(ring);
}

// MARK: Waits that end

// Nothing is there, nothing comes any more, and some may come back: it must not look busily for
// that.
static void the_deadline_of_a_lease_passes_behind_the_end(void) {
  begin(CIPC_RING_LEASED, 4096);
  put_number(1);
  CHECK_EQUAL(lease_number(), 1);
  CHECK_EQUAL(cipc_ring_finish(ring, soon()), 0);
  cipc_readiness_t *watch = NULL;
  CHECK_EQUAL(cipc_ring_readiness_open(&watch, ring, 0, 0), 0);
  CHECK_EQUAL(cipc_readiness_look(watch), 0);
  cipc_ring_record_t record;
  CHECK_EQUAL(cipc_ring_lease(ring, &record, cipc_clock_deadline(MILLISECONDS(20))),
              CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_ring_acknowledge_first(ring, soon()), 0);
  CHECK_EQUAL(cipc_readiness_look(watch), 1);
  CHECK_EQUAL(cipc_ring_lease(ring, &record, soon()), CIPC_EFINISHED);
  cipc_readiness_close(watch);
  cipc_ring_close(ring);
}

static void a_word_that_nobody_uses_promises_nothing(void) {
  begin(0, 4096);
  ring->control->returned = 5;
  uint64_t number;
  size_t length;
  CHECK_EQUAL(
      cipc_ring_get(ring, &number, sizeof number, &length, cipc_clock_deadline(MILLISECONDS(20))),
      CIPC_ETIMEDOUT);
  cipc_ring_close(ring);
}

#define STEPPERS 4

static uint32_t looks;
static struct stepper {
  bool is_put;
  // Once it has tried in vain.
  pid_t thread;
} steppers[STEPPERS];

// Whether a thread of this process sleeps.
static bool is_asleep(pid_t thread) {
  char path[48], state = 0;
  (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
  FILE *file = fopen(path, "re");
  CHECK(file != NULL);
  CHECK_EQUAL(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
  (void)fclose(file);
  return state == 'S';
}

// As an asynchronous wait does.
static void *step_until_done(void *argument) {
  struct stepper *stepper = argument;
  uint64_t number = 5;
  size_t length;
  for (;;) {
    cipc_wait_t wait;
    int status = stepper->is_put
                     ? cipc_ring_put_step(ring, &number, sizeof number, 0, &wait)
                     : cipc_ring_get_step(ring, &number, sizeof number, &length, 0, &wait);
    if (status == 0) return NULL;
    CHECK_EQUAL(status, CIPC_EAGAIN);
    __atomic_store_n(&stepper->thread, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    status = cipc_wait_sleep(&wait, CIPC_NO_DEADLINE);
    CHECK(status >= 0);
    if (status == CIPC_WAIT_LOOK) (void)__atomic_fetch_add(&looks, 1, __ATOMIC_SEQ_CST);
  }
}

static void who_holds_a_side_for_long_wakes_all_whom_it_kept_out(void) {
  cipc_deadline_t slice = cipc_wait_slice;
  cipc_wait_slice = MILLISECONDS(2000);
  for (int is_put = 0; is_put < 2; is_put++) {
    begin(0, 4096);
    for (uint64_t i = 0; i <= STEPPERS; i++) put_number(i);
    cipc_ring_record_t record;
    void *payload;
    CHECK_EQUAL(is_put ? cipc_ring_reserve(ring, 8, &payload, soon())
                       : cipc_ring_peek(ring, &record, soon()),
                0);
    looks = 0;
    pthread_t threads[STEPPERS];
    for (int i = 0; i < STEPPERS; i++) {
      steppers[i] = (struct stepper){.is_put = is_put};
      CHECK_EQUAL(pthread_create(&threads[i], NULL, step_until_done, &steppers[i]), 0);
    }
    for (int i = 0; i < STEPPERS; i++) {
      pid_t *thread = &steppers[i].thread;
      while (__atomic_load_n(thread, __ATOMIC_SEQ_CST) == 0 || !is_asleep(*thread)) {
        (void)sched_yield();
      }
    }
    CHECK_EQUAL(is_put ? cipc_ring_commit(ring) : cipc_ring_release(ring), 0);
    for (int i = 0; i < STEPPERS; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
    // Not by the end of their slices, but for one whom another kept out for long, having no
    // processor: that one is not woken.
    CHECK(looks < STEPPERS - 1);
    CHECK_EQUAL(cipc_ring_fill(ring).records, is_put ? 2 * STEPPERS + 2 : 0);
    cipc_ring_close(ring);
  }
  cipc_wait_slice = slice;
}

#define LEASERS 3

static void *lease_until_shut(void *argument) {
  cipc_ring_record_t record;
  int status;
  do {
    status = cipc_ring_lease(ring, &record, soon());
    if (status == 0) gate_set(&arena->gate, 1);
  } while (status == 0);
  CHECK_EQUAL(status, CIPC_ECLOSED);
  return argument;
}

static void what_is_leased_while_it_is_shut_goes_back(void) {
  for (int round = 0; round < 50; round++) {
    begin(CIPC_RING_LEASED, 1 << 16);
    for (uint64_t i = 0; i < 2000; i++) put_number(i);
    cipc_ring_t *again = NULL;
    int descriptor = dup(cipc_segment_descriptor(cipc_ring_segment(ring)));
    const cipc_ring_options_t options = {.flags = CIPC_RING_LEASED};
    CHECK_EQUAL(cipc_ring_open(&again, descriptor, &options), 0);
    pthread_t threads[LEASERS];
    for (int i = 0; i < LEASERS; i++) {
      CHECK_EQUAL(pthread_create(&threads[i], NULL, lease_until_shut, NULL), 0);
    }
    gate_wait(&arena->gate, 1);
    cipc_ring_shut(ring);
    for (int i = 0; i < LEASERS; i++) CHECK_EQUAL(pthread_join(threads[i], NULL), 0);
    // Another process can take all of them.
    for (uint64_t i = 0; i < 2000; i++) {
      uint64_t number;
      size_t length;
      CHECK_EQUAL(cipc_ring_get(again, &number, sizeof number, &length, CIPC_IMMEDIATELY), 0);
    }
    CHECK_EQUAL(cipc_ring_join(again, CIPC_IMMEDIATELY), 0);
    cipc_ring_close(again);
    cipc_ring_close(ring);
  }
}

// MARK: A process scribbles while others use the ring

#define OPERATIONS 3000

static uint64_t random_state;

static uint64_t draw(void) {
  random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return random_state >> 33;
}

static bool is_off_limits(size_t at) {
  if (!cipc_ring_has_locks(ring)) return false;
  return (at + 8 > offsetof(cipc_ring_control_t, producers) &&
          at < offsetof(cipc_ring_control_t, tail)) ||
         (at + 8 > offsetof(cipc_ring_control_t, consumers) &&
          at < offsetof(cipc_ring_control_t, head));
}

// Anything, or nearly what is there, or what is somewhere else: the latter get past more checks.
static uint64_t draw_word(const unsigned char *place, const unsigned char *elsewhere) {
  uint64_t word = draw() << 33 ^ draw() << 11 ^ draw();
  switch (draw() % 4) {
    case 0:
      return word;
    case 1:
      return word >> draw() % 64;
    case 2:
      memcpy(&word, elsewhere, sizeof word);
      return word;
    default: {
      uint64_t found;
      memcpy(&found, place, sizeof found);
      return found + (draw() % 2 ? word % 9 : UINT64_C(0) - word % 9) * (draw() % 2 ? 1 : 1 << 28);
    }
  }
}

static void scribble_on(unsigned char *bytes, size_t size, bool is_control) {
  size_t at = draw() % (size / 8) * 8, from = draw() % (size / 8) * 8;
  // Also between two words.
  if (draw() % 16 == 0 && at + 16 <= size) at += draw() % 8;
  if (is_control && is_off_limits(at)) return;
  uint64_t word = draw_word(bytes + at, bytes + from);
  memcpy(bytes + at, &word, sizeof word);
}

static void scribble(void *argument) {
  random_state = (uint64_t)(uintptr_t)argument;
  unsigned char *control = (unsigned char *)ring->control;
  static unsigned char good[sizeof *ring->control], records[4096];
  memcpy(good, control, sizeof good);
  memcpy(records, ring->tiers[0].base, sizeof records);
  unsigned char *base;
  for (uint32_t i = 0; i < ring->tier_count; i++) CHECK_EQUAL(cipc_tiers_map(ring, i, &base), 0);
  while (!__atomic_load_n(&arena->stop, __ATOMIC_RELAXED)) {
    scribble_on(control, sizeof *ring->control, true);
    // Lengths and owners near the beginning, where most of the records are.
    uint32_t tier = draw() % 2 ? 0 : (uint32_t)(draw() % ring->tier_count);
    scribble_on(ring->tiers[tier].base, 4096, false);
    // The header is of no use any more, its table of participants is.
    if (draw() % 8 == 0) {
      scribble_on(control - CIPC_SEGMENT_HEADER_SIZE, CIPC_SEGMENT_HEADER_SIZE, false);
    }
    // At times all is as it was, and the others get somewhere.
    if (draw() % 256 == 0) {
      for (size_t at = 0; at < sizeof good; at += 8) {
        if (!is_off_limits(at)) memcpy(control + at, good + at, 8);
      }
      memcpy(ring->tiers[0].base, records, sizeof records);
      if (arena->gate == 0) gate_set(&arena->gate, 1);
      (void)sched_yield();
    }
  }
}

static unsigned char buffer[4096];

static void read_all(const cipc_ring_record_t *record) {
  for (size_t i = 0; i < record->length; i += 64) {
    buffer[i % sizeof buffer] ^= ((const unsigned char *)record->data)[i];
  }
}

// Mostly no wait; at times one that must end.
static cipc_deadline_t draw_deadline(void) {
  return draw() % 64 == 0 ? cipc_clock_deadline(MILLISECONDS(2)) : CIPC_IMMEDIATELY;
}

static int put_something(void) {
  size_t length = draw() % 300;
  void *payload;
  int status;
  switch (draw() % 4) {
    case 0: {
      const cipc_ring_bytes_t records[] = {{buffer, length}, {buffer, 8}, {buffer, 0}};
      return cipc_ring_put_many(ring, records, 3, draw_deadline());
    }
    case 1:
      status = cipc_ring_reserve(ring, length, &payload, draw_deadline());
      if (status < 0) return status;
      memset(payload, 1, length);
      while (draw() % 2 && cipc_ring_reserve(ring, 24, &payload, CIPC_IMMEDIATELY) == 0) {
        memset(payload, 2, 24);
      }
      if (draw() % 4 == 0) status = cipc_ring_shorten(ring, 8);
      return draw() % 4 ? cipc_ring_commit(ring) : cipc_ring_cancel(ring);
    case 2:
      return (int)cipc_ring_fill(ring).records;
    default:
      return cipc_ring_put(ring, buffer, length, draw_deadline());
  }
}

static int get_something(void) {
  size_t length;
  cipc_ring_record_t record;
  int status;
  bool is_leased = cipc_ring_is_leased(ring);
  switch (draw() % 4) {
    case 0:
      if (!is_leased) {
        status = cipc_ring_peek(ring, &record, draw_deadline());
        if (status < 0) return status;
        read_all(&record);
        for (int i = 0; i < 4 && cipc_ring_peek(ring, &record, CIPC_IMMEDIATELY) == 0; i++) {
          read_all(&record);
        }
        return draw() % 4 ? cipc_ring_release(ring) : cipc_ring_restore(ring);
      }
      return draw() % 2 ? cipc_ring_join(ring, draw_deadline())
                        : cipc_ring_acknowledge_first(ring, draw_deadline());
    case 1:
      if (!is_leased) return cipc_ring_is_finished(ring);
      status = cipc_ring_lease(ring, &record, draw_deadline());
      if (status < 0) return status;
      read_all(&record);
      if (draw() % 4 == 0) return 0;
      return draw() % 2 ? cipc_ring_acknowledge(ring, record.ticket, CIPC_IMMEDIATELY)
                        : cipc_ring_return(ring, record.ticket, CIPC_IMMEDIATELY);
    case 2: {
      cipc_ring_info_t info;
      return cipc_ring_inspect(cipc_segment_descriptor(cipc_ring_segment(ring)), &info);
    }
    default:
      return cipc_ring_get(ring, buffer, sizeof buffer, &length, draw_deadline());
  }
}

static void use(void *argument) {
  uintptr_t which = (uintptr_t)argument;
  random_state = which * 77777 + 1;
  for (int i = 0; i < OPERATIONS; i++) {
    cipc_deadline_t since = cipc_clock_now();
    // Any status; an unbroken loop is ended by the alarm, one that is only far too long by this.
    int status = which == 0 ? put_something() : get_something();
    CHECK(cipc_clock_now() - since < MILLISECONDS(10000));
    if (status >= 0) arena->done[which]++;
  }
}

static void scribbling_while_others_use_it_is_errors(void) {
  static const struct {
    unsigned flags;
    uint64_t capacity;
  } kinds[] = {{CIPC_RING_SPSC, 4096},
               {CIPC_RING_SPSC, 1 << 16},
               {0, 4096},
               {0, 8 << 20},
               {CIPC_RING_LEASED, 4096},
               {CIPC_RING_LEASED, 8 << 20},
               {CIPC_RING_TRACKED, 4096}};
  for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
    begin(kinds[kind].flags, kinds[kind].capacity);
    for (int i = 0; i < 8; i++) CHECK_EQUAL(put_until(buffer, 40, soon()), 0);
    // The producer of an SPSC ring is a child.
    ring->control->producer = CIPC_PARTICIPANT_NOBODY;
    pid_t scribbler = child_start(scribble, (void *)(kind + 1));
    gate_wait(&arena->gate, 1);
    pid_t users[2];
    for (uintptr_t i = 0; i < 2; i++) users[i] = child_start(use, (void *)i);
    for (int i = 0; i < 2; i++) CHECK_EQUAL(child_join(users[i]), 0);
    __atomic_store_n(&arena->stop, 1, __ATOMIC_RELAXED);
    CHECK_EQUAL(child_join(scribbler), 0);
    (void)printf("  %#x, %llu: %llu and %llu of %d went through\n", kinds[kind].flags,
                 (unsigned long long)kinds[kind].capacity, (unsigned long long)arena->done[0],
                 (unsigned long long)arena->done[1], OPERATIONS);
    cipc_ring_close(ring);
  }
}

int main(void) {
  TEST(what_a_thread_left_open_is_not_gone_on_with);
  TEST(a_child_does_not_go_on_with_its_parents_batch);
  TEST(a_child_has_none_of_its_parents_leases);
  TEST(memory_goes_back_when_producers_were_in_the_way);
  TEST(the_deadline_of_a_lease_passes_behind_the_end);
  TEST(a_word_that_nobody_uses_promises_nothing);
  TEST(who_holds_a_side_for_long_wakes_all_whom_it_kept_out);
  TEST(what_is_leased_while_it_is_shut_goes_back);
  TEST(scribbling_while_others_use_it_is_errors);
  return check_finish();
}
