/* SPDX-License-Identifier: Apache-2.0 */
// A ring that leases a record first and names the owner afterwards: killed in between, the record
// has none.
// Caught: lease.take owns: 0 are left
#define cipc_leases_take take_right
#include "ring/leases.c"
#undef cipc_leases_take

int cipc_leases_take(cipc_ring_t *ring, cipc_ring_record_t *record) {
  cipc_ring_control_t *control = ring->control;
  cipc_index_t index = __atomic_load_n(&control->head, __ATOMIC_RELAXED), next;
  size_t length;
  int status = make_space(ring);
  if (status == 0) status = cipc_tiers_find(ring, &index, &length, &next);
  if (status < 0 || control->returned != 0) return take_right(ring, record);
  uint32_t deliveries = count_delivery(ring, index, length);
  __atomic_store_n(&control->head, next, __ATOMIC_SEQ_CST);
  __atomic_store_n(owner_of(ring, index), become_lessee(ring), __ATOMIC_RELEASE);
  describe(ring, index, length, deliveries, record);
  return 0;
}
