/* SPDX-License-Identifier: Apache-2.0 */
#include "ring/tiers.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "cipc/processor.h"
#include "segment/pages.h"
#include "segment/segment.h"

// From one tier to the next.
#define GROWTH 16u
// Memory is given in steps of this, the first tier's aside, and taken in larger ones.
#define STEP (UINT64_C(1) << 20)
#define TRIM (UINT64_C(1) << 24)
// Consumers are fast that take so many records in so many pauses, of 15 to 50 ns each.
#define PROGRESS_PAUSES 128u
#define PROGRESS_RECORDS 16u
// In a tier beyond the first, how often the tail asks whether so little is left that it can return.
#define REVIEW_UNITS (UINT64_C(16384) / CIPC_RING_UNIT)

static uint64_t power_of_two(uint64_t least) {
  uint64_t power = 1;
  while (power < least) power <<= 1;
  return power;
}

uint32_t cipc_tiers_plan(unsigned flags, uint64_t capacity, cipc_tier_t *tiers, size_t *size,
                         size_t *backed) {
  bool is_spsc = (flags & CIPC_RING_SPSC) != 0;
  unsigned leases = flags & (CIPC_RING_LEASED | CIPC_RING_TRACKED);
  if ((flags & ~(unsigned)(CIPC_RING_SPSC | CIPC_RING_LEASED | CIPC_RING_TRACKED)) != 0) return 0;
  if ((leases & (leases - 1)) != 0 || (leases != 0 && is_spsc)) return 0;
  if (capacity < 64 || capacity > CIPC_RING_CAPACITY_MAXIMUM) return 0;
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t top = power_of_two(capacity > page ? capacity : page);
  uint32_t count = 0;
  uint64_t sizes[CIPC_RING_TIERS];
  if (!is_spsc && top > CIPC_RING_SINGLE) {
    for (uint64_t tier = CIPC_RING_FIRST; tier < top; tier *= GROWTH) sizes[count++] = tier;
    // Two that hold everything: while what is in one is drained, the other can fill.
    sizes[count++] = top;
  }
  sizes[count++] = top;
  // Pages of the file, in front of whose payload there is the segment's header.
  uint64_t offset =
      (CIPC_SEGMENT_HEADER_SIZE + sizeof(cipc_ring_control_t) + page - 1) / page * page -
      CIPC_SEGMENT_HEADER_SIZE;
  uint64_t first = is_spsc || top < CIPC_RING_FIRST ? top : CIPC_RING_FIRST;
  *backed = (size_t)(offset + first);
  for (uint32_t i = 0; i < count; i++) {
    tiers[i] = (cipc_tier_t){.offset = (size_t)offset, .units = sizes[i] / CIPC_RING_UNIT};
    offset += sizes[i];
  }
  *size = (size_t)offset;
  return count;
}

// MARK: Mappings

int cipc_tiers_map(cipc_ring_t *ring, uint32_t tier, unsigned char **base) {
  unsigned char *found = __atomic_load_n(&ring->tiers[tier].base, __ATOMIC_ACQUIRE);
  if (__builtin_expect(found == NULL, 0)) {
    unsigned char *made = NULL;
    size_t length = (size_t)ring->tiers[tier].units * CIPC_RING_UNIT;
    int status = cipc_segment_map_twice(ring->segment, ring->tiers[tier].offset, length, &made);
    if (status < 0) return status;
    // A producer and a consumer of this process may come here at the same time.
    if (__atomic_compare_exchange_n(&ring->tiers[tier].base, &found, made, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
      found = made;
    } else {
      (void)munmap(made, 2 * length);
    }
  }
  *base = found;
  return 0;
}

void cipc_tiers_unmap(cipc_ring_t *ring) {
  for (uint32_t i = 0; i < ring->tier_count; i++) {
    cipc_tier_t *tier = &ring->tiers[i];
    if (tier->base != NULL) (void)munmap(tier->base, 2 * (size_t)tier->units * CIPC_RING_UNIT);
    tier->base = NULL;
  }
}

// MARK: Chains

// What stands in `closed` for a tier, read once: false if it leads nowhere.
static bool read_closed(const cipc_ring_t *ring, uint32_t tier, cipc_index_t *closed) {
  *closed = __atomic_load_n(&ring->control->closed[tier], __ATOMIC_RELAXED);
  return cipc_index_tier(*closed) < ring->tier_count &&
         cipc_index_position(*closed) < ring->tiers[tier].units;
}

int cipc_tiers_measure(const cipc_ring_t *ring, cipc_index_t from, cipc_index_t to,
                       cipc_tiers_extent_t *extent) {
  if (!cipc_tiers_has(ring, from) || !cipc_tiers_has(ring, to)) return CIPC_ERINGINDEX;
  uint32_t tier = cipc_index_tier(from);
  uint64_t position = cipc_index_position(from);
  uint64_t units = 0;
  uint32_t seen = 0;
  // Each step adds a tier, so there are at most as many as tiers.
  while ((seen & 1u << tier) == 0) {
    seen |= 1u << tier;
    if (tier == cipc_index_tier(to)) {
      uint64_t last = cipc_tier_used(&ring->tiers[tier], position, cipc_index_position(to),
                                     cipc_index_records(from, to));
      *extent = (cipc_tiers_extent_t){.units = units + last, .last = last, .tiers = seen};
      return 0;
    }
    cipc_index_t closed;
    if (!read_closed(ring, tier, &closed)) break;
    units += cipc_tier_used(&ring->tiers[tier], position, cipc_index_position(closed),
                            cipc_index_records(from, closed));
    tier = cipc_index_tier(closed);
    position = 0;
    from = closed;
  }
  return CIPC_ERINGINDEX;
}

int cipc_tiers_follow_slowly(cipc_ring_t *ring, cipc_index_t *index, cipc_index_t end,
                             cipc_index_t *limit) {
  *limit = end;
  for (uint32_t i = 0; cipc_index_tier(*index) != cipc_index_tier(end); i++) {
    cipc_index_t closed;
    if (i == CIPC_RING_TIERS || !read_closed(ring, cipc_index_tier(*index), &closed)) {
      return CIPC_ERINGINDEX;
    }
    *limit = closed;
    if (cipc_index_records(*index, closed) != 0) break;
    *index = cipc_index_make(cipc_index_tier(closed), 0, cipc_index_number(closed));
    *limit = end;
    cipc_tier_t *next = &ring->tiers[cipc_index_tier(closed)];
    __atomic_store_n(&next->entered, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&next->step, 0, __ATOMIC_RELAXED);
  }
  unsigned char *base;
  uint32_t tier = cipc_index_tier(*index);
  int status = cipc_tiers_map(ring, tier, &base);
  if (status < 0 || tier == 0) return status;
  uint64_t step = cipc_index_position(*index) / (STEP / CIPC_RING_UNIT) + 1;
  cipc_tier_t *here = &ring->tiers[tier];
  if (__atomic_load_n(&here->step, __ATOMIC_RELAXED) == step) return 0;
  __atomic_store_n(&here->step, step, __ATOMIC_RELAXED);
  __atomic_store_n(&ring->busy_at, cipc_clock_now(), __ATOMIC_RELAXED);
  // As `back` does for the producer's pages, for those of this process. Once, until the tier is
  // come to anew: asking costs as much as the copy of what is there.
  if (step > __atomic_load_n(&here->entered, __ATOMIC_RELAXED)) {
    __atomic_store_n(&here->entered, step, __ATOMIC_RELAXED);
    cipc_pages_populate(base + (step - 1) * STEP, STEP, false);
  }
  return 0;
}

int cipc_tiers_find(cipc_ring_t *ring, cipc_index_t *index, size_t *length, cipc_index_t *next) {
  cipc_ring_control_t *control = ring->control;
  cipc_index_t end = __atomic_load_n(&control->seen_tail, __ATOMIC_RELAXED);
  if (!cipc_tiers_has(ring, end) || cipc_index_records(*index, end) == 0) {
    // Acquire: what lies before it is written.
    end = __atomic_load_n(&control->tail, __ATOMIC_SEQ_CST);
    if (!cipc_tiers_has(ring, end)) return CIPC_ERINGINDEX;
    bool is_finished = (end & CIPC_INDEX_FINISHED) != 0;
    end &= ~CIPC_INDEX_FINISHED;
    __atomic_store_n(&control->seen_tail, end, __ATOMIC_RELAXED);
    if (cipc_index_records(*index, end) == 0) return is_finished ? CIPC_EFINISHED : CIPC_EAGAIN;
  }
  cipc_index_t limit;
  int status = cipc_tiers_follow(ring, index, end, &limit);
  return status < 0 ? status : cipc_tiers_read(ring, *index, limit, length, next);
}

// MARK: Space

// Gives a tier memory up to a position.
static int back(cipc_ring_t *ring, uint32_t tier, uint64_t end) {
  cipc_ring_control_t *control = ring->control;
  uint64_t units = ring->tiers[tier].units;
  uint64_t from = __atomic_load_n(&control->backed[tier], __ATOMIC_RELAXED);
  if (from > units) from = units;
  if (end > units) end = units;
  if (from >= end) return 0;
  uint64_t step = STEP / CIPC_RING_UNIT;
  uint64_t upto = (end + step - 1) / step * step;
  if (upto > units) upto = units;
  // Before the memory is there: who is killed in between leaves it to whoever trims.
  if (__atomic_load_n(&control->touched[tier], __ATOMIC_RELAXED) < upto) {
    __atomic_store_n(&control->touched[tier], upto, __ATOMIC_RELAXED);
  }
  size_t offset = (size_t)from * CIPC_RING_UNIT, length = (size_t)(upto - from) * CIPC_RING_UNIT;
  int status = cipc_segment_back(ring->segment, ring->tiers[tier].offset + offset, length);
  if (status < 0) return status;
  __atomic_store_n(&control->backed[tier], upto, __ATOMIC_RELAXED);
  // All at once costs a fifth of a fault for each page.
  if (tier != 0) cipc_pages_populate(ring->tiers[tier].base + offset, length, true);
  return 0;
}

// The tier in which `units` go, given what is in use up to the tail; TIERS for none.
static uint32_t choose(const cipc_ring_t *ring, uint32_t tier, uint64_t units,
                       const cipc_tiers_extent_t *extent) {
  if (tier != 0 && extent->tiers == 1u << tier &&
      extent->units + units <= ring->tiers[0].units / 4) {
    return 0;
  }
  if (extent->last + units <= ring->tiers[tier].units) return tier;
  for (uint32_t next = tier + 1; next < ring->tier_count; next++) {
    if ((extent->tiers & 1u << next) == 0 && units <= ring->tiers[next].units) return next;
  }
  return CIPC_RING_TIERS;
}

static int place_in(cipc_ring_t *ring, cipc_index_t tail, uint64_t units, uint32_t target,
                    cipc_index_t *place) {
  uint32_t tier = cipc_index_tier(tail);
  cipc_index_t found = target == tier ? tail : cipc_index_make(target, 0, cipc_index_number(tail));
  unsigned char *base;
  int status = cipc_tiers_map(ring, target, &base);
  if (status < 0) return status;
  uint64_t end = cipc_index_position(found) + units;
  if (__builtin_expect(__atomic_load_n(&ring->control->backed[target], __ATOMIC_RELAXED) < end &&
                           ring->control->backed[target] < ring->tiers[target].units,
                       0)) {
    status = back(ring, target, end);
    if (status < 0) return status;
  }
  if (target != tier) {
    cipc_index_t closed =
        cipc_index_make(target, cipc_index_position(tail), cipc_index_number(tail));
    __atomic_store_n(&ring->control->closed[tier], closed, __ATOMIC_RELAXED);
  }
  *place = found;
  return 0;
}

// Whether consumers are so fast that there is space in the first tier within some microseconds:
// then it is better to stay there, in the cache, than to go on in fresh memory.
static bool is_soon_free(const cipc_ring_t *ring, cipc_index_t low, uint64_t units) {
  uint64_t wanted = ring->tiers[0].units / 4;
  if (wanted < units) return false;
  // Each round frees at least as many units as records, or is the last.
  for (uint64_t freed = 0; freed < wanted;) {
    for (uint32_t i = 0; i < PROGRESS_PAUSES; i++) cipc_processor_pause();
    cipc_index_t now = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
    uint64_t moved =
        (cipc_index_position(now) - cipc_index_position(low)) & (ring->tiers[0].units - 1);
    // Less than the records can be: scribbled over.
    if (cipc_index_tier(now) != 0 || moved < PROGRESS_RECORDS ||
        cipc_index_records(low, now) < PROGRESS_RECORDS) {
      return false;
    }
    freed += moved;
    low = now;
  }
  return true;
}

int cipc_tiers_place_slowly(cipc_ring_t *ring, cipc_index_t tail, uint64_t units,
                            cipc_index_t *place) {
  cipc_ring_control_t *control = ring->control;
  uint64_t position = cipc_index_position(tail);
  bool may_wait = true;
  bool is_fresh =
      cipc_index_tier(tail) != 0 && position / REVIEW_UNITS != (position + units) / REVIEW_UNITS;
  for (;; is_fresh = true) {
    // What lies before it has been read by whoever moved it, and may be written over. Sequentially
    // consistent, as eventcount.h wants it of a second look.
    cipc_index_t low = is_fresh ? __atomic_load_n(ring->low, __ATOMIC_SEQ_CST)
                                : __atomic_load_n(&control->seen_low, __ATOMIC_RELAXED);
    if (is_fresh) __atomic_store_n(&control->seen_low, low, __ATOMIC_RELAXED);
    cipc_tiers_extent_t extent;
    int status = cipc_tiers_measure(ring, low, tail, &extent);
    uint32_t target = CIPC_RING_TIERS;
    if (status == 0 && extent.units + units <= ring->capacity &&
        cipc_index_records(low, tail) < ring->records) {
      target = choose(ring, cipc_index_tier(tail), units, &extent);
    }
    bool is_here = target == cipc_index_tier(tail);
    // What was last seen may be stale: no reason to say that it is full, nor to go on elsewhere.
    if (!is_fresh && !is_here) continue;
    if (status < 0) return status;
    if (target == CIPC_RING_TIERS) return CIPC_EAGAIN;
    if (!is_here && cipc_index_tier(tail) == 0 && may_wait && is_soon_free(ring, low, units)) {
      may_wait = false;
      continue;
    }
    return place_in(ring, tail, units, target, place);
  }
}

// MARK: Giving memory back

bool cipc_tiers_trim_some(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_RELAXED);
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_ACQUIRE);
  cipc_tiers_extent_t extent;
  if (cipc_tiers_measure(ring, low, tail, &extent) < 0) return false;
  for (uint32_t tier = 1; tier < ring->tier_count; tier++) {
    uint64_t touched = __atomic_load_n(&control->touched[tier], __ATOMIC_RELAXED);
    if (touched == 0 || (extent.tiers & 1u << tier) != 0) continue;
    uint64_t units = ring->tiers[tier].units;
    if (touched > units) touched = units;
    uint64_t from = touched > TRIM / CIPC_RING_UNIT ? touched - TRIM / CIPC_RING_UNIT : 0;
    // First what counts on the memory, last what knows of it: killed anywhere, it is done again.
    __atomic_store_n(&control->backed[tier], 0, __ATOMIC_RELAXED);
    if (cipc_segment_drop(ring->segment, ring->tiers[tier].offset + (size_t)from * CIPC_RING_UNIT,
                          (size_t)(touched - from) * CIPC_RING_UNIT) < 0) {
      return false;
    }
    __atomic_store_n(&control->touched[tier], from, __ATOMIC_RELAXED);
    return true;
  }
  return false;
}

void cipc_tiers_trim(cipc_ring_t *ring) {
  // Once for each piece that there can be, whatever others say of what has memory.
  uint64_t pieces = 0;
  for (uint32_t i = 0; i < ring->tier_count; i++) {
    pieces += ring->tiers[i].units * CIPC_RING_UNIT / TRIM + 1;
  }
  while (pieces-- != 0 && cipc_tiers_trim_some(ring)) {
  }
}
