/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "fail.h"
#include "floors.h"
#include "pairs.h"
#include "records.h"
#include "spin.h"

// As many as fit in 64 KiB: what a ring has for one producer and one consumer.
#define SLOTS 1024u
// A side that looks again at once takes the line from the other at every record, and both go on in
// lock-step, several times slower.
#define PAUSES 50u

/// How many records were written, and read. Each word is written by one side alone.
typedef struct slots {
  uint64_t written;
  char apart[120];
  uint64_t read;
  char apart_too[120];
  uint64_t records[SLOTS][FLOOR_RECORD_WORDS];
} slots_t;

typedef struct end {
  slots_t *slots;
  size_t batch;
  /// This side's count, and what it last saw of the other's.
  uint64_t mine, seen;
} end_t;

static uint64_t look(const uint64_t *word, uint64_t in_vain) {
  for (uint32_t looks = 1;; looks += PAUSES) {
    uint64_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    if (seen != in_vain) return seen;
    for (uint32_t i = 0; i < PAUSES; i++) spin(looks + i);
  }
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void write_records(void *context, size_t count) {
  end_t *end = context;
  slots_t *slots = end->slots;
  while (count > 0) {
    if (end->mine == end->seen + SLOTS) end->seen = look(&slots->read, end->seen);
    uint64_t now = least(least(end->seen + SLOTS - end->mine, end->batch), count);
    for (uint64_t i = 0; i < now; i++) {
      floor_record_write(slots->records[(end->mine + i) % SLOTS], end->mine + i);
    }
    end->mine += now;
    count -= now;
    __atomic_store_n(&slots->written, end->mine, __ATOMIC_RELEASE);
  }
}

static void read_records(void *context, size_t count) {
  end_t *end = context;
  slots_t *slots = end->slots;
  while (count > 0) {
    if (end->mine == end->seen) end->seen = look(&slots->written, end->seen);
    uint64_t now = least(least(end->seen - end->mine, end->batch), count);
    for (uint64_t i = 0; i < now; i++) {
      floor_record_read(slots->records[(end->mine + i) % SLOTS], end->mine + i);
    }
    end->mine += now;
    count -= now;
    __atomic_store_n(&slots->read, end->mine, __ATOMIC_RELEASE);
  }
}

floor_pair_t *floor_slots_create(int core, size_t batch) {
  end_t *end = malloc(sizeof *end);
  if (end == NULL) fail("malloc", errno);
  *end = (end_t){.slots = floor_memory_create(sizeof(slots_t)), .batch = batch};
  return floor_pair_create(core, (floor_jobs_t){write_records, read_records, 0, free}, end);
}
