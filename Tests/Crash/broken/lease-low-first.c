/* SPDX-License-Identifier: Apache-2.0 */
// A ring that frees an acknowledged record before it is acknowledged.
// Caught: lease.acknowledge owns: it had not committed when it was killed, and then it had
#define cipc_ring_acknowledge acknowledge_right
#include "ring/lease.c"
#undef cipc_ring_acknowledge

int cipc_ring_acknowledge(cipc_ring_t *ring, uint64_t ticket, cipc_deadline_t deadline) {
  int status = cipc_consumer_enter(ring, deadline);
  if (status < 0) return status;
  cipc_index_t head;
  walk_t walk;
  if (begin(ring, &walk, &head) && step(ring, &walk, head) && walk.index == ticket) {
    __atomic_store_n(&ring->control->low, walk.next, __ATOMIC_SEQ_CST);
  }
  status = cipc_lease_end(ring, ticket, CIPC_RING_DONE);
  cipc_consumer_leave(ring);
  return status;
}
