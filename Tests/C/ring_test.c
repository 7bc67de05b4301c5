/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/ring.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "child.h"
#include "ring/tiers.h"
#include "segment/participants.h"
#include "wait/wait.h"

#define MILLISECOND INT64_C(1000000)
#define SECOND (1000 * MILLISECOND)

static cipc_deadline_t soon(void) { return cipc_clock_deadline(CHILD_PATIENCE); }

static cipc_ring_t *make(unsigned flags, uint64_t capacity, uint64_t records) {
  cipc_ring_t *ring = NULL;
  const cipc_ring_options_t options = {.flags = flags, .capacity = capacity, .records = records};
  CHECK_EQUAL(cipc_ring_create(&ring, &options), 0);
  return ring;
}

static int descriptor_of(const cipc_ring_t *ring) {
  return cipc_segment_descriptor(cipc_ring_segment(ring));
}

// Another hold of this process on the same ring.
static cipc_ring_t *reopen(const cipc_ring_t *ring) {
  cipc_ring_t *again = NULL;
  int descriptor = dup(descriptor_of(ring));
  CHECK(descriptor >= 0);
  CHECK_EQUAL(cipc_ring_open(&again, descriptor, &(cipc_ring_options_t){.flags = ring->flags}), 0);
  return again;
}

static int put_number(cipc_ring_t *ring, uint64_t number) {
  return cipc_ring_put(ring, &number, sizeof number, CIPC_IMMEDIATELY);
}

static uint64_t get_number(cipc_ring_t *ring, cipc_deadline_t deadline) {
  uint64_t number = 0;
  size_t length = 0;
  CHECK_EQUAL(cipc_ring_get(ring, &number, sizeof number, &length, deadline), 0);
  CHECK_EQUAL(length, sizeof number);
  return number;
}

static int get_number_status(cipc_ring_t *ring, cipc_deadline_t deadline) {
  uint64_t number;
  size_t length;
  return cipc_ring_get(ring, &number, sizeof number, &length, deadline);
}

static int try_get(cipc_ring_t *ring) {
  uint64_t number;
  size_t length;
  return cipc_ring_get(ring, &number, sizeof number, &length, CIPC_IMMEDIATELY);
}

// Bytes of memory that a ring has.
static int64_t memory_of(const cipc_ring_t *ring) {
  struct stat status;
  CHECK_EQUAL(fstat(descriptor_of(ring), &status), 0);
  return (int64_t)status.st_blocks * 512;
}

static unsigned char byte_at(uint64_t record, size_t offset) {
  return (unsigned char)(record * 31 + offset * 7 + offset / 251);
}

static void fill(unsigned char *buffer, uint64_t record, size_t length) {
  for (size_t i = 0; i < length; i++) buffer[i] = byte_at(record, i);
}

static void check_filled(const unsigned char *buffer, uint64_t record, size_t length) {
  for (size_t i = 0; i < length; i++) CHECK(buffer[i] == byte_at(record, i));
}

// The kinds that take records with `cipc_ring_get`.
static const unsigned kinds[] = {0, CIPC_RING_SPSC, CIPC_RING_LEASED, CIPC_RING_TRACKED};
#define KINDS (sizeof kinds / sizeof *kinds)

// MARK: Putting and getting

static void records_come_in_order(void) {
  for (size_t kind = 0; kind < KINDS; kind++) {
    cipc_ring_t *ring = make(kinds[kind], 0, 0);
    for (uint64_t i = 0; i < 1000; i++) CHECK_EQUAL(put_number(ring, i), 0);
    CHECK_EQUAL(cipc_ring_fill(ring).records, 1000);
    CHECK_EQUAL(cipc_ring_fill(ring).unfinished, 1000);
    CHECK_EQUAL(cipc_ring_fill(ring).bytes, 1000 * (8 + 8 * ring->header));
    for (uint64_t i = 0; i < 1000; i++) CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), i);
    CHECK_EQUAL(try_get(ring), CIPC_ETIMEDOUT);
    CHECK_EQUAL(cipc_ring_fill(ring).bytes, 0);
    cipc_ring_close(ring);
  }
}

static void lengths_are_kept(void) {
  static unsigned char sent[70000], received[70000];
  cipc_ring_t *ring = make(0, 0, 0);
  static const size_t lengths[] = {0, 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 65535, 65536, 70000};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    fill(sent, i, lengths[i]);
    CHECK_EQUAL(cipc_ring_put(ring, sent, lengths[i], CIPC_IMMEDIATELY), 0);
  }
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    size_t length = 0;
    if (lengths[i] > 0) {
      CHECK_EQUAL(cipc_ring_get(ring, received, lengths[i] - 1, &length, 0), CIPC_EMSGSIZE);
      CHECK_EQUAL(length, lengths[i]);
    }
    CHECK_EQUAL(cipc_ring_get(ring, received, sizeof received, &length, 0), 0);
    CHECK_EQUAL(length, lengths[i]);
    check_filled(received, i, length);
  }
  cipc_ring_close(ring);
}

// A pseudo-random sequence, the same each time.
static uint64_t draw(uint64_t *state) {
  *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return *state >> 33;
}

// Against a model: what was put, in order, and how much of it is still there.
static void mixed_with(unsigned flags, uint64_t capacity, uint64_t records, size_t longest) {
  // As many as keep a sanitizer within seconds.
  int rounds = longest < 1000 ? 60 : longest < 50000 ? 12 : 4;
  unsigned char *buffer = malloc(longest + 1);
  CHECK(buffer != NULL);
  static size_t lengths[1 << 20];
  uint64_t put = 0, got = 0, state = 12345 + capacity + flags;
  cipc_ring_t *ring = make(flags, capacity, records);
  cipc_ring_t *other = flags & CIPC_RING_SPSC ? ring : reopen(ring);
  for (int round = 0; round < rounds; round++) {
    // Now many are put, now many are got.
    uint64_t bias = draw(&state) % 100;
    for (int i = 0; i < 400; i++) {
      cipc_ring_t *either = draw(&state) % 2 ? ring : other;
      if (draw(&state) % 100 < bias) {
        size_t length = draw(&state) % (draw(&state) % 8 == 0 ? longest + 1 : longest / 16 + 1);
        fill(buffer, put, length);
        int status = cipc_ring_put(either, buffer, length, CIPC_IMMEDIATELY);
        if (status == 0) lengths[put++ % (1 << 20)] = length;
        if (status != 0) CHECK_EQUAL(status, CIPC_ETIMEDOUT);
        if (status != 0) CHECK(got < put);
      } else {
        size_t length = 0;
        int status = cipc_ring_get(either, buffer, longest, &length, CIPC_IMMEDIATELY);
        CHECK_EQUAL(status, got < put ? 0 : CIPC_ETIMEDOUT);
        if (status != 0) continue;
        CHECK_EQUAL(length, lengths[got % (1 << 20)]);
        check_filled(buffer, got++, length);
      }
      CHECK_EQUAL(cipc_ring_fill(ring).records, put - got);
      CHECK(cipc_ring_fill(ring).bytes <= cipc_ring_capacity(ring));
      if (records != 0) CHECK(put - got <= records);
    }
  }
  CHECK(got > 50);
  if (other != ring) cipc_ring_close(other);
  cipc_ring_close(ring);
  free(buffer);
}

static void any_mix_of_puts_and_gets(void) {
  for (size_t kind = 0; kind < KINDS; kind++) {
    mixed_with(kinds[kind], 4096, 0, 300);
    mixed_with(kinds[kind], 65536, 0, 30000);
    mixed_with(kinds[kind], 1000, 0, 900);
    if (kinds[kind] & CIPC_RING_SPSC) continue;
    mixed_with(kinds[kind], 0, 0, 40000);
    mixed_with(kinds[kind], 0, 7, 40000);
    mixed_with(kinds[kind], 8 << 20, 0, 500000);
  }
}

static void positions_go_round_many_times(void) {
  for (size_t kind = 0; kind < KINDS; kind++) {
    cipc_ring_t *ring = make(kinds[kind], 4096, 0);
    for (uint64_t i = 0; i < 300000; i++) {
      CHECK_EQUAL(put_number(ring, i), 0);
      CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), i);
    }
    cipc_ring_close(ring);
  }
}

static void a_bound_in_records_holds(void) {
  for (size_t kind = 0; kind < KINDS; kind++) {
    cipc_ring_t *ring = make(kinds[kind], kinds[kind] & CIPC_RING_SPSC ? 4096 : 0, 3);
    CHECK_EQUAL(cipc_ring_records(ring), 3);
    for (uint64_t i = 0; i < 3; i++) CHECK_EQUAL(put_number(ring, i), 0);
    CHECK_EQUAL(put_number(ring, 3), CIPC_ETIMEDOUT);
    CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), 0);
    CHECK_EQUAL(put_number(ring, 3), 0);
    CHECK_EQUAL(put_number(ring, 4), CIPC_ETIMEDOUT);
    cipc_ring_close(ring);
  }
}

static void a_bound_in_bytes_holds(void) {
  // Neither a power of two nor a page.
  cipc_ring_t *ring = make(0, 1000, 0);
  CHECK_EQUAL(cipc_ring_capacity(ring), 1000);
  CHECK_EQUAL(cipc_ring_record_maximum(ring), 992);
  char bytes[1000] = {0};
  CHECK_EQUAL(cipc_ring_put(ring, bytes, 993, CIPC_NO_DEADLINE), CIPC_ECAPACITY);
  CHECK_EQUAL(cipc_ring_put(ring, bytes, 992, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(cipc_ring_put(ring, bytes, 0, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  size_t length;
  CHECK_EQUAL(cipc_ring_get(ring, bytes, sizeof bytes, &length, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(length, 992);
  for (int i = 0; i < 125; i++) CHECK_EQUAL(cipc_ring_put(ring, bytes, 0, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(cipc_ring_put(ring, bytes, 0, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  cipc_ring_close(ring);
}

static void several_records_in_one_commit(void) {
  for (size_t kind = 0; kind < 2; kind++) {
    cipc_ring_t *ring = make(kinds[kind], 4096, 0);
    for (uint64_t i = 0; i < 10; i++) {
      void *payload;
      CHECK_EQUAL(cipc_ring_reserve(ring, sizeof i, &payload, CIPC_IMMEDIATELY), 0);
      memcpy(payload, &i, sizeof i);
      CHECK_EQUAL(cipc_ring_fill(ring).records, 0);
    }
    CHECK_EQUAL(put_number(ring, 10), CIPC_EDEADLK);
    CHECK_EQUAL(cipc_ring_commit(ring), 0);
    CHECK_EQUAL(cipc_ring_commit(ring), CIPC_EPERM);
    CHECK_EQUAL(cipc_ring_fill(ring).records, 10);
    cipc_ring_record_t record;
    for (uint64_t i = 0; i < 10; i++) {
      CHECK_EQUAL(cipc_ring_peek(ring, &record, CIPC_IMMEDIATELY), 0);
      CHECK_EQUAL(record.length, sizeof i);
      CHECK(memcmp(record.data, &i, sizeof i) == 0);
    }
    CHECK_EQUAL(cipc_ring_peek(ring, &record, CIPC_NO_DEADLINE), CIPC_EAGAIN);
    CHECK_EQUAL(cipc_ring_restore(ring), 0);
    CHECK_EQUAL(cipc_ring_restore(ring), CIPC_EPERM);
    CHECK_EQUAL(cipc_ring_fill(ring).records, 10);
    CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), 0);
    CHECK_EQUAL(cipc_ring_peek(ring, &record, CIPC_IMMEDIATELY), 0);
    CHECK_EQUAL(cipc_ring_peek(ring, &record, CIPC_IMMEDIATELY), 0);
    CHECK_EQUAL(cipc_ring_release(ring), 0);
    CHECK_EQUAL(cipc_ring_release(ring), CIPC_EPERM);
    CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), 3);
    cipc_ring_close(ring);
  }
}

static void a_reservation_can_shrink_or_be_given_up(void) {
  for (size_t kind = 0; kind < KINDS; kind++) {
    cipc_ring_t *ring = make(kinds[kind], 4096, 0);
    void *payload;
    CHECK_EQUAL(cipc_ring_shorten(ring, 0), CIPC_EPERM);
    CHECK_EQUAL(cipc_ring_reserve(ring, 1000, &payload, CIPC_IMMEDIATELY), 0);
    CHECK_EQUAL(cipc_ring_cancel(ring), 0);
    CHECK_EQUAL(cipc_ring_cancel(ring), CIPC_EPERM);
    CHECK_EQUAL(cipc_ring_fill(ring).records, 0);
    CHECK_EQUAL(cipc_ring_reserve(ring, 1000, &payload, CIPC_IMMEDIATELY), 0);
    CHECK_EQUAL(cipc_ring_shorten(ring, 1001), CIPC_EINVAL);
    uint64_t number = 77;
    memcpy(payload, &number, sizeof number);
    CHECK_EQUAL(cipc_ring_shorten(ring, sizeof number), 0);
    CHECK_EQUAL(cipc_ring_shorten(ring, 9), CIPC_EINVAL);
    CHECK_EQUAL(cipc_ring_commit(ring), 0);
    CHECK_EQUAL(cipc_ring_fill(ring).bytes, 8 + 8 * ring->header);
    CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), 77);
    cipc_ring_close(ring);
  }
}

static void a_bundle_is_put_as_far_as_it_fits(void) {
  cipc_ring_t *ring = make(0, 0, 5);
  uint64_t numbers[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  cipc_ring_bytes_t records[8];
  for (int i = 0; i < 8; i++) {
    records[i] = (cipc_ring_bytes_t){.data = &numbers[i], .length = sizeof numbers[i]};
  }
  CHECK_EQUAL(cipc_ring_put_many(ring, records, 0, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(cipc_ring_put_many(ring, records, 8, CIPC_IMMEDIATELY), 5);
  CHECK_EQUAL(cipc_ring_put_many(ring, records + 5, 3, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  for (uint64_t i = 0; i < 4; i++) CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), i);
  CHECK_EQUAL(cipc_ring_put_many(ring, records + 5, 3, CIPC_IMMEDIATELY), 3);
  for (uint64_t i = 4; i < 8; i++) CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), i);
  cipc_ring_close(ring);
}

static void the_end_comes_behind_what_is_there(void) {
  for (size_t kind = 0; kind < KINDS; kind++) {
    cipc_ring_t *ring = make(kinds[kind], 4096, 0);
    CHECK_EQUAL(put_number(ring, 1), 0);
    CHECK_EQUAL(cipc_ring_is_finished(ring), 0);
    CHECK_EQUAL(cipc_ring_finish(ring, CIPC_IMMEDIATELY), 0);
    CHECK_EQUAL(cipc_ring_finish(ring, CIPC_IMMEDIATELY), 0);
    CHECK_EQUAL(cipc_ring_is_finished(ring), 1);
    CHECK_EQUAL(put_number(ring, 2), CIPC_EFINISHED);
    CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), 1);
    CHECK_EQUAL(try_get(ring), CIPC_EFINISHED);
    cipc_ring_close(ring);
  }
}

// MARK: Memory

static void memory_is_given_and_returned(void) {
  cipc_ring_t *ring = make(0, 0, 0);
  CHECK_EQUAL(cipc_ring_capacity(ring), 1 << 30);
  int64_t before = memory_of(ring);
  CHECK(before <= 100000);
  static char block[1 << 20];
  for (int i = 0; i < 100; i++) CHECK_EQUAL(cipc_ring_put(ring, block, sizeof block, 0), 0);
  CHECK(memory_of(ring) >= 100 << 20);
  CHECK(memory_of(ring) <= 140 << 20);
  for (int i = 0; i < 100; i++) {
    size_t length;
    CHECK_EQUAL(cipc_ring_get(ring, block, sizeof block, &length, 0), 0);
  }
  // Some of it each time that nothing is found, once it has not been needed for a while.
  for (int i = 0; i < 20; i++) {
    ring->busy_at = 0;
    CHECK_EQUAL(try_get(ring), CIPC_ETIMEDOUT);
  }
  CHECK_EQUAL(memory_of(ring), before);
  // And it goes on as before.
  for (uint64_t i = 0; i < 100000; i++) {
    CHECK_EQUAL(put_number(ring, i), 0);
    CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), i);
  }
  CHECK_EQUAL(memory_of(ring), before);
  cipc_ring_close(ring);
}

// What comes next may need it as well.
static void memory_stays_for_a_while(void) {
  cipc_ring_t *ring = make(0, 0, 0);
  static char block[1 << 20];
  size_t length;
  int64_t most = 0;
  for (int i = 0; i < 200; i++) {
    CHECK_EQUAL(cipc_ring_put(ring, block, sizeof block, 0), 0);
    // However long it took to come here.
    ring->busy_at = cipc_clock_now();
    if (i == 100) most = memory_of(ring);
    CHECK(most == 0 || memory_of(ring) == most);
    CHECK_EQUAL(cipc_ring_get(ring, block, sizeof block, &length, 0), 0);
    ring->busy_at = cipc_clock_now();
    CHECK_EQUAL(try_get(ring), CIPC_ETIMEDOUT);
  }
  cipc_ring_close(ring);
}

// A little always waits, so the ring is never empty; it must leave the large tiers nevertheless.
static void a_short_queue_returns_to_little_memory(void) {
  cipc_ring_t *ring = make(0, 0, 0);
  int64_t before = memory_of(ring);
  static char block[1 << 20];
  size_t length;
  for (int i = 0; i < 40; i++) CHECK_EQUAL(cipc_ring_put(ring, block, sizeof block, 0), 0);
  CHECK_EQUAL(put_number(ring, 0), 0);
  for (int i = 0; i < 40; i++) {
    CHECK_EQUAL(cipc_ring_get(ring, block, sizeof block, &length, 0), 0);
  }
  for (uint64_t i = 1; i < 20000; i++) {
    CHECK_EQUAL(put_number(ring, i), 0);
    ring->busy_at = 0;
    CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), i - 1);
  }
  CHECK_EQUAL(memory_of(ring), before);
  CHECK_EQUAL(cipc_index_tier(ring->control->tail), 0);
  cipc_ring_close(ring);
}

static void one_record_can_take_the_whole_capacity(void) {
  cipc_ring_t *ring = make(0, 32 << 20, 0);
  size_t most = cipc_ring_record_maximum(ring), length;
  unsigned char *block = calloc(1, most + 1);
  CHECK(block != NULL);
  CHECK_EQUAL(cipc_ring_put(ring, block, most + 1, CIPC_NO_DEADLINE), CIPC_ECAPACITY);
  for (int i = 0; i < 3; i++) {
    CHECK_EQUAL(put_number(ring, 5), 0);
    CHECK_EQUAL(cipc_ring_put(ring, block, most, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
    CHECK_EQUAL(get_number(ring, CIPC_IMMEDIATELY), 5);
    block[most - 1] = (unsigned char)i;
    CHECK_EQUAL(cipc_ring_put(ring, block, most, CIPC_IMMEDIATELY), 0);
    block[most - 1] = 99;
    CHECK_EQUAL(cipc_ring_get(ring, block, most, &length, CIPC_IMMEDIATELY), 0);
    CHECK_EQUAL(block[most - 1], i);
  }
  free(block);
  cipc_ring_close(ring);
}

// What holds up the head is in a large tier, and everything else behind it.
static void the_capacity_is_there_wherever_the_head_is(void) {
  const uint64_t capacity = 64 << 20;
  cipc_ring_t *ring = make(0, capacity, 0);
  static char block[1 << 20];
  size_t length;
  for (int i = 0; i < 60; i++) CHECK_EQUAL(cipc_ring_put(ring, block, sizeof block, 0), 0);
  for (int i = 0; i < 59; i++) {
    CHECK_EQUAL(cipc_ring_get(ring, block, sizeof block, &length, 0), 0);
  }
  for (int round = 0; round < 3; round++) {
    while (cipc_ring_put(ring, block, sizeof block, 0) == 0) {
    }
    CHECK(cipc_ring_fill(ring).bytes + sizeof block + 8 > capacity);
    while (cipc_ring_fill(ring).records > 1) {
      CHECK_EQUAL(cipc_ring_get(ring, block, sizeof block, &length, 0), 0);
    }
  }
  cipc_ring_close(ring);
}

// MARK: Opening

static void others_open_it_by_descriptor_and_name(void) {
  cipc_ring_t *ring = make(0, 4096, 0);
  cipc_ring_t *again = reopen(ring);
  CHECK_EQUAL(put_number(ring, 4), 0);
  CHECK_EQUAL(get_number(again, CIPC_IMMEDIATELY), 4);
  CHECK_EQUAL(cipc_ring_capacity(again), 4096);
  cipc_ring_close(again);
  cipc_ring_close(ring);

  char name[64];
  (void)snprintf(name, sizeof name, "/cipc-ring-test-%d", (int)getpid());
  const cipc_ring_options_t options = {.capacity = 1 << 21, .fingerprint = 5};
  CHECK_EQUAL(cipc_ring_open_named(&ring, name, &options), CIPC_ENOENT);
  CHECK_EQUAL(cipc_ring_open_or_create(&ring, name, &options), CIPC_SEGMENT_CREATED);
  cipc_ring_options_t other = {.capacity = 1 << 24, .fingerprint = 5};
  CHECK_EQUAL(cipc_ring_open_or_create(&again, name, &other), 0);
  CHECK_EQUAL(cipc_ring_capacity(again), 1 << 21);
  CHECK_EQUAL(put_number(ring, 4), 0);
  CHECK_EQUAL(get_number(again, CIPC_IMMEDIATELY), 4);
  cipc_ring_close(again);
  other.fingerprint = 6;
  CHECK_EQUAL(cipc_ring_open_named(&again, name, &other), CIPC_ESEGMENTTYPE);
  const cipc_segment_claim_t claim = cipc_segment_claim(cipc_ring_segment(ring));
  CHECK_EQUAL(cipc_segment_withdraw(&claim), 0);
  cipc_ring_close(ring);
}

static void what_does_not_fit_is_refused(void) {
  cipc_ring_t *ring = NULL;
  static const cipc_ring_options_t bad[] = {
      {.flags = 8},
      {.flags = CIPC_RING_LEASED | CIPC_RING_TRACKED},
      {.flags = CIPC_RING_LEASED | CIPC_RING_SPSC},
      {.capacity = 63},
      {.capacity = CIPC_RING_CAPACITY_MAXIMUM + 1},
      {.records = CIPC_RING_RECORDS_MAXIMUM + 1},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    CHECK_EQUAL(cipc_ring_create(&ring, &bad[i]), CIPC_EINVAL);
  }
  ring = make(0, 4096, 0);
  cipc_ring_t *again = NULL;
  const cipc_ring_options_t spsc = {.flags = CIPC_RING_SPSC};
  CHECK_EQUAL(cipc_ring_open(&again, descriptor_of(ring), &spsc), CIPC_ERINGHEADER);
  CHECK_EQUAL(cipc_ring_lease(ring, &(cipc_ring_record_t){0}, 0), CIPC_EOPNOTSUPP);
  CHECK_EQUAL(cipc_ring_join(ring, 0), CIPC_EOPNOTSUPP);
  CHECK_EQUAL(cipc_ring_acknowledge_first(ring, 0), CIPC_EOPNOTSUPP);
  cipc_ring_close(ring);
  ring = make(CIPC_RING_LEASED, 4096, 0);
  CHECK_EQUAL(cipc_ring_peek(ring, &(cipc_ring_record_t){0}, 0), CIPC_EOPNOTSUPP);
  cipc_ring_close(ring);
  cipc_ring_close(NULL);

  // Headers that claim other than what the segment has.
  ring = make(0, 4096, 0);
  ring->control->capacity = 1 << 20;
  CHECK_EQUAL(cipc_ring_open(&again, descriptor_of(ring), NULL), CIPC_ERINGHEADER);
  ring->control->capacity = 0;
  CHECK_EQUAL(cipc_ring_open(&again, descriptor_of(ring), NULL), CIPC_ERINGHEADER);
  ring->control->capacity = 4096;
  ring->control->flags = 99;
  CHECK_EQUAL(cipc_ring_open(&again, descriptor_of(ring), NULL), CIPC_ERINGHEADER);
  cipc_ring_close(ring);
}

static void nothing_is_left_of_a_closed_ring(void) {
  int before = child_descriptors();
  for (int i = 0; i < 200; i++) {
    cipc_ring_t *ring = make(kinds[(size_t)i % KINDS], 0, 0);
    cipc_ring_t *again = reopen(ring);
    CHECK_EQUAL(put_number(ring, 1), 0);
    cipc_ring_close(ring);
    cipc_ring_close(again);
  }
  CHECK_EQUAL(child_descriptors(), before);
}

// MARK: Waiting

typedef struct arena {
  uint32_t gate;
  uint32_t gate2;
  uint64_t sum;
  uint64_t count;
} arena_t;

static cipc_ring_t *shared_ring;
static arena_t *arena;

static void begin(unsigned flags, uint64_t capacity, uint64_t records) {
  shared_ring = make(flags, capacity, records);
  arena = child_shared(sizeof *arena);
}

#define MANY 200000u

static void produce_many(void *argument) {
  uint64_t base = (uint64_t)(uintptr_t)argument << 32;
  for (uint64_t i = 0; i < MANY; i++) {
    uint64_t number = base + i;
    CHECK_EQUAL(cipc_ring_put(shared_ring, &number, sizeof number, soon()), 0);
  }
}

static void consume_many(void *argument) {
  (void)argument;
  uint64_t sum = 0, count = 0;
  uint64_t last[8] = {0};
  for (;;) {
    uint64_t number;
    size_t length;
    int status = cipc_ring_get(shared_ring, &number, sizeof number, &length, soon());
    if (status == CIPC_EFINISHED) break;
    CHECK_EQUAL(status, 0);
    // Of each producer, later ones come later, also where another consumer takes some.
    CHECK(last[number >> 32] <= (number & UINT32_MAX));
    last[number >> 32] = number & UINT32_MAX;
    sum += number;
    count++;
  }
  (void)__atomic_fetch_add(&arena->sum, sum, __ATOMIC_SEQ_CST);
  (void)__atomic_fetch_add(&arena->count, count, __ATOMIC_SEQ_CST);
}

static void exchange(unsigned flags, uint64_t capacity, uint64_t records, int producers,
                     int consumers) {
  begin(flags, capacity, records);
  pid_t makers[4], takers[4];
  for (int i = 0; i < consumers; i++) takers[i] = child_start(consume_many, NULL);
  for (int i = 0; i < producers; i++) {
    makers[i] = child_start(produce_many, (void *)(uintptr_t)(i + 1));
  }
  uint64_t sum = 0;
  for (int i = 0; i < producers; i++) {
    CHECK_EQUAL(child_join(makers[i]), 0);
    sum += (((uint64_t)i + 1) << 32) * MANY + (uint64_t)MANY * (MANY - 1) / 2;
  }
  CHECK_EQUAL(cipc_ring_finish(shared_ring, soon()), 0);
  for (int i = 0; i < consumers; i++) CHECK_EQUAL(child_join(takers[i]), 0);
  CHECK_EQUAL(arena->count, (uint64_t)MANY * (uint64_t)producers);
  CHECK_EQUAL(arena->sum, sum);
  CHECK_EQUAL(cipc_ring_fill(shared_ring).unfinished, 0);
  cipc_ring_close(shared_ring);
}

static void one_producer_and_one_consumer(void) {
  exchange(CIPC_RING_SPSC, 4096, 0, 1, 1);
  exchange(0, 4096, 0, 1, 1);
  exchange(0, 0, 0, 1, 1);
  exchange(0, 0, 1, 1, 1);
}

static void many_producers_and_consumers(void) {
  exchange(0, 4096, 0, 3, 3);
  exchange(0, 0, 0, 3, 2);
  exchange(CIPC_RING_LEASED, 4096, 0, 2, 3);
  exchange(CIPC_RING_TRACKED, 0, 100, 2, 2);
}

static void deadlines_pass(void) {
  for (size_t kind = 0; kind < KINDS; kind++) {
    cipc_ring_t *ring = make(kinds[kind], 4096, 1);
    cipc_deadline_t began = cipc_clock_now();
    uint64_t number;
    size_t length;
    CHECK_EQUAL(cipc_ring_get(ring, &number, sizeof number, &length, began + 20 * MILLISECOND),
                CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= began + 20 * MILLISECOND);
    CHECK_EQUAL(put_number(ring, 1), 0);
    began = cipc_clock_now();
    CHECK_EQUAL(cipc_ring_put(ring, &number, sizeof number, began + 20 * MILLISECOND),
                CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= began + 20 * MILLISECOND);
    cipc_ring_close(ring);
  }
}

static void *put_later(void *argument) {
  (void)argument;
  gate_wait(&arena->gate, 1);
  uint64_t number = 9;
  CHECK_EQUAL(cipc_ring_put(shared_ring, &number, sizeof number, soon()), 0);
  return NULL;
}

// Sleeps by the steps, as an asynchronous waiter does.
static void steps_say_where_to_sleep(void) {
  begin(0, 4096, 0);
  uint64_t number = 0;
  size_t length;
  cipc_wait_t wait;
  CHECK_EQUAL(cipc_ring_get_step(shared_ring, &number, sizeof number, &length, 0, NULL),
              CIPC_EAGAIN);
  CHECK_EQUAL(shared_ring->control->items, 0);
  CHECK_EQUAL(cipc_ring_get_step(shared_ring, &number, sizeof number, &length, 0, &wait),
              CIPC_EAGAIN);
  CHECK(wait.word == &shared_ring->control->items);
  pthread_t thread;
  CHECK_EQUAL(pthread_create(&thread, NULL, put_later, NULL), 0);
  gate_set(&arena->gate, 1);
  while (cipc_ring_get_step(shared_ring, &number, sizeof number, &length, 0, &wait) ==
         CIPC_EAGAIN) {
    CHECK(cipc_wait_sleep(&wait, soon()) >= 0);
  }
  CHECK_EQUAL(number, 9);
  CHECK_EQUAL(pthread_join(thread, NULL), 0);
  cipc_ring_close(shared_ring);
}

static bool is_readable(const cipc_readiness_t *watch, int milliseconds) {
  struct pollfd entry = {.fd = cipc_readiness_descriptor(watch), .events = POLLIN};
  return poll(&entry, 1, milliseconds) == 1;
}

static void descriptors_tell_of_records_and_room(void) {
  begin(0, 4096, 1);
  cipc_readiness_t *records = NULL, *room = NULL;
  CHECK_EQUAL(cipc_ring_readiness_open(&records, shared_ring, 0, 0), 0);
  CHECK_EQUAL(cipc_ring_readiness_open(&room, shared_ring, 1, 8), 0);
  for (uint64_t i = 0; i < 3; i++) {
    CHECK_EQUAL(cipc_readiness_look(records), 0);
    CHECK_EQUAL(cipc_readiness_look(room), 1);
    CHECK_EQUAL(put_number(shared_ring, i), 0);
    CHECK(is_readable(records, 20000));
    CHECK_EQUAL(cipc_readiness_look(records), 1);
    CHECK_EQUAL(cipc_readiness_look(room), 0);
    CHECK_EQUAL(get_number(shared_ring, 0), i);
    CHECK(is_readable(room, 20000));
    CHECK_EQUAL(cipc_readiness_look(room), 1);
  }
  CHECK_EQUAL(cipc_readiness_look(records), 0);
  CHECK_EQUAL(cipc_ring_finish(shared_ring, 0), 0);
  CHECK(is_readable(records, 20000));
  CHECK_EQUAL(cipc_readiness_look(records), 1);
  cipc_readiness_close(records);
  cipc_readiness_close(room);
  cipc_ring_close(shared_ring);
}

static void *wait_to_be_shut(void *argument) {
  uint64_t number = 0;
  size_t length;
  int status = argument != NULL
                   ? cipc_ring_put(shared_ring, &number, sizeof number, soon())
                   : cipc_ring_get(shared_ring, &number, sizeof number, &length, soon());
  CHECK_EQUAL(status, CIPC_ECLOSED);
  return NULL;
}

static void wait_for_sleeper(uint32_t *word) {
  while ((__atomic_load_n(word, __ATOMIC_SEQ_CST) & 1) == 0) (void)sched_yield();
}

static void shutting_ends_the_waits_of_this_process(void) {
  for (int is_put = 0; is_put < 2; is_put++) {
    begin(0, 4096, 1);
    if (is_put) CHECK_EQUAL(put_number(shared_ring, 1), 0);
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, wait_to_be_shut, is_put ? arena : NULL), 0);
    wait_for_sleeper(is_put ? &shared_ring->control->space : &shared_ring->control->items);
    cipc_ring_shut(shared_ring);
    CHECK_EQUAL(pthread_join(thread, NULL), 0);
    CHECK_EQUAL(put_number(shared_ring, 1), CIPC_ECLOSED);
    CHECK_EQUAL(try_get(shared_ring), CIPC_ECLOSED);
    cipc_ring_close(shared_ring);
  }
}

// MARK: Death

static void hang_with_side(void *argument) {
  void *payload;
  cipc_ring_record_t record;
  if (argument != NULL) {
    CHECK_EQUAL(cipc_ring_reserve(shared_ring, 8, &payload, soon()), 0);
  } else {
    CHECK_EQUAL(cipc_ring_peek(shared_ring, &record, soon()), 0);
  }
  gate_set(&arena->gate, 1);
  child_hang();
}

static void a_side_outlives_who_holds_it(void) {
  for (int is_put = 0; is_put < 2; is_put++) {
    begin(0, 4096, 0);
    CHECK_EQUAL(put_number(shared_ring, 1), 0);
    pid_t child = child_start(hang_with_side, is_put ? arena : NULL);
    gate_wait(&arena->gate, 1);
    CHECK_EQUAL(is_put ? put_number(shared_ring, 2) : try_get(shared_ring), CIPC_ETIMEDOUT);
    child_kill(child);
    if (is_put) CHECK_EQUAL(put_number(shared_ring, 2), 0);
    CHECK_EQUAL(get_number(shared_ring, soon()), 1);
    if (is_put) CHECK_EQUAL(get_number(shared_ring, soon()), 2);
    CHECK_EQUAL(cipc_ring_fill(shared_ring).records, 0);
    cipc_ring_close(shared_ring);
  }
}

static void lease_and_hang(void *argument) {
  cipc_ring_record_t record;
  for (uint64_t i = 0; i < (uint64_t)(uintptr_t)argument; i++) {
    CHECK_EQUAL(cipc_ring_lease(shared_ring, &record, soon()), 0);
    CHECK_EQUAL(record.deliveries, 1);
  }
  gate_set(&arena->gate, 1);
  child_hang();
}

static uint64_t number_of(const cipc_ring_record_t *record) {
  uint64_t number = 0;
  CHECK_EQUAL(record->length, sizeof number);
  memcpy(&number, record->data, sizeof number);
  return number;
}

static void what_the_dead_had_leased_goes_to_another(void) {
  begin(CIPC_RING_LEASED, 4096, 0);
  for (uint64_t i = 0; i < 5; i++) CHECK_EQUAL(put_number(shared_ring, i), 0);
  cipc_ring_record_t first, record;
  CHECK_EQUAL(cipc_ring_lease(shared_ring, &first, soon()), 0);
  CHECK_EQUAL(number_of(&first), 0);
  pid_t child = child_start(lease_and_hang, (void *)2);
  gate_wait(&arena->gate, 1);
  CHECK_EQUAL(cipc_ring_fill(shared_ring).records, 2);
  CHECK_EQUAL(cipc_ring_fill(shared_ring).unfinished, 5);
  child_kill(child);
  for (uint64_t i = 3; i < 5; i++) {
    CHECK_EQUAL(cipc_ring_lease(shared_ring, &record, soon()), 0);
    CHECK_EQUAL(number_of(&record), i);
    CHECK_EQUAL(cipc_ring_acknowledge(shared_ring, record.ticket, soon()), 0);
    CHECK_EQUAL(cipc_ring_acknowledge(shared_ring, record.ticket, soon()), CIPC_EPERM);
  }
  for (uint64_t i = 1; i < 3; i++) {
    CHECK_EQUAL(cipc_ring_lease(shared_ring, &record, soon()), 0);
    CHECK_EQUAL(number_of(&record), i);
    CHECK_EQUAL(record.deliveries, 2);
    CHECK_EQUAL(cipc_ring_return(shared_ring, record.ticket, soon()), 0);
    CHECK_EQUAL(cipc_ring_lease(shared_ring, &record, soon()), 0);
    CHECK_EQUAL(number_of(&record), i);
    CHECK_EQUAL(record.deliveries, 3);
    CHECK_EQUAL(cipc_ring_acknowledge(shared_ring, record.ticket, soon()), 0);
  }
  // Room is made in order.
  CHECK_EQUAL(cipc_ring_fill(shared_ring).unfinished, 5);
  CHECK_EQUAL(cipc_ring_acknowledge_first(shared_ring, soon()), 0);
  CHECK_EQUAL(cipc_ring_acknowledge_first(shared_ring, soon()), CIPC_EPERM);
  CHECK_EQUAL(cipc_ring_join(shared_ring, CIPC_IMMEDIATELY), 0);
  CHECK_EQUAL(cipc_ring_fill(shared_ring).unfinished, 0);
  cipc_ring_close(shared_ring);
}

static void what_the_dead_had_taken_counts_as_done(void) {
  begin(CIPC_RING_TRACKED, 4096, 0);
  for (uint64_t i = 0; i < 3; i++) CHECK_EQUAL(put_number(shared_ring, i), 0);
  pid_t child = child_start(lease_and_hang, (void *)2);
  gate_wait(&arena->gate, 1);
  CHECK_EQUAL(get_number(shared_ring, soon()), 2);
  CHECK_EQUAL(cipc_ring_join(shared_ring, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK(kill(child, SIGKILL) == 0);
  // Its parent does not wait for it yet: the waiter finds it dead.
  CHECK_EQUAL(cipc_ring_join(shared_ring, soon()), 0);
  CHECK_EQUAL(child_join(child), -SIGKILL);
  cipc_ring_close(shared_ring);
}

static void closing_hands_back_leases(void) {
  begin(CIPC_RING_LEASED, 4096, 0);
  for (uint64_t i = 0; i < 2; i++) CHECK_EQUAL(put_number(shared_ring, i), 0);
  cipc_ring_t *again = reopen(shared_ring);
  cipc_ring_record_t record;
  for (uint64_t i = 0; i < 2; i++) CHECK_EQUAL(cipc_ring_lease(again, &record, soon()), 0);
  CHECK_EQUAL(cipc_ring_acknowledge(shared_ring, record.ticket, soon()), CIPC_EPERM);
  cipc_ring_close(again);
  CHECK_EQUAL(get_number(shared_ring, soon()), 0);
  CHECK_EQUAL(get_number(shared_ring, soon()), 1);
  cipc_ring_close(shared_ring);
}

// The end does not come while a taker has a record that may come back.
static void the_end_waits_for_leases(void) {
  begin(CIPC_RING_LEASED, 4096, 0);
  CHECK_EQUAL(put_number(shared_ring, 1), 0);
  cipc_ring_record_t record;
  CHECK_EQUAL(cipc_ring_lease(shared_ring, &record, soon()), 0);
  CHECK_EQUAL(cipc_ring_finish(shared_ring, soon()), 0);
  CHECK_EQUAL(try_get(shared_ring), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_ring_acknowledge(shared_ring, record.ticket, soon()), 0);
  CHECK_EQUAL(try_get(shared_ring), CIPC_EFINISHED);
  cipc_ring_close(shared_ring);
}

static void open_and_hang(void *argument) {
  cipc_ring_t *mine = reopen(shared_ring);
  CHECK_EQUAL(put_number(mine, 3), 0);
  gate_set(&arena->gate, 1);
  if (argument != NULL) {
    cipc_ring_shut(shared_ring);
    cipc_ring_close(mine);
    gate_set(&arena->gate, 2);
  }
  child_hang();
}

// Tries to get for longer than it takes to see that all others are gone.
static int get_for_a_while(cipc_ring_t *ring) {
  uint64_t number;
  size_t length;
  return cipc_ring_get(ring, &number, sizeof number, &length,
                       cipc_clock_deadline(500 * MILLISECOND));
}

// A parent whose only worker is gone may start another one.
static void who_made_the_ring_waits_for_the_next(void) {
  for (int is_closing = 0; is_closing < 2; is_closing++) {
    begin(0, 4096, 1);
    pid_t child = child_start(open_and_hang, is_closing ? arena : NULL);
    gate_wait(&arena->gate, is_closing ? 2 : 1);
    CHECK_EQUAL(cipc_ring_is_alone(shared_ring), is_closing);
    if (!is_closing) CHECK(kill(child, SIGKILL) == 0);
    CHECK_EQUAL(get_number(shared_ring, soon()), 3);
    CHECK_EQUAL(get_for_a_while(shared_ring), CIPC_ETIMEDOUT);
    CHECK_EQUAL(cipc_ring_is_alone(shared_ring), 1);
    // Unless it is told that there will be none.
    cipc_ring_set_when_alone(shared_ring, CIPC_RING_ALONE_FAIL);
    CHECK_EQUAL(cipc_ring_when_alone(shared_ring), CIPC_RING_ALONE_FAIL);
    CHECK_EQUAL(get_number_status(shared_ring, soon()), CIPC_ENOBODY);
    CHECK_EQUAL(put_number(shared_ring, 4), 0);
    uint64_t number = 5;
    CHECK_EQUAL(cipc_ring_put(shared_ring, &number, sizeof number, soon()), CIPC_ENOBODY);
    CHECK_EQUAL(get_number(shared_ring, soon()), 4);
    // A call that does not wait never waits in vain, also when it is time to look for the dead.
    for (int i = 0; i < 2; i++) {
      shared_ring->next_look = 0;
      CHECK_EQUAL(try_get(shared_ring), CIPC_ETIMEDOUT);
      size_t length;
      CHECK_EQUAL(cipc_ring_get_step(shared_ring, &number, sizeof number, &length, 1, NULL),
                  CIPC_EAGAIN);
    }
    CHECK(kill(child, SIGKILL) == 0);
    CHECK_EQUAL(child_join(child), -SIGKILL);
    cipc_ring_close(shared_ring);
  }
}

// What a process that got the ring does with it, and what is expected of it then.
typedef struct lonely {
  bool opens;
  bool puts;
  bool offers;
  bool holds_two;
  int when_alone;
  int get, put, join;
} lonely_t;

static void be_alone(void *argument) {
  const lonely_t *lonely = argument;
  // As the descriptor of a message, or as what a fork has copied.
  cipc_ring_t *ring = lonely->opens ? reopen(shared_ring) : shared_ring;
  cipc_ring_t *second = lonely->holds_two ? reopen(shared_ring) : NULL;
  if (lonely->opens) cipc_ring_shut(shared_ring);
  cipc_ring_set_when_alone(ring, lonely->when_alone);
  CHECK_EQUAL(get_number(ring, soon()), 1);
  if (lonely->puts) {
    CHECK_EQUAL(put_number(ring, 2), 0);
    CHECK_EQUAL(get_number(ring, soon()), 2);
  }
  uint32_t ticket;
  if (lonely->offers) {
    CHECK_EQUAL(cipc_ring_offer(ring, &ticket), 0);
    CHECK_EQUAL(cipc_segment_settle(cipc_ring_segment(ring), ticket), 0);
  }
  gate_set(&arena->gate, 1);
  gate_wait(&arena->gate, 2);
  CHECK_EQUAL(get_for_a_while(ring), lonely->get);
  // What waits for others to take waits no longer than they may come: this process takes.
  CHECK_EQUAL(put_number(ring, 3), 0);
  CHECK_EQUAL(cipc_ring_join(ring, cipc_clock_deadline(300 * MILLISECOND)), CIPC_ETIMEDOUT);
  cipc_ring_close(second);
}

static void only_a_pure_consumer_of_the_dead_is_told(void) {
  static const lonely_t cases[] = {
      {.opens = true, .get = CIPC_ENOBODY},
      {.opens = false, .get = CIPC_ENOBODY},
      {.opens = true, .when_alone = CIPC_RING_ALONE_WAIT, .get = CIPC_ETIMEDOUT},
      {.opens = true, .puts = true, .get = CIPC_ETIMEDOUT},
      {.opens = false, .puts = true, .get = CIPC_ETIMEDOUT},
      {.opens = true, .offers = true, .get = CIPC_ETIMEDOUT},
      {.opens = true, .holds_two = true, .get = CIPC_ETIMEDOUT},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    begin(CIPC_RING_TRACKED, 4096, 0);
    CHECK_EQUAL(put_number(shared_ring, 1), 0);
    pid_t child = child_start(be_alone, (void *)(uintptr_t)&cases[i]);
    gate_wait(&arena->gate, 1);
    cipc_ring_close(shared_ring);
    gate_set(&arena->gate, 2);
    CHECK_EQUAL(child_join(child), 0);
  }
}

static void produce_alone(void *argument) {
  (void)argument;
  cipc_ring_t *ring = reopen(shared_ring);
  cipc_ring_shut(shared_ring);
  CHECK_EQUAL(put_number(ring, 1), 0);
  gate_set(&arena->gate, 1);
  gate_wait(&arena->gate, 2);
  uint64_t number = 2;
  CHECK_EQUAL(cipc_ring_put(ring, &number, sizeof number, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_ring_put(ring, &number, sizeof number, soon()), CIPC_ENOBODY);
  CHECK_EQUAL(cipc_ring_join(ring, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_ring_join(ring, soon()), CIPC_ENOBODY);
  // From now on it is one that takes, too.
  CHECK_EQUAL(get_number(ring, soon()), 1);
  CHECK_EQUAL(cipc_ring_acknowledge_first(ring, soon()), CIPC_EPERM);
  CHECK_EQUAL(put_number(ring, 2), 0);
  CHECK_EQUAL(cipc_ring_put(ring, &number, sizeof number, cipc_clock_deadline(500 * MILLISECOND)),
              CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_ring_join(ring, cipc_clock_deadline(500 * MILLISECOND)), CIPC_ETIMEDOUT);
  cipc_ring_close(ring);
}

static void a_pure_producer_for_the_dead_is_told(void) {
  begin(CIPC_RING_LEASED, 4096, 1);
  pid_t child = child_start(produce_alone, NULL);
  gate_wait(&arena->gate, 1);
  cipc_ring_close(shared_ring);
  gate_set(&arena->gate, 2);
  CHECK_EQUAL(child_join(child), 0);
}

static void wait_by_name(void *argument) {
  const char *name = argument;
  cipc_ring_t *ring = NULL;
  CHECK_EQUAL(cipc_ring_open_named(&ring, name, NULL), 0);
  cipc_ring_shut(shared_ring);
  gate_set(&arena->gate, 1);
  gate_wait(&arena->gate, 2);
  CHECK_EQUAL(get_for_a_while(ring), CIPC_ETIMEDOUT);
  // As a descriptor it has the same name.
  cipc_ring_t *again = reopen(ring);
  cipc_ring_close(ring);
  CHECK_EQUAL(get_for_a_while(again), CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_segment_unlink(name), 0);
  CHECK_EQUAL(get_number_status(again, soon()), CIPC_ENOBODY);
  cipc_ring_close(again);
}

static void a_name_always_waits(void) {
  arena->gate = 0;
  char name[64];
  (void)snprintf(name, sizeof name, "/cipc-ring-alone-%d", (int)getpid());
  CHECK_EQUAL(cipc_ring_open_or_create(&shared_ring, name, NULL), CIPC_SEGMENT_CREATED);
  pid_t child = child_start(wait_by_name, name);
  gate_wait(&arena->gate, 1);
  cipc_ring_close(shared_ring);
  gate_set(&arena->gate, 2);
  CHECK_EQUAL(child_join(child), 0);
}

// Whether participants are gone that are not counted is unknown.
static void nobody_is_alone_where_not_all_are_counted(void) {
  begin(0, 4096, 0);
  pid_t child = child_start(open_and_hang, NULL);
  gate_wait(&arena->gate, 1);
  child_kill(child);
  CHECK_EQUAL(cipc_ring_is_alone(shared_ring), 1);
  uint32_t tickets[CIPC_PARTICIPANTS_ENTRIES];
  for (unsigned i = 0; i < CIPC_PARTICIPANTS_ENTRIES; i++) {
    CHECK_EQUAL(cipc_ring_offer(shared_ring, &tickets[i]), 0);
  }
  arena->gate = 0;
  child = child_start(open_and_hang, NULL);
  gate_wait(&arena->gate, 1);
  for (unsigned i = 0; i < CIPC_PARTICIPANTS_ENTRIES; i++) {
    CHECK_EQUAL(cipc_segment_settle(cipc_ring_segment(shared_ring), tickets[i]), 0);
  }
  CHECK_EQUAL(cipc_segment_others(cipc_ring_segment(shared_ring)), 0);
  CHECK_EQUAL(cipc_ring_is_alone(shared_ring), 0);
  child_kill(child);
  cipc_ring_close(shared_ring);
}

static void hang(void *argument) {
  (void)argument;
  // Enters itself in what it inherited.
  (void)cipc_participant_self();
  gate_set(&arena->gate, 1);
  child_hang();
}

// A forked child has what its parent had open, for no reason of its own.
static void who_never_used_it_is_not_missed(void) {
  begin(0, 4096, 0);
  cipc_ring_set_when_alone(shared_ring, CIPC_RING_ALONE_FAIL);
  pid_t child = child_start(hang, NULL);
  gate_wait(&arena->gate, 1);
  uint64_t number;
  size_t length;
  cipc_deadline_t deadline = cipc_clock_deadline(300 * MILLISECOND);
  CHECK_EQUAL(cipc_ring_get(shared_ring, &number, sizeof number, &length, deadline),
              CIPC_ETIMEDOUT);
  child_kill(child);
  deadline = cipc_clock_deadline(300 * MILLISECOND);
  CHECK_EQUAL(cipc_ring_get(shared_ring, &number, sizeof number, &length, deadline),
              CIPC_ETIMEDOUT);
  cipc_ring_close(shared_ring);
}

static void who_is_expected_is_waited_for(void) {
  begin(0, 4096, 0);
  cipc_ring_set_when_alone(shared_ring, CIPC_RING_ALONE_FAIL);
  uint32_t ticket;
  uint64_t unseen;
  size_t unseen_length;
  // Gone before any process looked.
  CHECK_EQUAL(cipc_ring_offer(shared_ring, &ticket), 0);
  CHECK_EQUAL(cipc_segment_settle(cipc_ring_segment(shared_ring), ticket), 0);
  CHECK_EQUAL(cipc_ring_get(shared_ring, &unseen, sizeof unseen, &unseen_length, soon()),
              CIPC_ENOBODY);
  cipc_ring_close(shared_ring);
  begin(0, 4096, 0);
  cipc_ring_set_when_alone(shared_ring, CIPC_RING_ALONE_FAIL);
  CHECK_EQUAL(cipc_ring_offer(shared_ring, &ticket), 0);
  uint64_t number;
  size_t length;
  cipc_deadline_t deadline = cipc_clock_deadline(300 * MILLISECOND);
  CHECK_EQUAL(cipc_ring_get(shared_ring, &number, sizeof number, &length, deadline),
              CIPC_ETIMEDOUT);
  CHECK_EQUAL(cipc_segment_settle(cipc_ring_segment(shared_ring), ticket), 0);
  // It was expected, if never there.
  CHECK_EQUAL(cipc_ring_get(shared_ring, &number, sizeof number, &length, soon()), CIPC_ENOBODY);
  cipc_ring_shut(shared_ring);
  CHECK_EQUAL(cipc_ring_offer(shared_ring, &ticket), CIPC_ECLOSED);
  cipc_ring_close(shared_ring);
}

// MARK: One producer, one consumer

static void put_one(void *argument) {
  (void)argument;
  CHECK_EQUAL(put_number(shared_ring, 1), 0);
  gate_set(&arena->gate, 1);
  child_hang();
}

static void the_producer_is_one_process_until_it_dies(void) {
  begin(CIPC_RING_SPSC, 4096, 0);
  pid_t child = child_start(put_one, NULL);
  gate_wait(&arena->gate, 1);
  CHECK_EQUAL(put_number(shared_ring, 2), CIPC_EBUSY);
  CHECK_EQUAL(get_number(shared_ring, soon()), 1);
  child_kill(child);
  CHECK_EQUAL(put_number(shared_ring, 2), 0);
  CHECK_EQUAL(get_number(shared_ring, soon()), 2);
  cipc_ring_close(shared_ring);
}

// MARK: Hostile bytes

// A process writes anything anywhere, except into mutexes. Statuses may be any; it must end and not
// trap.
static void scribble(unsigned flags, uint64_t capacity, uint64_t seed) {
  cipc_ring_t *ring = make(flags, capacity, 0);
  cipc_ring_t *victim = reopen(ring);
  unsigned char *control = (unsigned char *)ring->control;
  unsigned char *bytes = ring->tiers[0].base;
  size_t size = (size_t)ring->tiers[0].units * CIPC_RING_UNIT;
  static unsigned char buffer[4096];
  uint64_t state = seed;
  for (int i = 0; i < 3000; i++) {
    size_t at = draw(&state) % sizeof(cipc_ring_control_t);
    bool is_mutex = (at + 8 > offsetof(cipc_ring_control_t, producers) &&
                     at < offsetof(cipc_ring_control_t, tail)) ||
                    (at + 8 > offsetof(cipc_ring_control_t, consumers) &&
                     at < offsetof(cipc_ring_control_t, head));
    uint64_t word = draw(&state) << 33 ^ draw(&state) << 11 ^ draw(&state);
    if (draw(&state) % 3 == 0) word >>= draw(&state) % 64;
    if (!is_mutex && draw(&state) % 2 == 0) memcpy(control + at, &word, sizeof word);
    memcpy(bytes + draw(&state) % (size - 8), &word, sizeof word);
    size_t length = draw(&state) % 300;
    cipc_ring_record_t record;
    int status = 0;
    void *payload;
    switch (draw(&state) % 7) {
      case 0:
        status = cipc_ring_put(victim, buffer, length, CIPC_IMMEDIATELY);
        break;
      case 1:
        status = cipc_ring_get(victim, buffer, sizeof buffer, &length, CIPC_IMMEDIATELY);
        break;
      case 2:
        for (int j = 0; j < 4 && cipc_ring_peek(victim, &record, CIPC_IMMEDIATELY) == 0; j++) {
          // All of it is there to be read, however long it claims to be.
          for (size_t k = 0; k < record.length; k += 512) {
            buffer[0] ^= ((const unsigned char *)record.data)[k];
          }
        }
        status = cipc_ring_release(victim);
        break;
      case 3:
        status = cipc_ring_lease(victim, &record, CIPC_IMMEDIATELY);
        if (status == 0) status = cipc_ring_acknowledge(victim, record.ticket, CIPC_IMMEDIATELY);
        break;
      case 4:
        status = cipc_ring_reserve(victim, length, &payload, CIPC_IMMEDIATELY);
        if (status == 0) memset(payload, 1, length);
        if (status == 0) status = cipc_ring_commit(victim);
        break;
      case 5:
        status = (int)cipc_ring_fill(victim).records;
        break;
      default: {
        cipc_ring_info_t info;
        status = cipc_ring_inspect(descriptor_of(ring), &info);
        break;
      }
    }
    (void)status;
  }
  cipc_ring_close(victim);
  cipc_ring_close(ring);
}

static void scribbled_bytes_are_errors(void) {
  for (uint64_t seed = 1; seed < 40; seed++) {
    for (size_t kind = 0; kind < KINDS; kind++) {
      scribble(kinds[kind], 4096, seed * 1000 + kind);
      if (!(kinds[kind] & CIPC_RING_SPSC)) scribble(kinds[kind], 8 << 20, seed * 1000 + kind);
    }
  }
}

static void tools_see_how_full_it_is(void) {
  cipc_ring_t *ring = make(CIPC_RING_LEASED, 4096, 7);
  for (uint64_t i = 0; i < 3; i++) CHECK_EQUAL(put_number(ring, i), 0);
  cipc_ring_record_t record;
  CHECK_EQUAL(cipc_ring_lease(ring, &record, soon()), 0);
  CHECK_EQUAL(cipc_ring_finish(ring, soon()), 0);
  cipc_ring_info_t info;
  CHECK_EQUAL(cipc_ring_inspect(descriptor_of(ring), &info), 0);
  CHECK_EQUAL(info.flags, CIPC_RING_LEASED);
  CHECK_EQUAL(info.is_finished, 1);
  CHECK_EQUAL(info.capacity, 4096);
  CHECK_EQUAL(info.capacity_records, 7);
  CHECK_EQUAL(info.fill.records, 2);
  CHECK_EQUAL(info.fill.unfinished, 3);
  CHECK_EQUAL(info.fill.bytes, 3 * 24);
  cipc_ring_close(ring);
}

int main(void) {
  TEST(records_come_in_order);
  TEST(lengths_are_kept);
  TEST(any_mix_of_puts_and_gets);
  TEST(positions_go_round_many_times);
  TEST(a_bound_in_records_holds);
  TEST(a_bound_in_bytes_holds);
  TEST(several_records_in_one_commit);
  TEST(a_reservation_can_shrink_or_be_given_up);
  TEST(a_bundle_is_put_as_far_as_it_fits);
  TEST(the_end_comes_behind_what_is_there);
  TEST(memory_is_given_and_returned);
  TEST(memory_stays_for_a_while);
  TEST(a_short_queue_returns_to_little_memory);
  TEST(one_record_can_take_the_whole_capacity);
  TEST(the_capacity_is_there_wherever_the_head_is);
  TEST(others_open_it_by_descriptor_and_name);
  TEST(what_does_not_fit_is_refused);
  TEST(nothing_is_left_of_a_closed_ring);
  TEST(one_producer_and_one_consumer);
  TEST(many_producers_and_consumers);
  TEST(deadlines_pass);
  TEST(steps_say_where_to_sleep);
  TEST(descriptors_tell_of_records_and_room);
  TEST(shutting_ends_the_waits_of_this_process);
  TEST(a_side_outlives_who_holds_it);
  TEST(what_the_dead_had_leased_goes_to_another);
  TEST(what_the_dead_had_taken_counts_as_done);
  TEST(closing_hands_back_leases);
  TEST(the_end_waits_for_leases);
  TEST(who_made_the_ring_waits_for_the_next);
  TEST(only_a_pure_consumer_of_the_dead_is_told);
  TEST(a_pure_producer_for_the_dead_is_told);
  TEST(a_name_always_waits);
  TEST(nobody_is_alone_where_not_all_are_counted);
  TEST(who_never_used_it_is_not_missed);
  TEST(who_is_expected_is_waited_for);
  TEST(the_producer_is_one_process_until_it_dies);
  TEST(scribbled_bytes_are_errors);
  TEST(tools_see_how_full_it_is);
  return check_finish();
}
