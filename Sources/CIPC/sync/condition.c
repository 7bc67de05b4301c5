/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/condition.h"

#include <stdbool.h>
#include <string.h>

#include "base/futex.h"
#include "base/interrupt.h"
#include "segment/object.h"

_Static_assert(sizeof(cipc_condition_t) == 32, "the slots follow the condition");
_Static_assert(sizeof(cipc_condition_slot_t) == 32, "condition layout");
_Static_assert(32 + 32 * CIPC_CONDITION_WAITERS <= 4096 - CIPC_SEGMENT_HEADER_SIZE, "one page");

#define NONE UINT32_MAX

static cipc_condition_slot_t *slot_at(cipc_condition_t *condition, uint32_t index) {
  return (cipc_condition_slot_t *)(void *)(condition + 1) + index;
}

// The slots to look at. Read once: `slots` is the caller's, `used` anybody's.
static uint32_t slots_used(const cipc_condition_t *condition, uint32_t slots) {
  uint32_t used = __atomic_load_n(&condition->used, __ATOMIC_RELAXED);
  return used < slots ? used : slots;
}

static cipc_participant_t waiter_of(const cipc_condition_slot_t *slot) {
  return __atomic_load_n(&slot->waiter, __ATOMIC_RELAXED);
}

static uint64_t ticket_of(const cipc_condition_slot_t *slot) {
  return __atomic_load_n(&slot->ticket, __ATOMIC_RELAXED);
}

static void vacate(cipc_condition_slot_t *slot) {
  __atomic_store_n(&slot->waiter, CIPC_PARTICIPANT_NOBODY, __ATOMIC_RELEASE);
}

int cipc_condition_init(cipc_condition_t *condition, uint32_t slots) {
  if (slots == 0 || slots > UINT32_C(1) << 31) return CIPC_EINVAL;
  memset(condition, 0, cipc_condition_footprint(slots));
  condition->next = 1;
  return 0;
}

// The waiter with the smallest ticket above `after`; NONE.
static uint32_t oldest_after(cipc_condition_t *condition, uint32_t slots, uint64_t after) {
  uint32_t found = NONE;
  uint64_t least = UINT64_MAX;
  uint32_t used = slots_used(condition, slots);
  for (uint32_t i = 0; i < used; i++) {
    const cipc_condition_slot_t *slot = slot_at(condition, i);
    if (waiter_of(slot) == CIPC_PARTICIPANT_NOBODY) continue;
    uint64_t ticket = ticket_of(slot);
    if (ticket > after && ticket < least) {
      found = i;
      least = ticket;
    }
  }
  return found;
}

// Has a notified waiter look. Whether somebody slept there: who did not may be dead.
static bool wake(cipc_condition_slot_t *slot) {
  __atomic_store_n(&slot->asleep, 0, __ATOMIC_RELEASE);
  return cipc_futex_wake(&slot->asleep, INT32_MAX) > 0;
}

static bool is_dead(const cipc_condition_slot_t *slot) {
  return cipc_participant_check(waiter_of(slot)) == CIPC_PARTICIPANT_DEAD;
}

// Finishes what the journal says, if anything. Everything here may be done again: until the journal
// is cleared nobody enters, leaves or notifies.
static bool settle(cipc_condition_t *condition, uint32_t slots) {
  uint64_t journal = __atomic_load_n(&condition->journal, __ATOMIC_RELAXED);
  if (__builtin_expect(journal == 0, 1)) return false;
  uint32_t from = (uint32_t)(journal >> 32) - 1;
  uint32_t to = (uint32_t)journal - 1;
  bool woken = false;
  if (from < slots && to < slots) {
    uint64_t ticket = ticket_of(slot_at(condition, to));
    if (ticket > __atomic_load_n(&condition->notified, __ATOMIC_RELAXED)) {
      __atomic_store_n(&condition->notified, ticket, __ATOMIC_RELEASE);
    }
    vacate(slot_at(condition, from));
    woken = wake(slot_at(condition, to));
  }
  __atomic_store_n(&condition->journal, 0, __ATOMIC_RELEASE);
  return woken;
}

// Passes the notification of a dead waiter on, past all others that are found dead.
static void pass_on(cipc_condition_t *condition, uint32_t slots, uint32_t from) {
  // At most once to each, whatever their tickets say meanwhile.
  for (uint32_t i = 0; i < slots; i++) {
    cipc_condition_slot_t *dead = slot_at(condition, from);
    uint64_t limit = dead->limit;
    uint32_t to =
        oldest_after(condition, slots, __atomic_load_n(&condition->notified, __ATOMIC_RELAXED));
    if (to == NONE || ticket_of(slot_at(condition, to)) >= limit) {
      // Commit point when nobody else was waiting by then: the notification is over.
      vacate(dead);
      return;
    }
    slot_at(condition, to)->limit = limit;
    // Commit point of passing on: from here on it is the other's, and `settle` is repeated until
    // the tickets say so.
    __atomic_store_n(&condition->journal, (uint64_t)(from + 1) << 32 | (to + 1), __ATOMIC_RELEASE);
    if (settle(condition, slots) || !is_dead(slot_at(condition, to))) return;
    from = to;
  }
}

// Passes on what the dead have been notified of. `all`: also takes out those who were not notified.
static void look_for_dead(cipc_condition_t *condition, uint32_t slots, bool all) {
  uint32_t used = slots_used(condition, slots);
  for (uint32_t i = 0; i < used; i++) {
    cipc_condition_slot_t *slot = slot_at(condition, i);
    if (waiter_of(slot) == CIPC_PARTICIPANT_NOBODY) continue;
    bool notified = ticket_of(slot) <= __atomic_load_n(&condition->notified, __ATOMIC_RELAXED);
    if ((!notified && !all) || !is_dead(slot)) continue;
    if (notified) {
      pass_on(condition, slots, i);
    } else {
      vacate(slot);
    }
  }
}

// MARK: Waiting

static uint32_t find_free(cipc_condition_t *condition, uint32_t slots) {
  uint32_t used = slots_used(condition, slots);
  for (uint32_t i = 0; i < used; i++) {
    if (waiter_of(slot_at(condition, i)) == CIPC_PARTICIPANT_NOBODY) return i;
  }
  return used < slots ? used : NONE;
}

int cipc_condition_enter(cipc_condition_t *condition, uint32_t slots, cipc_mutex_t *mutex,
                         cipc_participant_t owner, cipc_condition_wait_t *entered) {
  if (!cipc_mutex_is_owned(mutex)) return CIPC_EPERM;
  // Where /proc is not mounted there are no identities: then nobody could be found dead.
  if (owner == CIPC_PARTICIPANT_NOBODY) return CIPC_ENOSYS;
  (void)settle(condition, slots);
  uint32_t index = find_free(condition, slots);
  if (index == NONE) {
    look_for_dead(condition, slots, true);
    index = find_free(condition, slots);
    if (index == NONE) return CIPC_ECAPACITY;
  }
  cipc_condition_slot_t *slot = slot_at(condition, index);
  entered->slot = index;
  entered->ticket = condition->next;
  entered->depth = mutex->depth;
  condition->next = entered->ticket + 1;
  __atomic_store_n(&slot->ticket, entered->ticket, __ATOMIC_RELAXED);
  slot->limit = 0;
  __atomic_store_n(&slot->asleep, 1, __ATOMIC_RELAXED);
  if (index >= slots_used(condition, slots)) {
    __atomic_store_n(&condition->used, index + 1, __ATOMIC_RELAXED);
  }
  // Commit point of entering.
  __atomic_store_n(&slot->waiter, owner, __ATOMIC_RELEASE);
  int status = 0;
  for (uint32_t i = 0; i <= entered->depth && status == 0; i++) status = cipc_mutex_unlock(mutex);
  return status;
}

static bool is_notified(const cipc_condition_t *condition, const cipc_condition_wait_t *entered) {
  return __atomic_load_n(&condition->notified, __ATOMIC_ACQUIRE) >= entered->ticket;
}

int cipc_condition_step(cipc_condition_t *condition, uint32_t slots, cipc_mutex_t *mutex,
                        const cipc_condition_wait_t *entered, int look, cipc_wait_t *wait) {
  if (is_notified(condition, entered)) return 0;
  int taken = look ? cipc_mutex_trylock(mutex) : CIPC_EBUSY;
  if (taken >= 0) {
    (void)settle(condition, slots);
    look_for_dead(condition, slots, false);
    int status = cipc_mutex_unlock(mutex);
    if (status < 0) return status;
    if (is_notified(condition, entered)) return 0;
    // Whoever died may have been about to notify.
    if (taken == CIPC_OWNER_DIED) return CIPC_OWNER_DIED;
  }
  *wait = (cipc_wait_t){.word = &slot_at(condition, entered->slot)->asleep, .expected = 1};
  return CIPC_EAGAIN;
}

int cipc_condition_leave(cipc_condition_t *condition, uint32_t slots, cipc_mutex_t *mutex,
                         const cipc_condition_wait_t *entered) {
  int died = 0;
  for (uint32_t i = 0; i <= entered->depth; i++) {
    int status = cipc_mutex_lock(mutex, CIPC_NO_DEADLINE);
    if (status < 0) return status;
    died = status;
  }
  (void)settle(condition, slots);
  bool notified = is_notified(condition, entered);
  // Commit point of taking the notification, where there is one.
  vacate(slot_at(condition, entered->slot));
  if (died != 0) return died;
  return notified ? 0 : CIPC_ETIMEDOUT;
}

int cipc_condition_wait(cipc_condition_t *condition, uint32_t slots, cipc_mutex_t *mutex,
                        cipc_deadline_t deadline) {
  cipc_participant_t self = cipc_participant_this_thread();
  for (;;) {
    cipc_condition_wait_t entered;
    int status = cipc_condition_enter(condition, slots, mutex, self, &entered);
    if (status < 0) return status;
    int look = 0;
    for (;;) {
      cipc_wait_t wait;
      status = cipc_condition_step(condition, slots, mutex, &entered, look, &wait);
      if (status != CIPC_EAGAIN) break;
      status = cipc_wait_sleep(&wait, deadline);
      if (status < 0) break;
      look = status == CIPC_WAIT_LOOK;
    }
    // The caller gets the mutex back, whatever arrives meanwhile.
    cipc_interrupt_pause();
    int left = cipc_condition_leave(condition, slots, mutex, &entered);
    cipc_interrupt_resume();
    if (left != CIPC_ETIMEDOUT) return left;
    // Not notified: because that was all the time, or there was no sleeping.
    if (status < 0) return status;
    // Or for the death of an owner that somebody else has repaired since: nothing to tell. Or
    // somebody scribbles.
    if (cipc_clock_now() >= deadline) return CIPC_ETIMEDOUT;
  }
}

// MARK: Notifying

int cipc_condition_notify(cipc_condition_t *condition, uint32_t slots, cipc_mutex_t *mutex,
                          uint32_t count) {
  if (!cipc_mutex_is_owned(mutex)) return CIPC_EPERM;
  (void)settle(condition, slots);
  uint64_t before = __atomic_load_n(&condition->notified, __ATOMIC_RELAXED);
  uint64_t next = condition->next;
  uint32_t waiting = cipc_condition_waiting(condition, slots);
  bool all = count >= waiting;
  uint64_t last = all ? next - 1 : before;
  for (uint32_t i = 0; !all && i < count; i++) {
    uint32_t oldest = oldest_after(condition, slots, last);
    if (oldest == NONE) break;
    last = ticket_of(slot_at(condition, oldest));
  }
  uint32_t notified = all ? waiting : count;
  if (notified == 0) return 0;
  uint32_t used = slots_used(condition, slots);
  for (uint32_t i = 0; i < used; i++) {
    // Means nothing as long as the waiter is not notified.
    cipc_condition_slot_t *slot = slot_at(condition, i);
    uint64_t ticket = ticket_of(slot);
    if (ticket > before && ticket <= last) slot->limit = next;
  }
  // Commit point: these are notified.
  __atomic_store_n(&condition->notified, last, __ATOMIC_RELEASE);
  for (uint32_t i = 0; i < used; i++) {
    cipc_condition_slot_t *slot = slot_at(condition, i);
    uint64_t ticket = ticket_of(slot);
    if (waiter_of(slot) == CIPC_PARTICIPANT_NOBODY || ticket <= before || ticket > last) continue;
    // Who is asleep lives. Others are on their way, or dead, which is worth knowing if there is
    // somebody that it can pass to.
    if (!wake(slot) && !all && is_dead(slot)) pass_on(condition, slots, i);
  }
  return (int)notified;
}

uint32_t cipc_condition_waiting(const cipc_condition_t *condition, uint32_t slots) {
  uint64_t notified = __atomic_load_n(&condition->notified, __ATOMIC_ACQUIRE);
  const cipc_condition_slot_t *slot = (const cipc_condition_slot_t *)(const void *)(condition + 1);
  uint32_t waiting = 0;
  uint32_t used = slots_used(condition, slots);
  for (uint32_t i = 0; i < used; i++) {
    if (waiter_of(&slot[i]) != CIPC_PARTICIPANT_NOBODY && ticket_of(&slot[i]) > notified) {
      waiting++;
    }
  }
  return waiting;
}

// MARK: By name

cipc_segment_type_t cipc_condition_type(uint64_t slots) {
  const cipc_element_t element = {.size = sizeof(cipc_condition_slot_t),
                                  .stride = sizeof(cipc_condition_slot_t),
                                  .alignment = _Alignof(cipc_condition_slot_t),
                                  .fingerprint = 1};
  return cipc_object_type(CIPC_KIND_CONDITION, 1, &element, slots);
}

static int prepare_named(void *payload, void *context) {
  return cipc_condition_init(payload, *(const uint32_t *)context);
}

static int check_named(const cipc_segment_t *segment, const cipc_object_t *object) {
  (void)object;
  uint64_t slots = cipc_segment_count(segment);
  size_t footprint = slots - 1 < INT32_MAX ? cipc_condition_footprint((uint32_t)slots) : SIZE_MAX;
  return cipc_object_fits(segment, footprint);
}

int cipc_condition_open_named(cipc_segment_t **segment, const char *name, uint64_t slots) {
  return cipc_object_open(
      segment, name, &(cipc_object_t){.type = cipc_condition_type(slots), .check = check_named});
}

int cipc_condition_open_or_create(cipc_segment_t **segment, const char *name, uint32_t slots) {
  if (slots - UINT32_C(1) >= INT32_MAX) return CIPC_EINVAL;
  return cipc_object_make(segment, name,
                          &(cipc_object_t){.type = cipc_condition_type(slots),
                                           .size = cipc_condition_footprint(slots),
                                           .prepare = prepare_named,
                                           .context = &slots,
                                           .check = check_named});
}
