/* SPDX-License-Identifier: Apache-2.0 */
// A ring that takes what was shown when it is shown: of several, those up to the kill.
// Caught: consumer.release owns: committed: yes, before the operation
#define cipc_ring_peek peek_right
#include "ring/get.c"
#undef cipc_ring_peek

int cipc_ring_peek(cipc_ring_t *ring, cipc_ring_record_t *record, cipc_deadline_t deadline) {
  int status = peek_right(ring, record, deadline);
  if (status == 0) __atomic_store_n(&ring->control->head, ring->shown.next, __ATOMIC_SEQ_CST);
  return status;
}
