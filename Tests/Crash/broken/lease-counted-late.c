/* SPDX-License-Identifier: Apache-2.0 */
// A ring that counts what is handed back when it has been: killed in between, nobody looks for it.
// Caught: lease.return owns: 0 are left
#define cipc_ring_return return_right
#include "ring/lease.c"
#undef cipc_ring_return

int cipc_ring_return(cipc_ring_t *ring, uint64_t ticket, cipc_deadline_t deadline) {
  int status = cipc_consumer_enter(ring, deadline);
  if (status < 0) return status;
  if (forget(ring, ticket)) {
    __atomic_store_n(owner_of(ring, ticket), CIPC_PARTICIPANT_NOBODY, __ATOMIC_SEQ_CST);
    (void)__atomic_fetch_add(&ring->control->returned, 1, __ATOMIC_SEQ_CST);
  } else {
    status = CIPC_EPERM;
  }
  cipc_consumer_leave(ring);
  return status;
}
