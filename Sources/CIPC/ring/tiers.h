/* SPDX-License-Identifier: Apache-2.0 */
// Tiers: where records go and are found, and their memory.
#ifndef CIPC_RING_TIERS_H
#define CIPC_RING_TIERS_H

#include "ring/hold.h"

// How many tiers a ring of this kind has, and their sizes; 0 for a configuration that no ring has.
// `size` is that of the payload, `backed` how much of it has memory from the beginning.
uint32_t cipc_tiers_plan(unsigned flags, uint64_t capacity, cipc_tier_t *tiers, size_t *size,
                         size_t *backed);

// Whether an index from shared memory is one of this ring's at all.
static inline bool cipc_tiers_has(const cipc_ring_t *ring, cipc_index_t index) {
  uint32_t tier = cipc_index_tier(index);
  return tier < ring->tier_count && cipc_index_position(index) < ring->tiers[tier].units;
}

// The memory of a tier, mapped if need be: 0; CIPC_ENOMEM, -errno.
int cipc_tiers_map(cipc_ring_t *ring, uint32_t tier, unsigned char **base);
void cipc_tiers_unmap(cipc_ring_t *ring);

// The words at an index of the ring's whose tier is mapped.
static inline uint64_t *cipc_tiers_at(const cipc_ring_t *ring, cipc_index_t index) {
  unsigned char *base =
      __atomic_load_n(&ring->tiers[cipc_index_tier(index)].base, __ATOMIC_RELAXED);
  return (uint64_t *)(void *)(base + cipc_index_position(index) * CIPC_RING_UNIT);
}

// What lies between two indices, the former of them at or before the latter.
typedef struct cipc_tiers_extent {
  // Units in all, and in the tier of the latter.
  uint64_t units;
  uint64_t last;
  // A bit for each tier that is in use.
  uint32_t tiers;
} cipc_tiers_extent_t;

// 0; CIPC_ERINGINDEX: one of them is not an index of the ring's, or no way leads from the one to
// the other.
int cipc_tiers_measure(const cipc_ring_t *ring, cipc_index_t from, cipc_index_t to,
                       cipc_tiers_extent_t *extent);

// `cipc_tiers_place` where it is not as simple as mostly.
int cipc_tiers_place_slowly(cipc_ring_t *ring, cipc_index_t tail, uint64_t units,
                            cipc_index_t *place);

// Where `units` can be written behind `tail`, and that there is memory; with the producers' side.
// Writes `closed` where that is in another tier, which nobody looks at before the tail moves.
//
// 0; CIPC_EAGAIN: no space; CIPC_ERINGINDEX; CIPC_ENOMEM, CIPC_ENOSPC, -errno.
static inline int cipc_tiers_place(cipc_ring_t *ring, cipc_index_t tail, uint64_t units,
                                   cipc_index_t *place) {
  const cipc_ring_control_t *control = ring->control;
  const cipc_tier_t *first = &ring->tiers[0];
  cipc_index_t low = __atomic_load_n(&control->seen_low, __ATOMIC_RELAXED);
  uint64_t position = cipc_index_position(tail);
  uint64_t records = cipc_index_records(low, tail);
  uint64_t used = cipc_tier_used(first, cipc_index_position(low), position, records);
  // All in the first tier, which is mapped, with space as far as was last seen.
  if (__builtin_expect(
          ((low | tail) & CIPC_INDEX_TIER_MASK) == 0 && used + units <= ring->first_space &&
              records < ring->records &&
              position + units <= __atomic_load_n(&control->backed[0], __ATOMIC_RELAXED) &&
              position + units <= first->units,
          1)) {
    *place = tail;
    return 0;
  }
  return cipc_tiers_place_slowly(ring, tail, units, place);
}

// The index behind a record of `units`.
static inline cipc_index_t cipc_tiers_behind(const cipc_ring_t *ring, cipc_index_t index,
                                             uint64_t units) {
  uint32_t tier = cipc_index_tier(index);
  uint64_t position = (cipc_index_position(index) + units) & (ring->tiers[tier].units - 1);
  return cipc_index_make(tier, position, cipc_index_number(index) + 1);
}

// Goes to where the record at `index` really is, if its tier was closed there; `*limit` is where
// what can be read in that tier ends. `end` is behind the last record: a tail. They differ.
//
// 0, and the tier is mapped; CIPC_ERINGINDEX; CIPC_ENOMEM, -errno.
int cipc_tiers_follow_slowly(cipc_ring_t *ring, cipc_index_t *index, cipc_index_t end,
                             cipc_index_t *limit);
static inline int cipc_tiers_follow(cipc_ring_t *ring, cipc_index_t *index, cipc_index_t end,
                                    cipc_index_t *limit) {
  // The first tier is always mapped.
  if (__builtin_expect(((*index | end) & CIPC_INDEX_TIER_MASK) == 0, 1)) {
    *limit = end;
    return 0;
  }
  return cipc_tiers_follow_slowly(ring, index, end, limit);
}

// Reads the length of the record at an index that was followed, once, and checks it: 0, and where
// the next one is; CIPC_ERINGRECORD.
static inline int cipc_tiers_read(const cipc_ring_t *ring, cipc_index_t index, cipc_index_t limit,
                                  size_t *length, cipc_index_t *next) {
  const cipc_tier_t *tier = &ring->tiers[cipc_index_tier(index)];
  uint64_t used = cipc_tier_used(tier, cipc_index_position(index), cipc_index_position(limit),
                                 cipc_index_records(index, limit));
  // Once: it is the others' to write.
  uint32_t claimed = (uint32_t)__atomic_load_n(cipc_tiers_at(ring, index), __ATOMIC_RELAXED);
  uint64_t units = cipc_ring_units(ring, claimed);
  if (__builtin_expect(units > used, 0)) return CIPC_ERINGRECORD;
  *length = claimed;
  *next = cipc_tiers_behind(ring, index, units);
  return 0;
}

// With the consumers' side: the record at `index`, if there is one. 0, CIPC_EAGAIN, CIPC_EFINISHED,
// and what cipc_tiers_follow and cipc_tiers_read return.
int cipc_tiers_find(cipc_ring_t *ring, cipc_index_t *index, size_t *length, cipc_index_t *next);

// With the producers' side: gives back some of the memory of tiers that are not in use; whether
// there may be more.
bool cipc_tiers_trim_some(cipc_ring_t *ring);
// The same, all of it.
void cipc_tiers_trim(cipc_ring_t *ring);

#endif
