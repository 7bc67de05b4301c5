/* SPDX-License-Identifier: Apache-2.0 */
// Slots of an array, and tickets that name what is in one: the slot's generation and number, so
// that whoever comes too late with a ticket finds another generation, and nothing. No ticket is 0,
// and none has the highest bit.
//
// The array's elements begin with a cipc_slot_t. All calls are under the guard of the array's
// owner.
#ifndef CIPC_SLOTS_PRIVATE_H
#define CIPC_SLOTS_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cipc/status.h"

#define CIPC_SLOT_NOWHERE UINT32_MAX

typedef struct cipc_slot {
  uint32_t generation;
  uint32_t next_free;
  bool is_taken;
} cipc_slot_t;

typedef struct cipc_slots {
  void *elements;
  size_t size;  // of an element
  uint32_t count;
  uint32_t first_free;
} cipc_slots_t;

#define CIPC_SLOTS_OF(type) \
  { NULL, sizeof(type), 0, CIPC_SLOT_NOWHERE }

static inline cipc_slot_t *cipc_slots_at(const cipc_slots_t *slots, uint32_t slot) {
  return (cipc_slot_t *)(void *)((char *)slots->elements + slot * slots->size);
}

// Twice as many slots, of which the new ones are free and zero: 0; CIPC_ENOMEM.
static inline int cipc_slots_grow(cipc_slots_t *slots) {
  if (slots->count > CIPC_SLOT_NOWHERE / 4) return CIPC_ENOMEM;
  uint32_t before = slots->count, count = before == 0 ? 16 : before * 2;
  void *more = realloc(slots->elements, count * slots->size);
  if (more == NULL) return CIPC_ENOMEM;
  slots->elements = more;
  slots->count = count;
  memset(cipc_slots_at(slots, before), 0, (count - before) * slots->size);
  for (uint32_t slot = before; slot < count; slot++) {
    *cipc_slots_at(slots, slot) = (cipc_slot_t){
        .generation = 1, .next_free = slot + 1 < count ? slot + 1 : slots->first_free};
  }
  slots->first_free = before;
  return 0;
}

static inline bool cipc_slots_have_free(const cipc_slots_t *slots) {
  return slots->first_free != CIPC_SLOT_NOWHERE;
}

// The slot that is taken next, where one is free; its ticket is known before.
static inline uint32_t cipc_slots_next(const cipc_slots_t *slots) { return slots->first_free; }

// Takes that slot.
static inline void cipc_slots_take(cipc_slots_t *slots) {
  cipc_slot_t *taken = cipc_slots_at(slots, slots->first_free);
  slots->first_free = taken->next_free;
  taken->is_taken = true;
}

static inline uint64_t cipc_slots_ticket(const cipc_slots_t *slots, uint32_t slot) {
  return (uint64_t)cipc_slots_at(slots, slot)->generation << 32 | slot;
}

// The slot of a ticket that is not over, or CIPC_SLOT_NOWHERE.
static inline uint32_t cipc_slots_find(const cipc_slots_t *slots, uint64_t ticket) {
  uint32_t slot = (uint32_t)ticket;
  if (slot >= slots->count) return CIPC_SLOT_NOWHERE;
  const cipc_slot_t *found = cipc_slots_at(slots, slot);
  return found->is_taken && found->generation == ticket >> 32 ? slot : CIPC_SLOT_NOWHERE;
}

// Frees a slot: its ticket is over.
static inline void cipc_slots_release(cipc_slots_t *slots, uint32_t slot) {
  cipc_slot_t *released = cipc_slots_at(slots, slot);
  released->is_taken = false;
  released->generation = released->generation < INT32_MAX ? released->generation + 1 : 1;
  released->next_free = slots->first_free;
  slots->first_free = slot;
}

#endif
