/* SPDX-License-Identifier: Apache-2.0 */
// A ring that leases a record first and says then to whom: killed in between, nobody has it.
// Caught: lease.take owns: 0 are left
#define cipc_ring_lease lease_right
#include "ring/lease.c"
#undef cipc_ring_lease

int cipc_ring_lease(cipc_ring_t *ring, cipc_ring_record_t *record, cipc_deadline_t deadline) {
  cipc_ring_control_t *control = ring->control;
  int status = cipc_consumer_enter(ring, deadline);
  if (status < 0) return status;
  cipc_index_t index = __atomic_load_n(&control->head, __ATOMIC_RELAXED), next;
  size_t length;
  status = make_room(ring);
  if (status == 0) status = cipc_consumer_find(ring, &index, &length, &next);
  if (status == 0 && control->returned == 0) {
    uint32_t deliveries = count_delivery(ring, index, length);
    __atomic_store_n(&control->head, next, __ATOMIC_SEQ_CST);
    __atomic_store_n(owner_of(ring, index), become_lessee(ring), __ATOMIC_RELEASE);
    describe(ring, index, length, deliveries, record);
    cipc_consumer_leave(ring);
    return 0;
  }
  cipc_consumer_leave(ring);
  return lease_right(ring, record, deadline);
}
