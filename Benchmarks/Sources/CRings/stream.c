/* SPDX-License-Identifier: Apache-2.0 */
#include "records.h"
#include "support.h"

typedef struct end {
  cipc_ring_t *ring;
  size_t batch;
  /// How many records this side has put or got.
  uint64_t number;
} end_t;

// MARK: One by one

static void put(void *context, size_t count) {
  end_t *end = context;
  uint64_t record[FLOOR_RECORD_WORDS];
  for (size_t i = 0; i < count; i++) {
    floor_record_write(record, end->number++);
    check(cipc_ring_put(end->ring, record, sizeof record, CIPC_NO_DEADLINE));
  }
}

static void get(void *context, size_t count) {
  end_t *end = context;
  uint64_t record[FLOOR_RECORD_WORDS];
  for (size_t i = 0; i < count; i++) {
    size_t length;
    check(cipc_ring_get(end->ring, record, sizeof record, &length, CIPC_NO_DEADLINE));
    floor_record_read(record, end->number++);
  }
}

// MARK: In batches

static void put_batches(void *context, size_t count) {
  end_t *end = context;
  while (count > 0) {
    size_t most = count < end->batch ? count : end->batch, reserved = 0;
    for (; reserved < most; reserved++) {
      void *payload;
      int status = cipc_ring_reserve(end->ring, FLOOR_RECORD_SIZE, &payload, CIPC_NO_DEADLINE);
      // No room beside those before.
      if (status == CIPC_EAGAIN) break;
      check(status);
      floor_record_write(payload, end->number++);
    }
    check(cipc_ring_commit(end->ring));
    count -= reserved;
  }
}

static void get_batches(void *context, size_t count) {
  end_t *end = context;
  while (count > 0) {
    size_t most = count < end->batch ? count : end->batch, shown = 0;
    for (; shown < most; shown++) {
      cipc_ring_record_t record;
      int status = cipc_ring_peek(end->ring, &record, CIPC_NO_DEADLINE);
      // None behind those before.
      if (status == CIPC_EAGAIN) break;
      check(status);
      if (record.length != FLOOR_RECORD_SIZE) check(CIPC_EMSGSIZE);
      floor_record_read(record.data, end->number++);
    }
    check(cipc_ring_release(end->ring));
    count -= shown;
  }
}

// MARK: Numbers

static void put_numbers(void *context, size_t count) {
  end_t *end = context;
  for (size_t i = 0; i < count; i++) {
    uint64_t number = end->number++;
    check(cipc_ring_put(end->ring, &number, sizeof number, CIPC_NO_DEADLINE));
  }
}

static void get_numbers(void *context, size_t count) {
  end_t *end = context;
  for (size_t i = 0; i < count; i++) {
    uint64_t number;
    size_t length;
    check(cipc_ring_get(end->ring, &number, sizeof number, &length, CIPC_NO_DEADLINE));
    if (number != end->number++) floor_record_fail();
  }
}

static void finish(void *context) {
  end_t *end = context;
  cipc_ring_close(end->ring);
  free(end);
}

static end_t *make_end(rings_kind_t kind, size_t capacity) {
  end_t *end = make(sizeof *end);
  end->ring = make_ring(kind, capacity);
  return end;
}

floor_pair_t *rings_stream_create(int core, rings_kind_t kind, size_t batch, size_t capacity) {
  end_t *end = make_end(kind, capacity);
  end->batch = batch;
  floor_jobs_t each = {put, get, 0, finish}, batches = {put_batches, get_batches, 0, finish};
  return floor_pair_create(core, batch == 1 ? each : batches, end);
}

floor_pair_t *rings_numbers_create(int core, rings_kind_t kind, size_t capacity) {
  return floor_pair_create(core, (floor_jobs_t){put_numbers, get_numbers, 0, finish},
                           make_end(kind, capacity));
}
