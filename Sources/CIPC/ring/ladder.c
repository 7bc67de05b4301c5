/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/mman.h>
#include <unistd.h>

#include "ring/ring.h"
#include "segment/pages.h"
#include "segment/segment.h"

// From one rung to the next.
#define GROWTH 16u
// Memory is given in steps of this, the first rung's aside, and taken in larger ones, so many at a
// time: that takes some 10 ms, and keeps producers out for as long.
#define STEP (UINT64_C(1) << 20)
#define TRIM (UINT64_C(1) << 24)
#define TRIMS 4
// How long memory beyond the first rung is kept for what may come next: to give and to take it
// costs about as much as to copy what goes through it.
#define KEEP INT64_C(50000000)
// Consumers are fast that take so many records in so many pauses, of 15 to 50 ns each.
#define PROGRESS_PAUSES 128u
#define PROGRESS_RECORDS 16u
// In a rung beyond the first, how often the tail asks whether so little is left that it can return.
#define REVIEW_UNITS (UINT64_C(16384) / CIPC_RING_UNIT)

static uint64_t power_of_two(uint64_t least) {
  uint64_t power = 1;
  while (power < least) power <<= 1;
  return power;
}

uint32_t cipc_ladder_plan(unsigned flags, uint64_t capacity, cipc_rung_t *rungs, size_t *size,
                          size_t *backed) {
  bool is_spsc = (flags & CIPC_RING_SPSC) != 0;
  unsigned leases = flags & (CIPC_RING_LEASED | CIPC_RING_TRACKED);
  if ((flags & ~(unsigned)(CIPC_RING_SPSC | CIPC_RING_LEASED | CIPC_RING_TRACKED)) != 0) return 0;
  if ((leases & (leases - 1)) != 0 || (leases != 0 && is_spsc)) return 0;
  if (capacity < 64 || capacity > CIPC_RING_CAPACITY_MAXIMUM) return 0;
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t top = power_of_two(capacity > page ? capacity : page);
  uint32_t count = 0;
  uint64_t sizes[CIPC_RING_RUNGS];
  if (!is_spsc && top > CIPC_RING_SINGLE) {
    for (uint64_t rung = CIPC_RING_FIRST; rung < top; rung *= GROWTH) sizes[count++] = rung;
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
    rungs[i] = (cipc_rung_t){.offset = (size_t)offset, .units = sizes[i] / CIPC_RING_UNIT};
    offset += sizes[i];
  }
  *size = (size_t)offset;
  return count;
}

// MARK: Mappings

int cipc_ladder_map(cipc_ring_t *ring, uint32_t rung, unsigned char **base) {
  unsigned char *found = __atomic_load_n(&ring->rungs[rung].base, __ATOMIC_ACQUIRE);
  if (__builtin_expect(found == NULL, 0)) {
    unsigned char *made = NULL;
    size_t length = (size_t)ring->rungs[rung].units * CIPC_RING_UNIT;
    int status = cipc_segment_map_twice(ring->segment, ring->rungs[rung].offset, length, &made);
    if (status < 0) return status;
    // A producer and a consumer of this process may come here at the same time.
    if (__atomic_compare_exchange_n(&ring->rungs[rung].base, &found, made, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
      found = made;
    } else {
      (void)munmap(made, 2 * length);
    }
  }
  *base = found;
  return 0;
}

void cipc_ladder_unmap(cipc_ring_t *ring) {
  for (uint32_t i = 0; i < ring->rung_count; i++) {
    cipc_rung_t *rung = &ring->rungs[i];
    if (rung->base != NULL) (void)munmap(rung->base, 2 * (size_t)rung->units * CIPC_RING_UNIT);
    rung->base = NULL;
  }
}

// MARK: Chains

// What stands in `closed` for a rung, read once: false if it leads nowhere.
static bool read_closed(const cipc_ring_t *ring, uint32_t rung, cipc_index_t *closed) {
  *closed = __atomic_load_n(&ring->control->closed[rung], __ATOMIC_RELAXED);
  return cipc_index_rung(*closed) < ring->rung_count &&
         cipc_index_position(*closed) < ring->rungs[rung].units;
}

int cipc_ladder_measure(const cipc_ring_t *ring, cipc_index_t from, cipc_index_t to,
                        cipc_ladder_extent_t *extent) {
  if (!cipc_ladder_has(ring, from) || !cipc_ladder_has(ring, to)) return CIPC_ERINGINDEX;
  uint32_t rung = cipc_index_rung(from);
  uint64_t position = cipc_index_position(from);
  uint64_t units = 0;
  uint32_t chain = 0;
  // Each step adds a rung to the chain, so there are at most as many as rungs.
  while ((chain & 1u << rung) == 0) {
    chain |= 1u << rung;
    if (rung == cipc_index_rung(to)) {
      uint64_t last = cipc_rung_used(&ring->rungs[rung], position, cipc_index_position(to),
                                     cipc_index_records(from, to));
      *extent = (cipc_ladder_extent_t){.units = units + last, .last = last, .chain = chain};
      return 0;
    }
    cipc_index_t closed;
    if (!read_closed(ring, rung, &closed)) break;
    units += cipc_rung_used(&ring->rungs[rung], position, cipc_index_position(closed),
                            cipc_index_records(from, closed));
    rung = cipc_index_rung(closed);
    position = 0;
    from = closed;
  }
  return CIPC_ERINGINDEX;
}

int cipc_ladder_follow_slowly(cipc_ring_t *ring, cipc_index_t *index, cipc_index_t end,
                              cipc_index_t *limit) {
  *limit = end;
  for (uint32_t i = 0; cipc_index_rung(*index) != cipc_index_rung(end); i++) {
    cipc_index_t closed;
    if (i == CIPC_RING_RUNGS || !read_closed(ring, cipc_index_rung(*index), &closed)) {
      return CIPC_ERINGINDEX;
    }
    *limit = closed;
    if (cipc_index_records(*index, closed) != 0) break;
    *index = cipc_index_make(cipc_index_rung(closed), 0, cipc_index_number(closed));
    *limit = end;
    cipc_rung_t *next = &ring->rungs[cipc_index_rung(closed)];
    __atomic_store_n(&next->entered, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&next->step, 0, __ATOMIC_RELAXED);
  }
  unsigned char *base;
  uint32_t rung = cipc_index_rung(*index);
  int status = cipc_ladder_map(ring, rung, &base);
  if (status < 0 || rung == 0) return status;
  uint64_t step = cipc_index_position(*index) / (STEP / CIPC_RING_UNIT) + 1;
  cipc_rung_t *here = &ring->rungs[rung];
  if (__atomic_load_n(&here->step, __ATOMIC_RELAXED) == step) return 0;
  __atomic_store_n(&here->step, step, __ATOMIC_RELAXED);
  __atomic_store_n(&ring->busy_at, cipc_clock_now(), __ATOMIC_RELAXED);
  // As `back` does for the producer's pages, for those of this process. Once, until the rung is
  // come to anew: asking costs as much as the copy of what is there.
  if (step > __atomic_load_n(&here->entered, __ATOMIC_RELAXED)) {
    __atomic_store_n(&here->entered, step, __ATOMIC_RELAXED);
    cipc_pages_populate(base + (step - 1) * STEP, STEP, false);
  }
  return 0;
}

// MARK: Room

// Gives a rung memory up to a position.
static int back(cipc_ring_t *ring, uint32_t rung, uint64_t end) {
  cipc_ring_control_t *control = ring->control;
  uint64_t units = ring->rungs[rung].units;
  uint64_t from = __atomic_load_n(&control->backed[rung], __ATOMIC_RELAXED);
  if (from > units) from = units;
  if (end > units) end = units;
  if (from >= end) return 0;
  uint64_t step = STEP / CIPC_RING_UNIT;
  uint64_t upto = (end + step - 1) / step * step;
  if (upto > units) upto = units;
  // Before the memory is there: who is killed in between leaves it to whoever trims.
  if (__atomic_load_n(&control->touched[rung], __ATOMIC_RELAXED) < upto) {
    __atomic_store_n(&control->touched[rung], upto, __ATOMIC_RELAXED);
  }
  size_t offset = (size_t)from * CIPC_RING_UNIT, length = (size_t)(upto - from) * CIPC_RING_UNIT;
  int status = cipc_segment_back(ring->segment, ring->rungs[rung].offset + offset, length);
  if (status < 0) return status;
  __atomic_store_n(&control->backed[rung], upto, __ATOMIC_RELAXED);
  // All at once costs a fifth of a fault for each page.
  if (rung != 0) cipc_pages_populate(ring->rungs[rung].base + offset, length, true);
  return 0;
}

// The rung in which `units` go, given what is in use up to the tail; RUNGS for none.
static uint32_t choose(const cipc_ring_t *ring, uint32_t rung, uint64_t units,
                       const cipc_ladder_extent_t *extent) {
  if (rung != 0 && extent->chain == 1u << rung &&
      extent->units + units <= ring->rungs[0].units / 4) {
    return 0;
  }
  if (extent->last + units <= ring->rungs[rung].units) return rung;
  for (uint32_t next = rung + 1; next < ring->rung_count; next++) {
    if ((extent->chain & 1u << next) == 0 && units <= ring->rungs[next].units) return next;
  }
  return CIPC_RING_RUNGS;
}

static int place_in(cipc_ring_t *ring, cipc_index_t tail, uint64_t units, uint32_t target,
                    cipc_index_t *place) {
  uint32_t rung = cipc_index_rung(tail);
  cipc_index_t found = target == rung ? tail : cipc_index_make(target, 0, cipc_index_number(tail));
  unsigned char *base;
  int status = cipc_ladder_map(ring, target, &base);
  if (status < 0) return status;
  uint64_t end = cipc_index_position(found) + units;
  if (__builtin_expect(__atomic_load_n(&ring->control->backed[target], __ATOMIC_RELAXED) < end &&
                           ring->control->backed[target] < ring->rungs[target].units,
                       0)) {
    status = back(ring, target, end);
    if (status < 0) return status;
  }
  if (target != rung) {
    cipc_index_t closed =
        cipc_index_make(target, cipc_index_position(tail), cipc_index_number(tail));
    __atomic_store_n(&ring->control->closed[rung], closed, __ATOMIC_RELAXED);
  }
  *place = found;
  return 0;
}

// Whether consumers are so fast that there is room in the first rung within some microseconds: then
// it is better to stay there, in the cache, than to go on in fresh memory.
static bool is_soon_free(const cipc_ring_t *ring, cipc_index_t low, uint64_t units) {
  uint64_t wanted = ring->rungs[0].units / 4;
  if (wanted < units) return false;
  // Each round frees at least as many units as records, or is the last.
  for (uint64_t freed = 0; freed < wanted;) {
    cipc_patience_pause(PROGRESS_PAUSES);
    cipc_index_t now = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
    uint64_t moved =
        (cipc_index_position(now) - cipc_index_position(low)) & (ring->rungs[0].units - 1);
    // Less than the records can be: scribbled over.
    if (cipc_index_rung(now) != 0 || moved < PROGRESS_RECORDS ||
        cipc_index_records(low, now) < PROGRESS_RECORDS) {
      return false;
    }
    freed += moved;
    low = now;
  }
  return true;
}

int cipc_ladder_place_slowly(cipc_ring_t *ring, cipc_index_t tail, uint64_t units,
                             cipc_index_t *place) {
  cipc_ring_control_t *control = ring->control;
  uint64_t position = cipc_index_position(tail);
  bool may_wait = true;
  bool is_fresh =
      cipc_index_rung(tail) != 0 && position / REVIEW_UNITS != (position + units) / REVIEW_UNITS;
  for (;; is_fresh = true) {
    // What lies before it has been read by whoever moved it, and may be written over. Sequentially
    // consistent, as sleepers.h wants it of a second look.
    cipc_index_t low = is_fresh ? __atomic_load_n(ring->low, __ATOMIC_SEQ_CST)
                                : __atomic_load_n(&control->seen_low, __ATOMIC_RELAXED);
    if (is_fresh) __atomic_store_n(&control->seen_low, low, __ATOMIC_RELAXED);
    cipc_ladder_extent_t extent;
    int status = cipc_ladder_measure(ring, low, tail, &extent);
    uint32_t target = CIPC_RING_RUNGS;
    if (status == 0 && extent.units + units <= ring->capacity &&
        cipc_index_records(low, tail) < ring->records) {
      target = choose(ring, cipc_index_rung(tail), units, &extent);
    }
    bool is_here = target == cipc_index_rung(tail);
    // What was last seen may be stale: no reason to say that it is full, nor to go on elsewhere.
    if (!is_fresh && !is_here) continue;
    if (status < 0) return status;
    if (target == CIPC_RING_RUNGS) return CIPC_EAGAIN;
    if (!is_here && cipc_index_rung(tail) == 0 && may_wait && is_soon_free(ring, low, units)) {
      may_wait = false;
      continue;
    }
    return place_in(ring, tail, units, target, place);
  }
}

// MARK: Giving memory back

// Gives back at most TRIM bytes of rungs outside of the chain; whether there may be more.
static bool trim_some(cipc_ring_t *ring) {
  cipc_ring_control_t *control = ring->control;
  cipc_index_t tail = __atomic_load_n(&control->tail, __ATOMIC_RELAXED);
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_ACQUIRE);
  cipc_ladder_extent_t extent;
  if (cipc_ladder_measure(ring, low, tail, &extent) < 0) return false;
  for (uint32_t rung = 1; rung < ring->rung_count; rung++) {
    uint64_t touched = __atomic_load_n(&control->touched[rung], __ATOMIC_RELAXED);
    if (touched == 0 || (extent.chain & 1u << rung) != 0) continue;
    uint64_t units = ring->rungs[rung].units;
    if (touched > units) touched = units;
    uint64_t from = touched > TRIM / CIPC_RING_UNIT ? touched - TRIM / CIPC_RING_UNIT : 0;
    // First what counts on the memory, last what knows of it: killed anywhere, it is done again.
    __atomic_store_n(&control->backed[rung], 0, __ATOMIC_RELAXED);
    if (cipc_segment_drop(ring->segment, ring->rungs[rung].offset + (size_t)from * CIPC_RING_UNIT,
                          (size_t)(touched - from) * CIPC_RING_UNIT) < 0) {
      return false;
    }
    __atomic_store_n(&control->touched[rung], from, __ATOMIC_RELAXED);
    return true;
  }
  return false;
}

void cipc_ladder_trim(cipc_ring_t *ring) {
  // Once for each piece that there can be, whatever others say of what has memory.
  uint64_t pieces = 0;
  for (uint32_t i = 0; i < ring->rung_count; i++) {
    pieces += ring->rungs[i].units * CIPC_RING_UNIT / TRIM + 1;
  }
  while (pieces-- != 0 && trim_some(ring)) {
  }
}

// With both sides: has an empty ring be in its first rung.
static void go_back(cipc_ring_t *ring, cipc_index_t tail) {
  cipc_ring_control_t *control = ring->control;
  uint32_t rung = cipc_index_rung(tail);
  cipc_index_t first = tail & ~CIPC_INDEX_FINISHED;
  if (rung != 0) {
    uint64_t number = cipc_index_number(tail);
    first = cipc_index_make(0, 0, number);
    __atomic_store_n(&control->closed[rung], cipc_index_make(0, cipc_index_position(tail), number),
                     __ATOMIC_RELAXED);
    // Commit point of going back. The head can follow at any time: producers that know of an older
    // one, in the first rung, stay there, and look anew before they go on elsewhere.
    __atomic_store_n(&control->tail, first | (tail & CIPC_INDEX_FINISHED), __ATOMIC_SEQ_CST);
  }
  __atomic_store_n(&control->seen_tail, first, __ATOMIC_RELAXED);
  __atomic_store_n(&control->head, first, __ATOMIC_SEQ_CST);
  __atomic_store_n(ring->low, first, __ATOMIC_SEQ_CST);
  __atomic_store_n(&control->seen_low, first, __ATOMIC_RELAXED);
}

static bool is_tidy(const cipc_ring_t *ring) {
  const cipc_ring_control_t *control = ring->control;
  uint64_t touched = cipc_index_rung(__atomic_load_n(&control->head, __ATOMIC_RELAXED));
  for (uint32_t rung = 1; rung < ring->rung_count; rung++) {
    touched |= __atomic_load_n(&control->touched[rung], __ATOMIC_RELAXED);
  }
  return touched == 0;
}

void cipc_ladder_tidy(cipc_ring_t *ring) {
  if (ring->rung_count == 1 || is_tidy(ring)) return;
  cipc_deadline_t busy_at = __atomic_load_n(&ring->busy_at, __ATOMIC_RELAXED);
  if (busy_at != 0 && cipc_clock_now() - busy_at < KEEP) return;
  if (cipc_producer_enter(ring, CIPC_IMMEDIATELY) < 0) return;
  cipc_index_t tail = __atomic_load_n(&ring->control->tail, __ATOMIC_RELAXED);
  cipc_index_t low = __atomic_load_n(ring->low, __ATOMIC_RELAXED);
  bool is_empty = cipc_ladder_has(ring, tail) && cipc_index_records(low, tail) == 0;
  if (is_empty && (cipc_index_rung(tail) != 0 || cipc_index_rung(low) != 0)) go_back(ring, tail);
  for (int i = 0; i < TRIMS && trim_some(ring); i++) {
  }
  cipc_producer_leave(ring);
}

void cipc_ladder_turn(cipc_ring_t *ring, cipc_index_t to) {
  if (cipc_index_rung(to) != 0) {
    __atomic_store_n(&ring->busy_at, cipc_clock_now(), __ATOMIC_RELAXED);
  }
  cipc_ladder_tidy(ring);
}
