/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/consumers.h"

#include <limits.h>

#include "ring/leases.h"
#include "ring/producers.h"
#include "ring/reclaim.h"
#include "wait/eventcount.h"

int cipc_consumers_enter(cipc_ring_t *ring, cipc_deadline_t limit) {
  cipc_ring_note(&ring->consuming);
  return cipc_consumers_visit(ring, limit);
}

int cipc_consumers_visit(cipc_ring_t *ring, cipc_deadline_t limit) {
  int status = cipc_ring_begin(ring);
  if (__builtin_expect(status < 0, 0)) return status;
  if (!cipc_ring_has_locks(ring)) {
    bool is_new;
    status = cipc_ring_claim(&ring->control->consumer, &ring->consumer, &is_new);
    if (status < 0) return status;
    if (is_new) ring->shown.is_open = false;
    return ring->shown.is_open ? CIPC_EDEADLK : 0;
  }
  status = cipc_mutex_lock(&ring->control->consumers, limit);
  if (__builtin_expect(status < 0, 0)) return status;
  // As in cipc_producers_enter.
  ring->shown.is_open = false;
  if (__builtin_expect(status == 0, 1)) return 0;
  // What the dead had not committed is still there. What it had, it may have told nobody of.
  if (cipc_ring_is_leased(ring)) cipc_leases_sweep(ring);
  // It may have been giving memory back, in several steps.
  cipc_reclaim_tidy(ring);
  cipc_eventcount_wake(&ring->control->space, INT_MAX);
  cipc_eventcount_wake(&ring->control->done, INT_MAX);
  return cipc_mutex_recover(&ring->control->consumers);
}
