/* SPDX-License-Identifier: Apache-2.0 */
// A ring that frees an acknowledged record before it is acknowledged.
// Caught: lease.acknowledge owns: it had not committed when it was killed, and then it had
#define cipc_leases_end end_right
#include "ring/leases.c"
#undef cipc_leases_end

int cipc_leases_end(cipc_ring_t *ring, uint64_t ticket, uint64_t owner) {
  cipc_index_t head;
  walk_t walk;
  if (owner == CIPC_RING_DONE && begin(ring, &walk, &head) && step(ring, &walk, head) &&
      walk.index == ticket) {
    __atomic_store_n(&ring->control->low, walk.next, __ATOMIC_SEQ_CST);
  }
  return end_right(ring, ticket, owner);
}
