/* SPDX-License-Identifier: Apache-2.0 */
// A ring that takes a record before it is copied.
// Caught: consumer.get owns: a record of 40 bytes has number 0
#include "ring/tiers.h"

static inline uint64_t *commit_and_find(cipc_ring_t *ring, cipc_index_t index, cipc_index_t next) {
  __atomic_store_n(&ring->control->head, next, __ATOMIC_SEQ_CST);
  return cipc_tiers_at(ring, index);
}
#define cipc_tiers_at(ring, index) commit_and_find((ring), (index), next)
#include "ring/get.c"
