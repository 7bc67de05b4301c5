/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/barrier.h"

#include <stdbool.h>
#include <string.h>

#include "base/futex.h"
#include "base/interrupt.h"
#include "segment/object.h"
#include "wait/wait.h"

_Static_assert(sizeof(cipc_barrier_t) == sizeof(cipc_mutex_t) + 16, "the slots follow the barrier");
_Static_assert(sizeof(cipc_barrier_slot_t) == 16, "barrier layout");

#define BROKEN 1u
#define ACTING 2u
#define ROUND_SHIFT 2
#define ROUNDS (UINT32_MAX >> ROUND_SHIFT)

// What a step may wait for the mutex, which is held for some instructions.
#define MUTEX_PATIENCE INT64_C(100000000)

static cipc_barrier_slot_t *slots_of(cipc_barrier_t *barrier) {
  return (cipc_barrier_slot_t *)(void *)(barrier + 1);
}

static uint32_t state_of(const cipc_barrier_t *barrier) {
  return __atomic_load_n(&barrier->state, __ATOMIC_ACQUIRE);
}

static uint32_t round_of(uint32_t state) { return state >> ROUND_SHIFT; }

static uint32_t round_after(uint32_t round) {
  // 0 is no round.
  return round == ROUNDS ? 1 : round + 1;
}

static cipc_participant_t party_of(const cipc_barrier_slot_t *slot) {
  return __atomic_load_n(&slot->party, __ATOMIC_RELAXED);
}

static bool has_arrived(const cipc_barrier_slot_t *slot, uint32_t round) {
  return __atomic_load_n(&slot->arrived, __ATOMIC_RELAXED) == round;
}

static bool is_dead(cipc_participant_t party) {
  return cipc_participant_check(party) == CIPC_PARTICIPANT_DEAD;
}

int cipc_barrier_init(cipc_barrier_t *barrier, uint32_t parties) {
  if (parties == 0 || parties > INT32_MAX) return CIPC_EINVAL;
  memset(barrier, 0, cipc_barrier_footprint(parties));
  barrier->state = 1u << ROUND_SHIFT;
  return cipc_mutex_init(&barrier->mutex, NULL);
}

static int take(cipc_barrier_t *barrier, cipc_deadline_t deadline) {
  int status = cipc_mutex_lock(&barrier->mutex, deadline);
  // Nothing to repair: what was not committed has not happened, and stays so.
  return status == CIPC_OWNER_DIED ? cipc_mutex_recover(&barrier->mutex) : status;
}

// Commit point of whatever the state says. The mutex is released before the others are woken: they
// do not need it for this round, and may be back for it in the next before we have gone on.
static int commit(cipc_barrier_t *barrier, uint32_t state) {
  __atomic_store_n(&barrier->state, state, __ATOMIC_RELEASE);
  int status = cipc_mutex_unlock(&barrier->mutex);
  (void)cipc_futex_wake(&barrier->state, INT32_MAX);
  return status;
}

static int unlock_with(cipc_barrier_t *barrier, int result) {
  int status = cipc_mutex_unlock(&barrier->mutex);
  return status < 0 ? status : result;
}

static int commit_with(cipc_barrier_t *barrier, uint32_t state, int result) {
  int status = commit(barrier, state);
  return status < 0 ? status : result;
}

// Ends a round, and notes how.
static uint32_t next_round(cipc_barrier_t *barrier, uint32_t round, bool given_up) {
  uint64_t bit = UINT64_C(1) << (round & 63);
  uint64_t before = __atomic_load_n(&barrier->given_up, __ATOMIC_RELAXED);
  uint64_t after = given_up ? before | bit : before & ~bit;
  // Seldom another: a round that all went through is the rule, and its line is read by all.
  if (after != before) __atomic_store_n(&barrier->given_up, after, __ATOMIC_RELAXED);
  return round_after(round) << ROUND_SHIFT;
}

// How a round has ended, without the mutex. CIPC_EAGAIN: it has not.
static int outcome(const cipc_barrier_t *barrier, uint32_t round, uint32_t *state) {
  *state = state_of(barrier);
  if (round_of(*state) == round) return *state & BROKEN ? CIPC_EBROKEN : CIPC_EAGAIN;
  uint64_t given_up = __atomic_load_n(&barrier->given_up, __ATOMIC_ACQUIRE);
  // Only who was kept from running through 63 rounds, which others made up, finds no note.
  uint32_t since = (round_of(state_of(barrier)) - round) & ROUNDS;
  if (since > 63) return CIPC_EBROKEN;
  return given_up >> (round & 63) & 1 ? CIPC_EBROKEN : 0;
}

// MARK: Arriving

// A place for a party, best first: its own; the one that its process was enrolled with; a free one.
// NULL when there is none, or only `other`: that of somebody who has not arrived.
static cipc_barrier_slot_t *find_place(cipc_barrier_t *barrier, uint32_t parties,
                                       cipc_participant_t party, uint32_t round, uint32_t *arrived,
                                       cipc_barrier_slot_t **other) {
  cipc_participant_t process = party & CIPC_PARTICIPANT_THREAD ? cipc_participant_current() : party;
  cipc_barrier_slot_t *own = NULL;
  cipc_barrier_slot_t *given = NULL;
  cipc_barrier_slot_t *free_one = NULL;
  *other = NULL;
  *arrived = 0;
  for (uint32_t i = 0; i < parties; i++) {
    cipc_barrier_slot_t *slot = &slots_of(barrier)[i];
    if (has_arrived(slot, round)) {
      *arrived += 1;
      continue;
    }
    cipc_participant_t enrolled = party_of(slot);
    if (enrolled == party) {
      own = slot;
    } else if (enrolled == CIPC_PARTICIPANT_NOBODY) {
      if (free_one == NULL) free_one = slot;
    } else if (enrolled == process) {
      given = slot;
    } else if (*other == NULL) {
      *other = slot;
    }
  }
  if (own != NULL) return own;
  return given != NULL ? given : free_one;
}

static int arrive(cipc_barrier_t *barrier, uint32_t parties, cipc_participant_t party,
                  cipc_barrier_arrival_t *arrival, int acts, cipc_wait_t *wait) {
  // Where /proc is not mounted there are no identities: then nobody could be found dead.
  if (party == CIPC_PARTICIPANT_NOBODY) return CIPC_ENOSYS;
  uint32_t state = state_of(barrier);
  if (state & BROKEN) return CIPC_EBROKEN;
  *wait = (cipc_wait_t){.word = &barrier->state, .expected = state};
  int status = take(barrier, CIPC_IMMEDIATELY);
  if (status == CIPC_ETIMEDOUT) {
    status = take(barrier, cipc_clock_deadline(MUTEX_PATIENCE));
    // Somebody is stopped with the mutex.
    if (status == CIPC_ETIMEDOUT) return CIPC_EAGAIN;
  }
  if (status < 0) return status;
  state = state_of(barrier);
  wait->expected = state;
  if (state & BROKEN) return unlock_with(barrier, CIPC_EBROKEN);
  uint32_t round = round_of(state);
  uint32_t arrived;
  cipc_barrier_slot_t *other;
  cipc_barrier_slot_t *slot = find_place(barrier, parties, party, round, &arrived, &other);
  if (slot == NULL && other != NULL) {
    // Nobody takes the place of the dead: whoever counted on them would be deceived.
    if (is_dead(party_of(other))) return commit_with(barrier, state | BROKEN, CIPC_EBROKEN);
    slot = other;
  }
  // All have arrived, and the last of them is at its action or about to end the round.
  if (slot == NULL) return unlock_with(barrier, CIPC_EAGAIN);
  // From here on its death breaks the barrier.
  __atomic_store_n(&slot->party, party, __ATOMIC_RELEASE);
  // Commit point of the arrival.
  __atomic_store_n(&slot->arrived, round, __ATOMIC_RELEASE);
  arrival->round = round;
  arrival->index = arrived;
  if (arrived + 1 < parties) {
    wait->expected = state;
    return unlock_with(barrier, CIPC_EAGAIN);
  }
  if (acts) {
    // Nobody is woken: they sleep on another value now, and look again when there is a reason.
    __atomic_store_n(&barrier->state, state | ACTING, __ATOMIC_RELEASE);
    return unlock_with(barrier, CIPC_BARRIER_ACT);
  }
  return commit_with(barrier, next_round(barrier, round, false), 0);
}

// Breaks the round if one of the enrolled has died. Without the mutex as long as all live.
static int look_for_dead(cipc_barrier_t *barrier, uint32_t parties, cipc_participant_t self,
                         uint32_t round) {
  for (uint32_t i = 0; i < parties; i++) {
    cipc_barrier_slot_t *slot = &slots_of(barrier)[i];
    cipc_participant_t party = party_of(slot);
    if (party == CIPC_PARTICIPANT_NOBODY || party == self || !is_dead(party)) continue;
    int status = take(barrier, cipc_clock_deadline(MUTEX_PATIENCE));
    if (status == CIPC_ETIMEDOUT) return 0;
    if (status < 0) return status;
    uint32_t state = state_of(barrier);
    if (round_of(state) != round || state & BROKEN) return cipc_mutex_unlock(&barrier->mutex);
    if (party_of(slot) == party) return commit(barrier, state | BROKEN);
    status = cipc_mutex_unlock(&barrier->mutex);
    if (status < 0) return status;
  }
  return 0;
}

int cipc_barrier_step(cipc_barrier_t *barrier, uint32_t parties, cipc_participant_t party,
                      cipc_barrier_arrival_t *arrival, int acts, int look, cipc_wait_t *wait) {
  if (arrival->round == 0) {
    int status = arrive(barrier, parties, party, arrival, acts, wait);
    if (status != CIPC_EAGAIN || !look) return status;
  }
  uint32_t round = arrival->round != 0 ? arrival->round : round_of(wait->expected);
  if (look) {
    int status = look_for_dead(barrier, parties, party, round);
    if (status < 0) return status;
  }
  uint32_t state;
  int status = outcome(barrier, round, &state);
  *wait = (cipc_wait_t){.word = &barrier->state, .expected = state};
  if (arrival->round != 0) return status;
  // Who found no place tries again when the round is over.
  return state & BROKEN ? CIPC_EBROKEN : CIPC_EAGAIN;
}

// MARK: Ending a round

int cipc_barrier_finish(cipc_barrier_t *barrier, const cipc_barrier_arrival_t *arrival,
                        int failed) {
  int status = take(barrier, CIPC_NO_DEADLINE);
  if (status < 0) return status;
  uint32_t state = state_of(barrier);
  if (round_of(state) != arrival->round || state & BROKEN) {
    return unlock_with(barrier, CIPC_EBROKEN);
  }
  if (failed) return commit_with(barrier, state | BROKEN, CIPC_EBROKEN);
  return commit_with(barrier, next_round(barrier, arrival->round, false), 0);
}

int cipc_barrier_give_up(cipc_barrier_t *barrier, const cipc_barrier_arrival_t *arrival) {
  if (arrival->round == 0) return CIPC_ETIMEDOUT;
  int status = take(barrier, CIPC_NO_DEADLINE);
  if (status < 0) return status;
  uint32_t state;
  status = outcome(barrier, arrival->round, &state);
  if (status != CIPC_EAGAIN) return unlock_with(barrier, status);
  return commit_with(barrier, state | BROKEN, CIPC_ETIMEDOUT);
}

static bool has_changed(const void *context) {
  const cipc_wait_t *wait = context;
  return __atomic_load_n(wait->word, __ATOMIC_RELAXED) != wait->expected;
}

// Ends the round as the one that acts, or breaks the barrier; also where a signal arrives.
static int act(cipc_barrier_t *barrier, const cipc_barrier_arrival_t *arrival,
               cipc_barrier_action_t action, void *context) {
  int done = action(context);
  cipc_interrupt_pause();
  int status = cipc_barrier_finish(barrier, arrival, done < 0);
  cipc_interrupt_resume();
  return done < 0 ? done : status;
}

static int give_up(cipc_barrier_t *barrier, const cipc_barrier_arrival_t *arrival, int status) {
  cipc_interrupt_pause();
  int ended = cipc_barrier_give_up(barrier, arrival);
  cipc_interrupt_resume();
  return ended == CIPC_ETIMEDOUT ? status : ended;
}

static int wait_for_all(cipc_barrier_t *barrier, uint32_t parties, cipc_barrier_action_t action,
                        void *context, cipc_barrier_arrival_t *arrival, cipc_deadline_t deadline) {
  cipc_participant_t self = cipc_participant_this_thread();
  bool has_given_way = false;
  int look = 0;
  for (;;) {
    cipc_wait_t wait;
    int status = cipc_barrier_step(barrier, parties, self, arrival, action != NULL, look, &wait);
    if (status == CIPC_BARRIER_ACT) return act(barrier, arrival, action, context);
    if (status != CIPC_EAGAIN) return status;
    if (!has_given_way && deadline > CIPC_IMMEDIATELY) {
      has_given_way = true;
      static __thread cipc_giving_way_t giving_way;
      if (cipc_wait_give_way(&giving_way, has_changed, &wait)) continue;
    }
    status = cipc_wait_sleep(&wait, deadline);
    if (status == CIPC_EINTR) return status;
    if (status < 0) return give_up(barrier, arrival, status);
    look = status == CIPC_WAIT_LOOK;
  }
}

int cipc_barrier_wait_on(cipc_barrier_t *barrier, uint32_t parties, cipc_barrier_action_t action,
                         void *context, cipc_barrier_arrival_t *arrival, cipc_deadline_t deadline) {
  int status = wait_for_all(barrier, parties, action, context, arrival, deadline);
  if (status == CIPC_EINTR) return status;
  int index = (int)arrival->index;
  *arrival = (cipc_barrier_arrival_t){0, 0};
  return status < 0 ? status : index;
}

int cipc_barrier_wait(cipc_barrier_t *barrier, uint32_t parties, cipc_barrier_action_t action,
                      void *context, cipc_deadline_t deadline) {
  cipc_barrier_arrival_t arrival = {0, 0};
  // The others count on whoever has arrived, and the caller has nothing to go on with.
  cipc_interrupt_pause();
  int status = cipc_barrier_wait_on(barrier, parties, action, context, &arrival, deadline);
  cipc_interrupt_resume();
  return status;
}

int cipc_barrier_abort(cipc_barrier_t *barrier) {
  int status = take(barrier, CIPC_NO_DEADLINE);
  return status < 0 ? status : commit(barrier, state_of(barrier) | BROKEN);
}

int cipc_barrier_reset(cipc_barrier_t *barrier, uint32_t parties) {
  int status = take(barrier, CIPC_NO_DEADLINE);
  if (status < 0) return status;
  for (uint32_t i = 0; i < parties; i++) {
    cipc_barrier_slot_t *slot = &slots_of(barrier)[i];
    cipc_participant_t party = party_of(slot);
    if (party != CIPC_PARTICIPANT_NOBODY && is_dead(party)) {
      __atomic_store_n(&slot->party, CIPC_PARTICIPANT_NOBODY, __ATOMIC_RELEASE);
    }
  }
  return commit(barrier, next_round(barrier, round_of(state_of(barrier)), true));
}

// MARK: Parties

int cipc_barrier_enrol(cipc_barrier_t *barrier, uint32_t parties, cipc_participant_t party) {
  int status = take(barrier, CIPC_NO_DEADLINE);
  if (status < 0) return status;
  uint32_t round = round_of(state_of(barrier));
  for (uint32_t i = 0; i < parties; i++) {
    cipc_barrier_slot_t *slot = &slots_of(barrier)[i];
    if (party_of(slot) != CIPC_PARTICIPANT_NOBODY || has_arrived(slot, round)) continue;
    // Commit point.
    __atomic_store_n(&slot->party, party, __ATOMIC_RELEASE);
    break;
  }
  return cipc_mutex_unlock(&barrier->mutex);
}

int cipc_barrier_leave(cipc_barrier_t *barrier, uint32_t parties, cipc_participant_t party,
                       cipc_deadline_t deadline) {
  int status = take(barrier, deadline);
  if (status < 0) return status;
  uint32_t state = state_of(barrier);
  for (uint32_t i = 0; i < parties; i++) {
    cipc_barrier_slot_t *slot = &slots_of(barrier)[i];
    if (party_of(slot) != party) continue;
    if (has_arrived(slot, round_of(state)) && !(state & BROKEN)) continue;
    // Commit point.
    __atomic_store_n(&slot->party, CIPC_PARTICIPANT_NOBODY, __ATOMIC_RELEASE);
  }
  return cipc_mutex_unlock(&barrier->mutex);
}

int cipc_barrier_is_broken(const cipc_barrier_t *barrier) {
  return (state_of(barrier) & BROKEN) != 0;
}

uint32_t cipc_barrier_waiting(const cipc_barrier_t *barrier, uint32_t parties) {
  uint32_t state = state_of(barrier);
  if (state & BROKEN) return 0;
  const cipc_barrier_slot_t *slot = (const cipc_barrier_slot_t *)(const void *)(barrier + 1);
  uint32_t waiting = 0;
  for (uint32_t i = 0; i < parties; i++) waiting += has_arrived(&slot[i], round_of(state));
  return waiting < parties ? waiting : 0;
}

// MARK: By name

cipc_segment_type_t cipc_barrier_type(uint64_t parties) {
  const cipc_element_t element = {.size = sizeof(cipc_barrier_slot_t),
                                  .stride = sizeof(cipc_barrier_slot_t),
                                  .alignment = _Alignof(cipc_barrier_slot_t),
                                  .fingerprint = 1};
  return cipc_object_type(CIPC_KIND_BARRIER, 1, &element, parties);
}

static int prepare_named(void *payload, void *context) {
  return cipc_barrier_init(payload, *(const uint32_t *)context);
}

static int check_named(const cipc_segment_t *segment, const cipc_object_t *object) {
  (void)object;
  uint64_t parties = cipc_segment_count(segment);
  size_t footprint = parties - 1 < INT32_MAX ? cipc_barrier_footprint((uint32_t)parties) : SIZE_MAX;
  return cipc_object_fits(segment, footprint);
}

int cipc_barrier_open_named(cipc_segment_t **segment, const char *name, uint64_t parties) {
  return cipc_object_open(
      segment, name, &(cipc_object_t){.type = cipc_barrier_type(parties), .check = check_named});
}

int cipc_barrier_open_or_create(cipc_segment_t **segment, const char *name, uint32_t parties) {
  if (parties - UINT32_C(1) >= INT32_MAX) return CIPC_EINVAL;
  return cipc_object_make(segment, name,
                          &(cipc_object_t){.type = cipc_barrier_type(parties),
                                           .size = cipc_barrier_footprint(parties),
                                           .prepare = prepare_named,
                                           .context = &parties,
                                           .check = check_named});
}
