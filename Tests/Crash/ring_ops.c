/* SPDX-License-Identifier: Apache-2.0 */
// Rings: what was put is got, once, whole and in order, but for what a dead consumer took; what a
// dead process had leased is got by another; no waiter is left asleep; memory that is not needed
// goes back. The operations are named for the room that does the work, so that broken rooms are
// tried with their own.
#include <string.h>
#include <sys/stat.h>

#include "cipc/ring.h"
#include "crash.h"
#include "ring/tiers.h"
#include "segment/segment.h"

// Records are words, all of them their number: 1 and up from before, 100 and up the victim's, 200
// and up the survivors'.
#define VICTIMS 100u
#define SURVIVING 200u
#define NUMBERS 256u
#define SMALL 5u
// What nearly fills the first tier, and what does not fit there behind it.
#define LARGE 8150u
#define CROSSING 50u
#define HUGE_BYTES (17u << 20)
// How long a survivor waits for what may never come: beyond the promise.
#define IN_VAIN (PROMISE + INT64_C(50000000))

// In the shared object: the ledger.
struct scene {
  uint32_t taken[NUMBERS];
  // Numbers that were there before the victim; how many of these it takes; how many it puts.
  uint32_t initial, takes, puts;
  // How many of the survivors put something.
  uint32_t survivors;
  // Of the last look: the victim's records, in order.
  uint32_t last_of_victim;
  uint32_t was_woken;
  // Survivors that waited for what may not come: how many got it, and how many gave up before the
  // kill, as it happens on a busy machine.
  uint32_t lucky, early;
  uint64_t ticket;
  int64_t memory;
  // The victim's.
  uint64_t buffer[SMALL];
};

// In the worker, and what is forked from it.
static cipc_ring_t *ring;
static uint64_t words[LARGE];

static struct scene *scene_of(struct trial *trial) { return trial->object; }

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

static const uint64_t *filled(uint64_t number, size_t count) {
  for (size_t i = 0; i < count; i++) words[i] = number;
  return words;
}

static int64_t memory_of_ring(void) {
  struct stat status;
  if (fstat(cipc_segment_descriptor(cipc_ring_segment(ring)), &status) < 0) return -1;
  return (int64_t)status.st_blocks;
}

// MARK: The ledger

static uint64_t check_words(struct trial *trial, const uint64_t *found, size_t length) {
  uint64_t number = length >= sizeof number ? found[0] : 0;
  if (number == 0 || number >= NUMBERS) {
    violate(trial, "a record of %zu bytes has number %llu", length, (unsigned long long)number);
    return 0;
  }
  for (size_t i = 1; i < length / sizeof *found; i++) {
    if (found[i] == number) continue;
    violate(trial, "record %llu is torn at word %zu", (unsigned long long)number, i);
    return 0;
  }
  return number;
}

static void note(struct trial *trial, const uint64_t *found, size_t length) {
  uint64_t number = check_words(trial, found, length);
  (void)__atomic_fetch_add(&scene_of(trial)->taken[number], 1, __ATOMIC_SEQ_CST);
}

// Takes all that is left, what the dead had leased included.
static void drain(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  size_t length;
  int status;
  while ((status = cipc_ring_get_step(ring, words, sizeof words, &length, 1, NULL)) == 0) {
    note(trial, words, length);
    if (words[0] < VICTIMS || words[0] >= SURVIVING) continue;
    if (words[0] != VICTIMS + scene->last_of_victim++) violate(trial, "the order is lost");
  }
  if (status != CIPC_EFINISHED) expect(trial, "last look: get", status, CIPC_EAGAIN);
}

static void check(struct trial *trial) {
  drain(trial);
  struct scene *scene = scene_of(trial);
  int64_t memory = memory_of_ring();
  // Some of it each time that nothing is found, once it has not been needed for a while.
  for (int i = 0; i < 8 && memory > scene->memory; i++) {
    ring->busy_at = 0;
    size_t length;
    int status = cipc_ring_get_step(ring, words, sizeof words, &length, 0, NULL);
    if (status != CIPC_EFINISHED) expect(trial, "last look: get", status, CIPC_EAGAIN);
    memory = memory_of_ring();
  }
  if (memory > scene->memory) {
    violate(trial, "%lld blocks of memory are left, and there were %lld", (long long)memory,
            (long long)scene->memory);
  }
  cipc_ring_fill_t fill = cipc_ring_fill(ring);
  if (fill.records != 0 || fill.bytes != 0) violate(trial, "%d are left", (int)fill.records);
}

// Of leased rings: all is done, too.
static void check_done(struct trial *trial) {
  check(trial);
  expect(trial, "last look: join", cipc_ring_join_step(ring, 1, NULL), 0);
  cipc_ring_record_t record;
  expect(trial, "last look: lease", cipc_ring_lease_step(ring, &record, 1, NULL), CIPC_EAGAIN);
}

static void judge(struct trial *trial) {
  const struct scene *scene = scene_of(trial);
  uint32_t gone = 0, arrived = 0;
  for (uint32_t i = 1; i <= scene->initial; i++) {
    if (scene->taken[i] > 1) violate(trial, "record %u was got twice", i);
    if (scene->taken[i] == 0 && i > scene->takes) violate(trial, "record %u is lost", i);
    gone += scene->taken[i] == 0;
  }
  for (uint32_t i = 0; i < scene->puts; i++) {
    if (scene->taken[VICTIMS + i] > 1) violate(trial, "the victim's %u was got twice", i);
    arrived += scene->taken[VICTIMS + i] != 0;
  }
  for (uint32_t i = 0; i < scene->survivors; i++) {
    if (scene->taken[SURVIVING + i] == 1) continue;
    violate(trial, "survivor %u's was got %u times", i, scene->taken[SURVIVING + i]);
  }
  if (gone != 0 && gone != scene->takes) violate(trial, "%u of %u went", gone, scene->takes);
  if (arrived != 0 && arrived != scene->puts) {
    violate(trial, "%u of %u arrived", arrived, scene->puts);
  }
  trial->committed = scene->puts != 0 ? arrived != 0 : gone != 0;
  if (trial->done_before >= 0 && trial->committed != (trial->done_before == 1)) {
    violate(trial, "it had %s when it was killed, and then it %s",
            trial->done_before ? "committed" : "not committed",
            trial->committed ? "had" : "had not");
  }
}

// Nothing is to be seen of it from outside but by `committed_now`.
static void judge_quietly(struct trial *trial) {
  int done_before = trial->done_before;
  trial->done_before = -1;
  judge(trial);
  trial->committed = done_before == 1;
}

// MARK: Setting up

static void make(struct trial *trial, unsigned flags, uint64_t capacity, uint64_t records) {
  cipc_ring_close(ring);
  ring = NULL;
  const cipc_ring_options_t options = {.flags = flags, .capacity = capacity, .records = records};
  expect(trial, "create", cipc_ring_create(&ring, &options), 0);
  // A spinning victim goes now one way and now another.
  cipc_ring_set_spin(ring, 0);
  scene_of(trial)->memory = memory_of_ring();
}

static void put_initial(struct trial *trial, size_t count) {
  uint32_t number = ++scene_of(trial)->initial;
  expect(trial, "put",
         cipc_ring_put(ring, filled(number, count), count * sizeof *words, CIPC_IMMEDIATELY), 0);
}

static void put_three(struct trial *trial) {
  for (int i = 0; i < 3; i++) put_initial(trial, SMALL);
}

static void setup_put(struct trial *trial) {
  make(trial, 0, 4096, 0);
  put_initial(trial, SMALL);
  scene_of(trial)->puts = 1;
  scene_of(trial)->survivors = SURVIVORS;
}

static void setup_bundle(struct trial *trial) {
  setup_put(trial);
  scene_of(trial)->puts = 3;
}

static void setup_full(struct trial *trial) {
  make(trial, 0, 4096, 3);
  put_three(trial);
  scene_of(trial)->puts = 1;
  scene_of(trial)->survivors = SURVIVORS;
}

static void setup_waking(struct trial *trial) {
  make(trial, 0, 4096, 0);
  scene_of(trial)->puts = 1;
}

static void setup_get(struct trial *trial) {
  make(trial, 0, 4096, 0);
  put_three(trial);
  put_initial(trial, SMALL);
  scene_of(trial)->takes = 1;
}

static void setup_show(struct trial *trial) {
  setup_get(trial);
  scene_of(trial)->takes = 2;
}

// What the holder will put.
static void setup_empty(struct trial *trial) {
  make(trial, 0, 4096, 0);
  scene_of(trial)->takes = 1;
}

static void setup_finish(struct trial *trial) {
  make(trial, 0, 4096, 0);
  put_initial(trial, SMALL);
}

static void setup_lease(struct trial *trial) {
  make(trial, CIPC_RING_LEASED, 4096, 0);
  put_three(trial);
}

// The acknowledged record goes.
static void setup_acknowledge(struct trial *trial) {
  setup_lease(trial);
  scene_of(trial)->takes = 1;
}

static void lease_one(struct trial *trial) {
  cipc_ring_record_t record;
  expect(trial, "lease", cipc_ring_lease(ring, &record, CIPC_NO_DEADLINE), 0);
  (void)check_words(trial, record.data, record.length);
  scene_of(trial)->ticket = record.ticket;
}

static void return_it(struct trial *trial) {
  expect(trial, "return", cipc_ring_return(ring, scene_of(trial)->ticket, CIPC_NO_DEADLINE), 0);
}

static void setup_returned(struct trial *trial) {
  setup_lease(trial);
  lease_one(trial);
  return_it(trial);
}

static void lease_two(struct trial *trial) {
  lease_one(trial);
  lease_one(trial);
}

static void setup_dead(struct trial *trial) {
  setup_lease(trial);
  trial->shared->earlier = die_after(trial, lease_two);
}

static void setup_dead_tracked(struct trial *trial) {
  make(trial, CIPC_RING_TRACKED, 4096, 0);
  put_three(trial);
  scene_of(trial)->takes = 2;
  trial->shared->earlier = die_after(trial, lease_two);
}

static void reserve_small(struct trial *trial) {
  void *payload;
  expect(trial, "reserve",
         cipc_ring_reserve(ring, SMALL * sizeof *words, &payload, CIPC_NO_DEADLINE), 0);
  memcpy(payload, filled(VICTIMS, SMALL), SMALL * sizeof *words);
}

static void setup_inherited(struct trial *trial) {
  setup_put(trial);
  trial->shared->earlier = die_after(trial, reserve_small);
}

static void setup_spsc_put(struct trial *trial) {
  make(trial, CIPC_RING_SPSC, 4096, 0);
  scene_of(trial)->puts = 1;
}

static void nothing(struct trial *trial) { (void)trial; }

// By a process that is gone, so that the role is free.
static void setup_spsc_get(struct trial *trial) {
  make(trial, CIPC_RING_SPSC, 4096, 0);
  put_three(trial);
  scene_of(trial)->takes = 1;
}

static void setup_grown(struct trial *trial) {
  make(trial, 0, 8 << 20, 0);
  put_initial(trial, LARGE);
}

static void setup_grow(struct trial *trial) {
  setup_grown(trial);
  scene_of(trial)->puts = 3;
  scene_of(trial)->survivors = SURVIVORS;
}

static void setup_leave(struct trial *trial) {
  setup_grown(trial);
  put_initial(trial, CROSSING);
  put_initial(trial, SMALL);
  scene_of(trial)->takes = 2;
}

static void get_initial(struct trial *trial) {
  size_t length;
  expect(trial, "get", cipc_ring_get(ring, words, sizeof words, &length, CIPC_IMMEDIATELY), 0);
  note(trial, words, length);
}

// Empty, and in the second tier: what was got last was not the first one there.
static void setup_back(struct trial *trial) {
  setup_grown(trial);
  put_initial(trial, CROSSING);
  put_initial(trial, SMALL);
  for (int i = 0; i < 3; i++) get_initial(trial);
  ring->busy_at = 0;
  scene_of(trial)->survivors = SURVIVORS;
}

// Empty, and with so much memory that it goes back in two steps. No producer writes to it.
static void setup_back_far(struct trial *trial) {
  make(trial, 0, 64 << 20, 0);
  void *payload;
  for (size_t length = HUGE_BYTES; length != 0; length = length == 8 ? 0 : 8) {
    expect(trial, "reserve", cipc_ring_reserve(ring, length, &payload, CIPC_IMMEDIATELY), 0);
  }
  expect(trial, "commit", cipc_ring_commit(ring), 0);
  cipc_ring_record_t record;
  for (int i = 0; i < 2; i++) {
    expect(trial, "peek", cipc_ring_peek(ring, &record, CIPC_IMMEDIATELY), 0);
    expect(trial, "release", cipc_ring_release(ring), 0);
  }
  ring->busy_at = 0;
  scene_of(trial)->survivors = SURVIVORS;
}

// MARK: What the victim does. No deadline: reading the clock takes now one way and now another.

static void know_oneself(struct trial *trial) {
  (void)trial;
  (void)cipc_participant_current();
  (void)filled(VICTIMS, SMALL);
}

static void put_forever(struct trial *trial) {
  expect(trial, "put", cipc_ring_put(ring, words, SMALL * sizeof *words, CIPC_NO_DEADLINE), 0);
}

static void put_bundle(struct trial *trial) {
  static const uint64_t own[3][SMALL] = {
      {100, 100, 100, 100, 100}, {101, 101, 101, 101, 101}, {102, 102, 102, 102, 102}};
  const cipc_ring_bytes_t records[] = {
      {own[0], sizeof own[0]}, {own[1], sizeof own[1]}, {own[2], sizeof own[2]}};
  expect(trial, "put-many", cipc_ring_put_many(ring, records, 3, CIPC_NO_DEADLINE), 3);
}

static void know_large(struct trial *trial) {
  know_oneself(trial);
  (void)filled(VICTIMS + 1, CROSSING);
}

static void put_growing(struct trial *trial) {
  static const uint64_t own[2][SMALL] = {{100, 100, 100, 100, 100}, {102, 102, 102, 102, 102}};
  const cipc_ring_bytes_t records[] = {
      {own[0], sizeof own[0]}, {words, CROSSING * sizeof *words}, {own[1], sizeof own[1]}};
  expect(trial, "put-many", cipc_ring_put_many(ring, records, 3, CIPC_NO_DEADLINE), 3);
}

static void reserve(struct trial *trial) {
  know_oneself(trial);
  reserve_small(trial);
}

static void reserve_two(struct trial *trial) {
  reserve(trial);
  void *payload;
  expect(trial, "reserve",
         cipc_ring_reserve(ring, 2 * SMALL * sizeof *words, &payload, CIPC_NO_DEADLINE), 0);
  memcpy(payload, filled(VICTIMS + 1, SMALL), SMALL * sizeof *words);
  expect(trial, "shorten", cipc_ring_shorten(ring, SMALL * sizeof *words), 0);
}

static void setup_two(struct trial *trial) {
  setup_put(trial);
  scene_of(trial)->puts = 2;
}

static void commit(struct trial *trial) { expect(trial, "commit", cipc_ring_commit(ring), 0); }

static void reserve_and_commit(struct trial *trial) {
  reserve_small(trial);
  commit(trial);
}

static void get_forever(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  size_t length;
  expect(trial, "get",
         cipc_ring_get(ring, scene->buffer, sizeof scene->buffer, &length, CIPC_NO_DEADLINE), 0);
}

static void show_two(struct trial *trial) {
  know_oneself(trial);
  cipc_ring_record_t record;
  for (int i = 0; i < 2; i++) {
    expect(trial, "peek", cipc_ring_peek(ring, &record, CIPC_NO_DEADLINE), 0);
  }
}

static void release_shown(struct trial *trial) {
  expect(trial, "release", cipc_ring_release(ring), 0);
}

static void show_and_release(struct trial *trial) {
  show_two(trial);
  release_shown(trial);
}

static void finish(struct trial *trial) {
  expect(trial, "finish", cipc_ring_finish(ring, CIPC_NO_DEADLINE), 0);
}

static void lease_first(struct trial *trial) {
  know_oneself(trial);
  lease_one(trial);
}

static void acknowledge(struct trial *trial) {
  expect(trial, "acknowledge",
         cipc_ring_acknowledge(ring, scene_of(trial)->ticket, CIPC_NO_DEADLINE), 0);
}

static void shut(struct trial *trial) {
  (void)trial;
  cipc_ring_shut(ring);
}

// As a waiter does whose slice has ended.
static void look_and_lease(struct trial *trial) {
  cipc_ring_record_t record;
  expect(trial, "lease", cipc_ring_lease_step(ring, &record, 1, NULL), 0);
}

static void look_and_join(struct trial *trial) {
  expect(trial, "join", cipc_ring_join_step(ring, 1, NULL), CIPC_EAGAIN);
}

static void get_nothing(struct trial *trial) {
  size_t length;
  expect(trial, "get", cipc_ring_get_step(ring, words, sizeof words, &length, 0, NULL),
         CIPC_EAGAIN);
}

// MARK: What is seen of it when it is stopped

static int has_put(struct trial *trial) {
  cipc_index_t tail = __atomic_load_n(&ring->control->tail, __ATOMIC_SEQ_CST);
  return cipc_index_number(tail) > scene_of(trial)->initial;
}

static int has_taken(struct trial *trial) {
  (void)trial;
  return cipc_index_number(__atomic_load_n(&ring->control->head, __ATOMIC_SEQ_CST)) != 0;
}

// What it took it has whole.
static int has_got(struct trial *trial) {
  int taken = has_taken(trial);
  if (taken) (void)check_words(trial, scene_of(trial)->buffer, sizeof scene_of(trial)->buffer);
  return taken;
}

static int has_finished(struct trial *trial) {
  (void)trial;
  return cipc_ring_is_finished(ring);
}

// The owner's word of the first record.
static uint64_t first_owner(void) { return __atomic_load_n(cipc_tiers_at(ring, 0) + 1, 5); }

static int has_leased(struct trial *trial) {
  return has_taken(trial) &&
         cipc_participant_pid((cipc_participant_t)first_owner()) == trial->shared->victim;
}

static int has_acknowledged(struct trial *trial) {
  (void)trial;
  return first_owner() == CIPC_RING_DONE;
}

static int has_returned(struct trial *trial) {
  (void)trial;
  return first_owner() == CIPC_PARTICIPANT_NOBODY;
}

static int is_back(struct trial *trial) {
  (void)trial;
  return cipc_index_tier(__atomic_load_n(&ring->control->tail, __ATOMIC_SEQ_CST)) == 0;
}

// What the kernel goes by.
static int owns(struct trial *trial, cipc_mutex_t *mutex) {
#if defined(__GLIBC__)
  int word = __atomic_load_n(&mutex->native.__data.__lock, __ATOMIC_SEQ_CST);
  return (word & 0x3fffffff) == trial->shared->victim;
#else
  (void)trial;
  (void)mutex;
  return -1;
#endif
}

static int holds_producers(struct trial *trial) { return owns(trial, &ring->control->producers); }
static int holds_consumers(struct trial *trial) { return owns(trial, &ring->control->consumers); }

// MARK: Survivors

static void went_on(struct trial *trial, int survivor) {
  trial->shared->acquired_at[survivor] = cipc_clock_now();
}

static void survive_putting(struct trial *trial, int survivor) {
  const uint64_t *own = filled(SURVIVING + (uint64_t)survivor, SMALL);
  expect(trial, "survivor: put", cipc_ring_put(ring, own, SMALL * sizeof *own, soon()), 0);
  went_on(trial, survivor);
}

static void survive_getting(struct trial *trial, int survivor) {
  size_t length;
  expect(trial, "survivor: get", cipc_ring_get(ring, words, sizeof words, &length, soon()), 0);
  went_on(trial, survivor);
  note(trial, words, length);
}

// What may not come.
static bool get_in_vain(struct trial *trial, int survivor) {
  struct scene *scene = scene_of(trial);
  size_t length;
  cipc_deadline_t deadline = cipc_clock_deadline(IN_VAIN);
  int status = cipc_ring_get(ring, words, sizeof words, &length, deadline);
  bool is_early = !__atomic_load_n(&trial->shared->killed, __ATOMIC_SEQ_CST);
  if (status == CIPC_ETIMEDOUT) {
    if (is_early) (void)__atomic_fetch_add(&scene->early, 1, __ATOMIC_SEQ_CST);
    return false;
  }
  expect(trial, "survivor: get", status, 0);
  went_on(trial, survivor);
  note(trial, words, length);
  (void)__atomic_fetch_add(&scene->lucky, 1, __ATOMIC_SEQ_CST);
  return is_early;
}

static void survive_waiting(struct trial *trial, int survivor) {
  (void)get_in_vain(trial, survivor);
}

// One alone: it waits only for the victim.
static void survive_asleep(struct trial *trial, int survivor) {
  if (survivor == 0) scene_of(trial)->was_woken = get_in_vain(trial, survivor);
}

static void judge_wait(struct trial *trial, bool is_there) {
  const struct scene *scene = scene_of(trial);
  if (is_there && scene->lucky == 0 && scene->early == 0) {
    violate(trial, "a record was there, and its waiter did not get it");
  }
}

static void judge_waiting(struct trial *trial) {
  judge(trial);
  judge_wait(trial, !trial->committed);
}

static void judge_waking(struct trial *trial) {
  const struct scene *scene = scene_of(trial);
  judge(trial);
  judge_wait(trial, trial->committed);
  if (trial->phase == RETURNED && !scene->was_woken && scene->early == 0) {
    violate(trial, "a sleeper was not woken");
  }
}

static void survive_finish(struct trial *trial, int survivor) {
  const uint64_t *own = filled(SURVIVING + (uint64_t)survivor, SMALL);
  int status = cipc_ring_put(ring, own, SMALL * sizeof *own, soon());
  if (status == CIPC_EFINISHED) {
    trial->shared->seen[survivor] = 1;
  } else {
    expect(trial, "survivor: put", status, 0);
  }
  went_on(trial, survivor);
}

static void judge_finish(struct trial *trial) {
  judge_quietly(trial);
  const struct scene *scene = scene_of(trial);
  for (int i = 0; i < SURVIVORS; i++) {
    bool refused = trial->shared->seen[i];
    if (refused != trial->committed) violate(trial, "the end was %s", refused ? "early" : "late");
    if (scene->taken[SURVIVING + (uint32_t)i] != !refused) violate(trial, "a put was lost");
  }
}

static void survive_idly(struct trial *trial, int survivor) {
  (void)trial;
  (void)survivor;
}

// The process that wants a role finds that the role has ended.
static void check_spsc_put(struct trial *trial) {
  const uint64_t *own = filled(SURVIVING, SMALL);
  scene_of(trial)->survivors = 1;
  expect(trial, "next producer", cipc_ring_put(ring, own, SMALL * sizeof *own, CIPC_IMMEDIATELY),
         0);
  check(trial);
}

static void release_put(struct trial *trial) { put_initial(trial, SMALL); }

static void release_all(struct trial *trial) {
  for (int i = 0; i < 3; i++) get_initial(trial);
}

#define CREW .fresh_survivors = true, .check = check, .judge = judge
#define LEASED .fresh_survivors = true, .check = check_done, .judge = judge_quietly
#define PUTS CREW, .prepare = know_oneself, .survive = survive_putting, .holds = holds_producers
#define GETS CREW, .prepare = know_oneself, .survive = survive_getting, .holds = holds_consumers

static const struct operation ring_operations[] = {
    {.name = "producer.put",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_put,
     .run = put_forever,
     .committed_now = has_put,
     PUTS},
    {.name = "producer.put-many",
     .states = IN(OWNS),
     .commit = RISES,
     .coarse = 3,
     .setup = setup_bundle,
     .run = put_bundle,
     .committed_now = has_put,
     PUTS},
    {.name = "producer.commit",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .commit = RISES,
     .begins_owning = true,
     .setup = setup_two,
     .prepare = reserve_two,
     .run = commit,
     .committed_now = has_put,
     .holds = holds_producers,
     .survive = survive_putting,
     CREW},
    {.name = "producer.reserve-commit",
     .states = IN(OWNS),
     .commit = RISES,
     .coarse = 3,
     .setup = setup_put,
     .run = reserve_and_commit,
     .committed_now = has_put,
     PUTS},
    {.name = "producer.inherit",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .coarse = 5,
     .setup = setup_inherited,
     .run = put_forever,
     .committed_now = has_put,
     PUTS},
    {.name = "producer.finish",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_finish,
     .prepare = know_oneself,
     .run = finish,
     .committed_now = has_finished,
     .survive = survive_finish,
     .fresh_survivors = true,
     .check = check,
     .judge = judge_finish},
    {.name = "producer.put-spsc",
     .states = IN(OWNS),
     .commit = RISES,
     .setup = setup_spsc_put,
     .prepare = know_oneself,
     .run = put_forever,
     .committed_now = has_put,
     .survive = survive_idly,
     .fresh_survivors = true,
     .check = check_spsc_put,
     .judge = judge},
    {.name = "producer.put-waking",
     .states = IN(CONTENDED) | IN(CALLS),
     .commit = RISES,
     .coarse = 11,
     .begins_owning = true,
     .setup = setup_waking,
     .prepare = know_oneself,
     .run = put_forever,
     .committed_now = has_put,
     .survive = survive_asleep,
     .fresh_survivors = true,
     .check = check,
     .judge = judge_waking},
    {.name = "consumer.get",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_get,
     .run = get_forever,
     .committed_now = has_got,
     GETS},
    {.name = "consumer.release",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .commit = RISES,
     .begins_owning = true,
     .setup = setup_show,
     .prepare = show_two,
     .run = release_shown,
     .committed_now = has_taken,
     .holds = holds_consumers,
     .survive = survive_getting,
     CREW},
    {.name = "consumer.peek-release",
     .states = IN(OWNS),
     .commit = RISES,
     .coarse = 3,
     .setup = setup_show,
     .run = show_and_release,
     .committed_now = has_taken,
     GETS},
    {.name = "consumer.get-spsc",
     .states = IN(OWNS),
     .commit = RISES,
     .setup = setup_spsc_get,
     .prepare = know_oneself,
     .run = get_forever,
     .committed_now = has_got,
     .survive = survive_idly,
     CREW},
    {.name = "backoff.put",
     .states = IN(WOKEN) | IN(BLOCKED),
     .commit = WHENEVER,
     .coarse = 5,
     .setup = setup_full,
     .hold = nothing,
     .release = release_all,
     .run = put_forever,
     PUTS},
    {.name = "backoff.get",
     .states = IN(WOKEN) | IN(BLOCKED),
     .commit = WHENEVER,
     .coarse = 17,
     .setup = setup_empty,
     .hold = nothing,
     .release = release_put,
     .prepare = know_oneself,
     .run = get_forever,
     .survive = survive_waiting,
     .fresh_survivors = true,
     .check = check,
     .judge = judge_waiting},
    {.name = "lease.take",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_lease,
     .prepare = know_oneself,
     .run = lease_one,
     .committed_now = has_leased,
     .holds = holds_consumers,
     .survive = survive_getting,
     LEASED},
    {.name = "lease.return",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_lease,
     .prepare = lease_first,
     .run = return_it,
     .committed_now = has_returned,
     .holds = holds_consumers,
     .survive = survive_getting,
     LEASED},
    {.name = "lease.acknowledge",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_acknowledge,
     .prepare = lease_first,
     .run = acknowledge,
     .committed_now = has_acknowledged,
     .holds = holds_consumers,
     .survive = survive_getting,
     .fresh_survivors = true,
     .check = check_done,
     .judge = judge},
    {.name = "lease.take-returned",
     .states = IN(OWNS),
     .commit = RISES,
     .setup = setup_returned,
     .prepare = know_oneself,
     .run = lease_one,
     .committed_now = has_leased,
     .holds = holds_consumers,
     .survive = survive_getting,
     LEASED},
    {.name = "lease.sweep",
     .states = IN(OWNS) | IN(CALLS),
     .coarse = 37,
     .setup = setup_dead,
     .prepare = know_oneself,
     .run = look_and_lease,
     .holds = holds_consumers,
     .survive = survive_idly,
     LEASED},
    {.name = "lease.sweep-tracked",
     .states = IN(OWNS),
     .coarse = 37,
     .setup = setup_dead_tracked,
     .prepare = know_oneself,
     .run = look_and_join,
     .holds = holds_consumers,
     .survive = survive_idly,
     LEASED},
    {.name = "lease.shut",
     .states = IN(OWNS) | IN(CALLS),
     .coarse = 3,
     .setup = setup_lease,
     .prepare = lease_first,
     .run = shut,
     .holds = holds_consumers,
     .survive = survive_getting,
     LEASED},
    {.name = "tiers.grow",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .coarse = 5,
     .setup = setup_grow,
     .prepare = know_large,
     .run = put_growing,
     .committed_now = has_put,
     .holds = holds_producers,
     .survive = survive_putting,
     CREW},
    {.name = "tiers.go-back",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_back,
     .prepare = know_oneself,
     .run = get_nothing,
     .committed_now = is_back,
     .survive = survive_putting,
     .fresh_survivors = true,
     .check = check,
     .judge = judge_quietly},
    {.name = "tiers.leave",
     .states = IN(OWNS),
     .commit = RISES,
     .coarse = 3,
     .begins_owning = true,
     .setup = setup_leave,
     .prepare = show_two,
     .run = release_shown,
     .committed_now = has_taken,
     .holds = holds_consumers,
     .survive = survive_idly,
     CREW},
    {.name = "tiers.give-back",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .coarse = 23,
     .setup = setup_back_far,
     .prepare = know_oneself,
     .run = get_nothing,
     .committed_now = is_back,
     .survive = survive_putting,
     .fresh_survivors = true,
     .check = check,
     .judge = judge_quietly},
};

REGISTER(ring_operations)
