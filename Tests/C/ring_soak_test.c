/* SPDX-License-Identifier: Apache-2.0 */
// Producers and consumers of rings of each kind, of which one after the other is killed and
// replaced; a ledger of sequence numbers shows what became of each record. SOAK_SECONDS=60
// (`make soak`) for the whole of it; a second otherwise.
#include <stdbool.h>

#include "child.h"
#include "cipc.h"

enum { RINGS = 3, PLACES = 16, BATCH = 4 };
#define KILL_EVERY INT64_C(20000000)
// Longer than any wait may take: far beyond the slice, since all of them share two cores.
#define BOUND INT64_C(5000000000)
// So many records a producer puts at most; a bit each.
#define RECORDS (UINT64_C(1) << 28)
#define LONGEST 2000u

struct kind {
  const char *name;
  unsigned flags;
  uint64_t capacity;
  uint32_t producers, consumers;
};

static const struct kind kinds[RINGS] = {
    // Grows and shrinks.
    {"at most once", 0, UINT64_C(8) << 20, 4, 4},
    {"leased", CIPC_RING_LEASED, UINT64_C(1) << 20, 3, 3},
    {"one to one", CIPC_RING_SPSC, UINT64_C(1) << 14, 1, 1},
};

// What one worker is at. Written by it, and looked at when it is dead.
struct worker {
  uint32_t ring;
  bool is_producer;
  cipc_deadline_t since;  // 0: in no call
  // Producers: numbers from 1, as far as they are begun and as far as they are put for certain.
  uint64_t begun, put;
  // Consumers: how many records they may have taken and not entered.
  uint64_t taking;
};

struct world {
  uint32_t stop;
  uint32_t violations;
  char violation[256];
  struct worker workers[PLACES];
  int64_t longest[RINGS][2];
  uint64_t got[RINGS];
  uint64_t again[RINGS];
};

static struct world *world;
// Of each producer: a bit for each record that was got.
static uint64_t *got[PLACES];
static cipc_ring_t *rings[RINGS];
static struct worker *me;
static uint64_t random_state;

static uint64_t random_number(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static void violate(const char *what, long long detail) {
  if (__atomic_fetch_add(&world->violations, 1, __ATOMIC_SEQ_CST) == 0) {
    (void)snprintf(world->violation, sizeof world->violation, "%s: %s (%lld)", kinds[me->ring].name,
                   what, detail);
  }
}

static void enter_call(void) { __atomic_store_n(&me->since, cipc_clock_now(), __ATOMIC_SEQ_CST); }

static void leave_call(void) {
  int64_t took = cipc_clock_now() - me->since;
  __atomic_store_n(&me->since, 0, __ATOMIC_SEQ_CST);
  int64_t *longest = &world->longest[me->ring][me->is_producer];
  int64_t before = __atomic_load_n(longest, __ATOMIC_RELAXED);
  while (took > before && !__atomic_compare_exchange_n(longest, &before, took, 0, __ATOMIC_RELAXED,
                                                       __ATOMIC_RELAXED)) {
  }
}

// Long enough, at times, for others to come and be killed.
static void dawdle(void) {
  if (random_number() % 64 == 0) (void)sched_yield();
  for (uint64_t i = random_number() % 64; i > 0; i--) __asm__ volatile("");
}

// MARK: Records

// A head, and bytes that follow from it.
struct record {
  uint64_t place;
  uint64_t number;
  unsigned char bytes[LONGEST];
};
#define HEAD offsetof(struct record, bytes)

static size_t length_of(uint64_t number) {
  return HEAD + number * 37 % (number % 32 == 0 ? LONGEST : 64);
}

static size_t make_record(struct record *record, uint64_t number) {
  record->place = (uint64_t)(me - world->workers);
  record->number = number;
  size_t length = length_of(number);
  memset(record->bytes, (int)(number % 251), length - HEAD);
  return length;
}

// Of the kinds that give each record once, and in the order of its producer.
static uint64_t last_seen[PLACES];

// Enters a record in the ledger; `is_again`: it may have been got before.
static void enter_record(const void *data, size_t length, bool is_leased, uint32_t deliveries) {
  const struct record *record = data;
  if (length < HEAD || record->place >= PLACES || record->number >= RECORDS ||
      length != length_of(record->number)) {
    violate("a record of nobody's", (long long)length);
    return;
  }
  for (size_t i = 0; i < length - HEAD; i++) {
    if (record->bytes[i] != record->number % 251) violate("torn", (long long)record->number);
  }
  if (!is_leased && record->number <= last_seen[record->place]) {
    violate("out of order", (long long)record->number);
  }
  last_seen[record->place] = record->number;
  uint64_t bit = UINT64_C(1) << record->number % 64;
  uint64_t before =
      __atomic_fetch_or(&got[record->place][record->number / 64], bit, __ATOMIC_SEQ_CST);
  (void)__atomic_fetch_add(&world->got[me->ring], 1, __ATOMIC_RELAXED);
  if ((before & bit) == 0) return;
  if (deliveries < 2) violate("got twice", (long long)record->number);
  (void)__atomic_fetch_add(&world->again[me->ring], 1, __ATOMIC_RELAXED);
}

// MARK: Producers

static int put_in_place(cipc_ring_t *ring, const struct record *record, size_t length) {
  void *payload;
  int status = cipc_ring_reserve(ring, length, &payload, cipc_clock_deadline(BOUND));
  if (status < 0) return status;
  memcpy(payload, record, length);
  dawdle();
  status = cipc_ring_commit(ring);
  return status < 0 ? status : 1;
}

static void keep_putting(cipc_ring_t *ring) {
  static struct record records[BATCH];
  cipc_ring_bytes_t bytes[BATCH];
  while (!__atomic_load_n(&world->stop, __ATOMIC_SEQ_CST) && me->begun + BATCH < RECORDS) {
    uint64_t count = random_number() % 4 == 0 ? BATCH : 1;
    for (uint64_t i = 0; i < count; i++) {
      bytes[i] = (cipc_ring_bytes_t){.data = &records[i],
                                     .length = make_record(&records[i], me->put + 1 + i)};
    }
    __atomic_store_n(&me->begun, me->put + count, __ATOMIC_SEQ_CST);
    enter_call();
    int status = count > 1 || random_number() % 2
                     ? cipc_ring_put_many(ring, bytes, count, cipc_clock_deadline(BOUND))
                     : put_in_place(ring, &records[0], bytes[0].length);
    leave_call();
    if (status <= 0) violate("put", status);
    if (status <= 0) return;
    __atomic_store_n(&me->put, me->put + (uint64_t)status, __ATOMIC_SEQ_CST);
    __atomic_store_n(&me->begun, me->put, __ATOMIC_SEQ_CST);
    dawdle();
  }
}

// MARK: Consumers

static int get_copied(cipc_ring_t *ring) {
  static struct record record;
  size_t length;
  __atomic_store_n(&me->taking, 1, __ATOMIC_SEQ_CST);
  int status = cipc_ring_get(ring, &record, sizeof record, &length, cipc_clock_deadline(BOUND));
  if (status == 0) enter_record(&record, length, false, 1);
  return status;
}

static int get_in_place(cipc_ring_t *ring) {
  static struct record copies[BATCH];
  cipc_ring_record_t record;
  __atomic_store_n(&me->taking, BATCH, __ATOMIC_SEQ_CST);
  int status = cipc_ring_peek(ring, &record, cipc_clock_deadline(BOUND));
  if (status < 0) return status;
  size_t lengths[BATCH];
  uint64_t count = 0;
  do {
    lengths[count] = record.length < sizeof *copies ? record.length : sizeof *copies;
    memcpy(&copies[count], record.data, lengths[count]);
    count++;
  } while (count < BATCH && cipc_ring_peek(ring, &record, CIPC_IMMEDIATELY) == 0);
  dawdle();
  if (random_number() % 16 == 0) return cipc_ring_restore(ring);
  status = cipc_ring_release(ring);
  for (uint64_t i = 0; i < count; i++) enter_record(&copies[i], lengths[i], false, 1);
  return status;
}

static int get_leased(cipc_ring_t *ring) {
  cipc_ring_record_t record;
  int status = cipc_ring_lease(ring, &record, cipc_clock_deadline(BOUND));
  if (status < 0) return status;
  dawdle();
  cipc_deadline_t deadline = cipc_clock_deadline(BOUND);
  if (random_number() % 64 == 0) return cipc_ring_return(ring, record.ticket, deadline);
  enter_record(record.data, record.length, true, record.deliveries);
  return cipc_ring_acknowledge(ring, record.ticket, deadline);
}

static void keep_getting(cipc_ring_t *ring) {
  bool is_leased = kinds[me->ring].flags & CIPC_RING_LEASED;
  for (;;) {
    enter_call();
    int status = is_leased                  ? get_leased(ring)
                 : random_number() % 4 == 0 ? get_in_place(ring)
                                            : get_copied(ring);
    leave_call();
    if (status == CIPC_EFINISHED) return;
    if (status < 0) violate("get", status);
    if (status < 0) return;
    __atomic_store_n(&me->taking, 0, __ATOMIC_SEQ_CST);
    // At times no consumer gets anything for a while, and the ring grows.
    if (random_number() % 65536 == 0) (void)usleep(20000);
    dawdle();
  }
}

// MARK: The soak

static void keep_working(void *worker) {
  me = worker;
  random_state = cipc_participant_self() * UINT64_C(0x9e3779b97f4a7c15) + 1;
  if (me->is_producer) {
    keep_putting(rings[me->ring]);
  } else {
    keep_getting(rings[me->ring]);
  }
  __atomic_store_n(&me->taking, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&me->since, 0, __ATOMIC_SEQ_CST);
}

static void make_world(void) {
  world = child_shared(sizeof *world);
  uint32_t place = 0;
  for (uint32_t i = 0; i < RINGS; i++) {
    const cipc_ring_options_t options = {.flags = kinds[i].flags, .capacity = kinds[i].capacity};
    CHECK_EQUAL(cipc_ring_create(&rings[i], &options), 0);
    for (uint32_t j = 0; j < kinds[i].producers + kinds[i].consumers; j++, place++) {
      world->workers[place].ring = i;
      world->workers[place].is_producer = j < kinds[i].producers;
      if (j < kinds[i].producers) got[place] = child_shared(RECORDS / 8);
    }
  }
  CHECK_EQUAL(place, PLACES);
}

// Records of a producer that are neither got nor among those that it may not have put. `doubtful`
// has a bit for each of the latter.
static uint64_t missing_of(uint32_t place, const uint64_t *doubtful) {
  uint64_t missing = 0;
  for (uint64_t number = 1; number <= world->workers[place].put; number++) {
    uint64_t bit = UINT64_C(1) << number % 64;
    missing += ((got[place][number / 64] | doubtful[number / 64]) & bit) == 0;
  }
  return missing;
}

static void nothing_is_lost_or_doubled_while_processes_are_killed(void) {
  const char *seconds = getenv("SOAK_SECONDS");
  cipc_deadline_t end =
      cipc_clock_deadline((seconds != NULL ? atoll(seconds) : 1) * INT64_C(1000000000));
  make_world();
  me = &world->workers[0];
  random_state = (uint64_t)cipc_clock_now();
  pid_t workers[PLACES];
  uint64_t *doubtful[PLACES] = {NULL};
  // How many records the dead consumers of a ring may have taken with them.
  uint64_t taken[RINGS] = {0};
  int killed[RINGS] = {0};
  for (uint32_t place = 0; place < PLACES; place++) {
    if (world->workers[place].is_producer) {
      doubtful[place] = calloc(RECORDS / 64, sizeof *doubtful[place]);
      CHECK(doubtful[place] != NULL);
    }
    workers[place] = child_start(keep_working, &world->workers[place]);
  }
  while (cipc_clock_now() < end && world->violations == 0) {
    // How long a victim lives is the trial itself; nothing is waited for here.
    struct timespec pause = {.tv_sec = 0, .tv_nsec = KILL_EVERY};
    (void)nanosleep(&pause, NULL);
    uint32_t place = (uint32_t)(random_number() % PLACES);
    struct worker *worker = &world->workers[place];
    child_kill(workers[place]);
    killed[worker->ring]++;
    taken[worker->ring] += worker->taking;
    for (uint64_t number = worker->put + 1; number <= worker->begun; number++) {
      doubtful[place][number / 64] |= UINT64_C(1) << number % 64;
    }
    // The next one does not use these numbers again.
    worker->put = worker->begun;
    worker->taking = 0;
    worker->since = 0;
    workers[place] = child_start(keep_working, worker);
    for (uint32_t i = 0; i < PLACES; i++) {
      cipc_deadline_t since = __atomic_load_n(&world->workers[i].since, __ATOMIC_SEQ_CST);
      me = &world->workers[i];
      if (since != 0 && cipc_clock_now() - since > 2 * BOUND) violate("waits for too long", i);
    }
    (void)alarm(CHECK_TEST_SECONDS);
  }
  __atomic_store_n(&world->stop, 1, __ATOMIC_SEQ_CST);
  for (uint32_t place = 0; place < PLACES; place++) {
    me = &world->workers[place];
    if (!me->is_producer) continue;
    int ended = child_join(workers[place]);
    if (ended != 0) violate("a producer died of itself", ended);
  }
  for (uint32_t i = 0; i < RINGS; i++) {
    CHECK_EQUAL(cipc_ring_finish(rings[i], cipc_clock_deadline(BOUND)), 0);
  }
  for (uint32_t place = 0; place < PLACES; place++) {
    me = &world->workers[place];
    if (me->is_producer) continue;
    int ended = child_join(workers[place]);
    if (ended != 0) violate("a consumer died of itself", ended);
  }
  (void)printf("  %-13s %7s %10s %10s %8s %8s %8s %9s\n", "", "killed", "put", "got", "again",
               "missing", "allowed", "worst ms");
  for (uint32_t i = 0; i < RINGS; i++) {
    uint64_t put = 0, missing = 0;
    for (uint32_t place = 0; place < PLACES; place++) {
      if (!world->workers[place].is_producer || world->workers[place].ring != i) continue;
      put += world->workers[place].put;
      missing += missing_of(place, doubtful[place]);
    }
    int64_t *longest = world->longest[i];
    (void)printf("  %-13s %7d %10llu %10llu %8llu %8llu %8llu %9lld\n", kinds[i].name, killed[i],
                 (unsigned long long)put, (unsigned long long)world->got[i],
                 (unsigned long long)world->again[i], (unsigned long long)missing,
                 (unsigned long long)taken[i],
                 (long long)((longest[0] > longest[1] ? longest[0] : longest[1]) / 1000000));
    me = &world->workers[0];
    CHECK(put > 0 && world->got[i] > 0);
    CHECK(missing <= (kinds[i].flags & CIPC_RING_LEASED ? 0 : taken[i]));
    cipc_ring_fill_t fill = cipc_ring_fill(rings[i]);
    CHECK_EQUAL(fill.unfinished, 0);
    CHECK_EQUAL(fill.bytes, 0);
  }
  if (world->violations != 0) {
    (void)printf("  %u violations, the first: %s\n", world->violations, world->violation);
  }
  CHECK_EQUAL(world->violations, 0);
  for (uint32_t i = 0; i < RINGS; i++) cipc_ring_close(rings[i]);
  for (uint32_t place = 0; place < PLACES; place++) free(doubtful[place]);
}

int main(void) {
  TEST(nothing_is_lost_or_doubled_while_processes_are_killed);
  return check_finish();
}
