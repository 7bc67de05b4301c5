/* SPDX-License-Identifier: Apache-2.0 */
// A ring that counts a record that is handed back only afterwards: killed in between, no consumer
// looks for the record.
// Caught: lease.return owns: 0 are left
#define cipc_leases_end end_right
#include "ring/leases.c"
#undef cipc_leases_end

int cipc_leases_end(cipc_ring_t *ring, uint64_t ticket, uint64_t owner) {
  if (owner != CIPC_PARTICIPANT_NOBODY) return end_right(ring, ticket, owner);
  if (!forget(ring, ticket)) return CIPC_EPERM;
  __atomic_store_n(owner_of(ring, ticket), owner, __ATOMIC_SEQ_CST);
  (void)__atomic_fetch_add(&ring->control->returned, 1, __ATOMIC_SEQ_CST);
  return 0;
}
