/* SPDX-License-Identifier: Apache-2.0 */
#include "records.h"
#include "support.h"

struct rings_alone {
  cipc_ring_t *ring;
  uint64_t number;
};

rings_alone_t *rings_alone_create(rings_kind_t kind) {
  rings_alone_t *alone = make(sizeof *alone);
  alone->ring = make_ring(kind, 0);
  return alone;
}

void rings_alone_pairs(rings_alone_t *alone, size_t count) {
  uint64_t record[FLOOR_RECORD_WORDS];
  for (size_t i = 0; i < count; i++) {
    size_t length;
    floor_record_write(record, alone->number);
    check(cipc_ring_put(alone->ring, record, sizeof record, CIPC_NO_DEADLINE));
    check(cipc_ring_get(alone->ring, record, sizeof record, &length, CIPC_NO_DEADLINE));
    floor_record_read(record, alone->number++);
  }
}

void rings_alone_end(rings_alone_t *alone) {
  cipc_ring_close(alone->ring);
  free(alone);
}
