/* SPDX-License-Identifier: Apache-2.0 */
// Events: setting one releases all waiters of that moment, also when the setter is killed before it
// could wake any, and when the event is cleared at once; it releases no others.
#include "cipc/event.h"

#include "crash.h"

// How long a survivor waits for what may never be set: beyond the promise.
#define IN_VAIN (PROMISE + INT64_C(50000000))

static cipc_event_t *event_of(struct trial *trial) { return trial->object; }

static void setup(struct trial *trial) { cipc_event_init(event_of(trial), 0); }

static void setup_set(struct trial *trial) { cipc_event_init(event_of(trial), 1); }

static void hold_nothing(struct trial *trial) { (void)trial; }

static void set(struct trial *trial) { cipc_event_set(event_of(trial)); }

static void clear(struct trial *trial) { cipc_event_clear(event_of(trial)); }

static void set_and_clear(struct trial *trial) {
  set(trial);
  clear(trial);
}

static void wait_forever(struct trial *trial) {
  expect(trial, "wait", cipc_event_wait(event_of(trial), CIPC_NO_DEADLINE), 0);
}

static void wait_in_vain(struct trial *trial) {
  cipc_deadline_t deadline =
      trial->state == OWNS ? CIPC_IMMEDIATELY : cipc_clock_deadline(INT64_C(20000000));
  expect(trial, "wait", cipc_event_wait(event_of(trial), deadline), CIPC_ETIMEDOUT);
}

static int is_set(struct trial *trial) { return cipc_event_is_set(event_of(trial)); }

static int is_clear(struct trial *trial) { return !is_set(trial); }

// How often it was set, for what is cleared again.
static int was_set(struct trial *trial) { return cipc_event_begin(event_of(trial)) != 0; }

static void survive(struct trial *trial, int survivor) {
  expect(trial, "survivor: wait",
         cipc_event_wait(event_of(trial), cipc_clock_deadline(SURVIVOR_DEADLINE)), 0);
  trial->shared->acquired_at[survivor] = cipc_clock_now();
}

static void survive_perhaps(struct trial *trial, int survivor) {
  int status = cipc_event_wait(event_of(trial), cipc_clock_deadline(IN_VAIN));
  trial->shared->seen[survivor] = status == 0;
  if (status != CIPC_ETIMEDOUT) expect(trial, "survivor: wait", status, 0);
}

static void survive_asking(struct trial *trial, int survivor) {
  (void)survivor;
  int status = cipc_event_wait(event_of(trial), CIPC_IMMEDIATELY);
  if (status != CIPC_ETIMEDOUT) expect(trial, "survivor: wait", status, 0);
}

static void judge(struct trial *trial) { trial->committed = trial->done_before == 1; }

static void judge_set(struct trial *trial) {
  judge(trial);
  for (int i = 0; i < SURVIVORS; i++) {
    if (trial->shared->seen[i] != trial->committed) {
      violate(trial, "it was %s, and survivor %d %s", trial->committed ? "set" : "not set", i,
              trial->shared->seen[i] ? "was released" : "waited in vain");
    }
  }
}

#define WAITER .survive = survive, .hold = hold_nothing, .release = set

static const struct operation event_operations[] = {
    {.name = "event.set",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .commit = RISES,
     .begins_owning = true,
     .run = set,
     .setup = setup,
     .committed_now = is_set,
     .survive = survive_perhaps,
     .judge = judge_set},
    {.name = "event.set-clear",
     .states = IN(CONTENDED),
     .commit = RISES,
     .begins_owning = true,
     .run = set_and_clear,
     .setup = setup,
     .committed_now = was_set,
     .survive = survive_perhaps,
     .judge = judge_set},
    {.name = "event.clear",
     .states = IN(OWNS),
     .commit = RISES,
     .run = clear,
     .setup = setup_set,
     .committed_now = is_clear,
     .survive = survive_asking,
     .judge = judge},
    {.name = "event.wait",
     .states = IN(WOKEN) | IN(BLOCKED),
     .run = wait_forever,
     .setup = setup,
     WAITER},
    {.name = "event.wait-timeout",
     .states = IN(OWNS) | IN(WOKEN) | IN(CALLS),
     .held = true,
     .times_out = true,
     .run = wait_in_vain,
     .setup = setup,
     WAITER},
};

REGISTER(event_operations)
