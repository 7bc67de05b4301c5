/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/semaphore.h"

#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "segment/mismatch.h"
#include "segment/object.h"
#include "wait/eventcount.h"

_Static_assert(sizeof(cipc_semaphore_t) == 64, "the permits follow");

_Static_assert(CIPC_SEMAPHORE_WAITERS == CIPC_EVENTCOUNT_MARK, "told to the users");

// MARK: Owned

size_t cipc_semaphore_footprint(uint32_t capacity) {
  if (capacity == 0 || capacity > CIPC_SEMAPHORE_MAXIMUM) return 0;
  return sizeof(cipc_semaphore_t) + capacity * sizeof(cipc_participant_t);
}

int cipc_semaphore_init(cipc_semaphore_t *semaphore, uint32_t capacity) {
  size_t size = cipc_semaphore_footprint(capacity);
  if (size == 0) return CIPC_EINVAL;
  memset(semaphore, 0, size);
  return 0;
}

int cipc_semaphore_try_others(cipc_semaphore_t *semaphore, uint32_t capacity,
                              cipc_participant_t owner, uint32_t start) {
  if (owner == CIPC_PARTICIPANT_NOBODY) return CIPC_ESRCH;
  cipc_participant_t *permits = cipc_semaphore_permits(semaphore);
  for (uint32_t i = 0, place = start; i < capacity; i++) {
    // Sequentially consistent: who has set the waiters bit must see what was given back before.
    cipc_participant_t found = __atomic_load_n(&permits[place], __ATOMIC_SEQ_CST);
    // Commit point.
    if (found == CIPC_PARTICIPANT_NOBODY &&
        __atomic_compare_exchange_n(&permits[place], &found, owner, 0, __ATOMIC_SEQ_CST,
                                    __ATOMIC_RELAXED)) {
      return (int)place;
    }
    if (++place == capacity) place = 0;
  }
  return CIPC_EBUSY;
}

// A few who are known to be alive, so that who holds many permits is looked at once.
struct living {
  cipc_participant_t known[8];
  uint32_t next;
};

static bool is_dead(cipc_participant_t holder, struct living *living) {
  const uint32_t room = sizeof living->known / sizeof living->known[0];
  for (uint32_t i = 0; i < room; i++) {
    if (living->known[i] == holder) return false;
  }
  if (cipc_participant_check(holder) == CIPC_PARTICIPANT_DEAD) return true;
  living->known[living->next++ % room] = holder;
  return false;
}

// Frees what dead holders have left, and wakes as many as that helps.
static void reclaim(cipc_semaphore_t *semaphore, uint32_t capacity) {
  cipc_participant_t *permits = cipc_semaphore_permits(semaphore);
  struct living living = {.known = {cipc_participant_current()}, .next = 1};
  uint32_t freed = 0;
  for (uint32_t i = 0; i < capacity; i++) {
    cipc_participant_t holder = __atomic_load_n(&permits[i], __ATOMIC_RELAXED);
    if (holder == CIPC_PARTICIPANT_NOBODY || !is_dead(holder, &living)) continue;
    // Commit point. Only from the very identity that is dead, which is never met again: of two who
    // look, one frees it, and neither frees what a third has taken since.
    if (__atomic_compare_exchange_n(&permits[i], &holder, CIPC_PARTICIPANT_NOBODY, 0,
                                    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
      freed++;
    }
  }
  if (freed != 0) cipc_semaphore_wake_waiters(semaphore, freed);
}

int cipc_semaphore_step(cipc_semaphore_t *semaphore, uint32_t capacity, cipc_participant_t owner,
                        int look, cipc_wait_t *wait) {
  int permit = cipc_semaphore_try(semaphore, capacity, owner);
  if (permit == CIPC_EBUSY && look) {
    reclaim(semaphore, capacity);
    permit = cipc_semaphore_try(semaphore, capacity, owner);
  }
  if (permit == CIPC_EBUSY && wait != NULL) {
    *wait =
        (cipc_wait_t){.word = &semaphore->word, .expected = cipc_eventcount_mark(&semaphore->word)};
    permit = cipc_semaphore_try(semaphore, capacity, owner);
  }
  return permit == CIPC_EBUSY ? CIPC_EAGAIN : permit;
}

// Those who only try look for the dead as often as those who sleep.
static bool is_time_to_look(const cipc_semaphore_t *semaphore) {
  static __thread struct {
    const cipc_semaphore_t *semaphore;
    cipc_deadline_t next;
  } last;
  cipc_deadline_t now = cipc_clock_now();
  if (last.semaphore == semaphore && now < last.next) return false;
  last.semaphore = semaphore;
  last.next = now + CIPC_SLICE_NANOSECONDS;
  return true;
}

int cipc_semaphore_acquire_slowly(cipc_semaphore_t *semaphore, uint32_t capacity,
                                  cipc_participant_t owner, cipc_deadline_t deadline) {
  if (deadline <= CIPC_IMMEDIATELY) {
    // Without the mark of a sleeper, which would cost the holder a system call.
    int permit = cipc_semaphore_step(semaphore, capacity, owner, is_time_to_look(semaphore), NULL);
    return permit == CIPC_EAGAIN ? CIPC_ETIMEDOUT : permit;
  }
  int look = 0;
  for (;;) {
    cipc_wait_t wait;
    int permit = cipc_semaphore_step(semaphore, capacity, owner, look, &wait);
    if (permit != CIPC_EAGAIN) return permit;
    int status = cipc_wait_sleep(&wait, deadline);
    if (status < 0) return status;
    look = status == CIPC_WAIT_LOOK;
  }
}

void cipc_semaphore_wake(cipc_semaphore_t *semaphore, uint32_t count) {
  cipc_eventcount_wake_marked(&semaphore->word, count);
}

uint32_t cipc_semaphore_value(const cipc_semaphore_t *semaphore, uint32_t capacity) {
  uint32_t value = 0;
  for (uint32_t i = 0; i < capacity; i++) {
    if (cipc_semaphore_holder(semaphore, capacity, i) == CIPC_PARTICIPANT_NOBODY) value++;
  }
  return value;
}

cipc_participant_t cipc_semaphore_holder(const cipc_semaphore_t *semaphore, uint32_t capacity,
                                         uint32_t permit) {
  if (permit >= capacity) return CIPC_PARTICIPANT_NOBODY;
  return __atomic_load_n(cipc_semaphore_permits(semaphore) + permit, __ATOMIC_SEQ_CST);
}

// MARK: Unowned

int cipc_semaphore_init_unowned(cipc_semaphore_t *semaphore, uint32_t value, uint32_t bound) {
  if (bound == 0 || bound > CIPC_SEMAPHORE_BOUND_MAXIMUM) return CIPC_EINVAL;
  if (value > bound) return CIPC_ECAPACITY;
  memset(semaphore, 0, sizeof *semaphore);
  semaphore->count = value;
  semaphore->bound = bound;
  return 0;
}

int cipc_semaphore_take_step(cipc_semaphore_t *semaphore, cipc_wait_t *wait) {
  if (cipc_semaphore_try_take(semaphore) == 0) return 0;
  *wait =
      (cipc_wait_t){.word = &semaphore->word, .expected = cipc_eventcount_mark(&semaphore->word)};
  return cipc_semaphore_try_take(semaphore) == 0 ? 0 : CIPC_EAGAIN;
}

int cipc_semaphore_take_slowly(cipc_semaphore_t *semaphore, cipc_deadline_t deadline) {
  if (deadline <= CIPC_IMMEDIATELY) return CIPC_ETIMEDOUT;
  for (;;) {
    cipc_wait_t wait;
    int status = cipc_semaphore_take_step(semaphore, &wait);
    if (status != CIPC_EAGAIN) return status;
    status = cipc_wait_sleep(&wait, deadline);
    if (status < 0) return status;
  }
}

// MARK: By name

// The fingerprint tells the two kinds apart.
cipc_segment_type_t cipc_semaphore_type(uint64_t capacity) {
  const cipc_element_t permit = {.size = 8, .stride = 8, .alignment = 8, .fingerprint = 1};
  return cipc_object_type(CIPC_KIND_SEMAPHORE, 1, &permit, capacity);
}

cipc_segment_type_t cipc_semaphore_type_unowned(void) {
  const cipc_element_t all = {.size = sizeof(cipc_semaphore_t),
                              .stride = sizeof(cipc_semaphore_t),
                              .alignment = _Alignof(cipc_semaphore_t),
                              .fingerprint = 2};
  return cipc_object_type(CIPC_KIND_SEMAPHORE, 1, &all, 1);
}

static int prepare(void *payload, void *context) {
  return cipc_semaphore_init(payload, *(const uint32_t *)context);
}

static int check(const cipc_segment_t *segment, const cipc_object_t *object) {
  (void)object;
  uint64_t capacity = cipc_segment_count(segment);
  size_t footprint = capacity <= UINT32_MAX ? cipc_semaphore_footprint((uint32_t)capacity) : 0;
  if (footprint != 0) return cipc_object_fits(segment, footprint);
  return cipc_mismatch_numbers(CIPC_ESEGMENTCOUNT, capacity, CIPC_SEMAPHORE_MAXIMUM);
}

int cipc_semaphore_open_named(cipc_segment_t **segment, const char *name, uint64_t capacity) {
  return cipc_object_open(segment, name,
                          &(cipc_object_t){.type = cipc_semaphore_type(capacity), .check = check});
}

int cipc_semaphore_open_or_create(cipc_segment_t **segment, const char *name, uint32_t capacity) {
  if (cipc_semaphore_footprint(capacity) == 0) return CIPC_EINVAL;
  return cipc_object_make(segment, name,
                          &(cipc_object_t){.type = cipc_semaphore_type(capacity),
                                           .size = cipc_semaphore_footprint(capacity),
                                           .prepare = prepare,
                                           .context = &capacity,
                                           .check = check});
}

typedef struct first {
  uint32_t value;
  uint32_t bound;
} first_t;

static int prepare_unowned(void *payload, void *context) {
  const first_t *first = context;
  return cipc_semaphore_init_unowned(payload, first->value, first->bound);
}

static int check_unowned(const cipc_segment_t *segment, const cipc_object_t *object) {
  const first_t *wanted = object->context;
  uint32_t bound = cipc_semaphore_bound(cipc_segment_address(segment));
  if (wanted->bound == 0 || wanted->bound == bound) return 0;
  return cipc_mismatch_numbers(CIPC_ESEGMENTBOUND, bound, wanted->bound);
}

static cipc_object_t describe_unowned(first_t *first) {
  return (cipc_object_t){.type = cipc_semaphore_type_unowned(),
                         .size = sizeof(cipc_semaphore_t),
                         .prepare = prepare_unowned,
                         .context = first,
                         .check = check_unowned};
}

int cipc_semaphore_open_named_unowned(cipc_segment_t **segment, const char *name, uint32_t bound) {
  first_t first = {.bound = bound};
  const cipc_object_t object = describe_unowned(&first);
  return cipc_object_open(segment, name, &object);
}

int cipc_semaphore_open_or_create_unowned(cipc_segment_t **segment, const char *name,
                                          uint32_t value, uint32_t bound) {
  first_t first = {.value = value, .bound = bound};
  const cipc_object_t object = describe_unowned(&first);
  if (bound == 0) return CIPC_EINVAL;
  return cipc_object_make(segment, name, &object);
}
