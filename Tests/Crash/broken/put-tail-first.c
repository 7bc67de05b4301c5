/* SPDX-License-Identifier: Apache-2.0 */
// A ring that commits a record before its bytes are there.
// Caught: producer.put owns: a record of 40 bytes has number 0
#include <string.h>

#include "ring/hold.h"

static inline void commit_early(cipc_ring_t *ring) {
  __atomic_store_n(&ring->control->tail, ring->batch.next, __ATOMIC_SEQ_CST);
}
#undef memcpy
#define memcpy(to, from, length) (commit_early(ring), (memcpy)((to), (from), (length)))
#include "ring/put.c"
