/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/reclaim.h"

#include "base/clock.h"
#include "ring/producers.h"
#include "ring/tiers.h"

// How many pieces of memory are given back at a time: that takes some 10 ms, and keeps producers
// out for as long.
#define TRIMS 4
// How long memory beyond the first tier is kept for what may come next: to give and to take it
// costs about as much as to copy what goes through it.
#define KEEP INT64_C(50000000)

// With both sides: has an empty ring be in its first tier.
static void go_back(cipc_ring_t *ring, cipc_index_t tail) {
  cipc_ring_control_t *control = ring->control;
  uint32_t tier = cipc_index_tier(tail);
  cipc_index_t first = tail & ~CIPC_INDEX_FINISHED;
  if (tier != 0) {
    uint64_t number = cipc_index_number(tail);
    first = cipc_index_make(0, 0, number);
    __atomic_store_n(&control->closed[tier], cipc_index_make(0, cipc_index_position(tail), number),
                     __ATOMIC_RELAXED);
    // Commit point of going back. The head can follow at any time: producers that know of an older
    // one, in the first tier, stay there, and look anew before they go on elsewhere.
    __atomic_store_n(&control->tail, first | (tail & CIPC_INDEX_FINISHED), __ATOMIC_SEQ_CST);
  }
  __atomic_store_n(&control->seen_tail, first, __ATOMIC_RELAXED);
  __atomic_store_n(&control->head, first, __ATOMIC_SEQ_CST);
  __atomic_store_n(ring->low, first, __ATOMIC_SEQ_CST);
  __atomic_store_n(&control->seen_low, first, __ATOMIC_RELAXED);
}

static bool is_tidy(const cipc_ring_t *ring) {
  const cipc_ring_control_t *control = ring->control;
  uint64_t touched = cipc_index_tier(__atomic_load_n(&control->head, __ATOMIC_RELAXED));
  for (uint32_t tier = 1; tier < ring->tier_count; tier++) {
    touched |= __atomic_load_n(&control->touched[tier], __ATOMIC_RELAXED);
  }
  return touched == 0;
}

void cipc_reclaim_tidy(cipc_ring_t *ring) {
  if (ring->tier_count == 1 || is_tidy(ring)) return;
  cipc_deadline_t busy_at = __atomic_load_n(&ring->busy_at, __ATOMIC_RELAXED);
  if (busy_at != 0 && cipc_clock_now() - busy_at < KEEP) return;
  if (cipc_producers_enter(ring, CIPC_IMMEDIATELY) < 0) return;
  cipc_index_t tail = __atomic_load_n(&ring->control->tail, __ATOMIC_RELAXED);
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  bool is_empty = cipc_tiers_has(ring, tail) && cipc_index_records(low, tail) == 0;
  if (is_empty && (cipc_index_tier(tail) != 0 || cipc_index_tier(low) != 0)) go_back(ring, tail);
  for (int i = 0; i < TRIMS && cipc_tiers_trim_some(ring); i++) {
  }
  cipc_producers_leave(ring);
}

void cipc_reclaim_turn(cipc_ring_t *ring, cipc_index_t to) {
  if (cipc_index_tier(to) != 0) {
    __atomic_store_n(&ring->busy_at, cipc_clock_now(), __ATOMIC_RELAXED);
  }
  cipc_reclaim_tidy(ring);
}
