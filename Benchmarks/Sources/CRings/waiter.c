/* SPDX-License-Identifier: Apache-2.0 */
#include "records.h"
#include "support.h"

static const uint64_t record[FLOOR_RECORD_WORDS];

static void nothing(void *context, size_t count) {
  (void)context;
  (void)count;
}

static void wait_for_record(void *context, size_t count) {
  (void)count;
  uint64_t found[FLOOR_RECORD_WORDS];
  size_t length;
  check(cipc_ring_get(context, found, sizeof found, &length, CIPC_NO_DEADLINE));
}

static void wait_for_room(void *context, size_t count) {
  (void)count;
  check(cipc_ring_put(context, record, sizeof record, CIPC_NO_DEADLINE));
}

static void finish(void *context) { cipc_ring_close(context); }

floor_pair_t *rings_waiter_create(int core, rings_kind_t kind, rings_waiter_t waiter) {
  cipc_ring_t *ring = make_ring(kind, 1 << 16);
  if (waiter == RINGS_WAITS_FOR_RECORD) {
    return floor_pair_create(core, (floor_jobs_t){nothing, wait_for_record, 1, finish}, ring);
  }
  int status;
  do {
    status = cipc_ring_put(ring, record, sizeof record, CIPC_IMMEDIATELY);
  } while (status == 0);
  if (status != CIPC_ETIMEDOUT) check(status);
  return floor_pair_create(core, (floor_jobs_t){nothing, wait_for_room, 1, finish}, ring);
}
