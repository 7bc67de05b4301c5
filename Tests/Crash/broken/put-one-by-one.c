/* SPDX-License-Identifier: Apache-2.0 */
// A ring that puts each record of several by a commit of its own.
// Caught: producer.put-many owns: [12] of 3 arrived
#define cipc_ring_put_many put_many_right
#include "ring/put.c"
#undef cipc_ring_put_many

int cipc_ring_put_many(cipc_ring_t *ring, const cipc_ring_bytes_t *records, size_t count,
                       cipc_deadline_t deadline) {
  int put = 0;
  for (size_t i = 0; i < count; i++) {
    int status = put_many_right(ring, &records[i], 1, deadline);
    if (status < 0) return put != 0 ? put : status;
    put++;
  }
  return put;
}
