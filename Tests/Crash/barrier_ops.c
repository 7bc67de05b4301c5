/* SPDX-License-Identifier: Apache-2.0 */
// Barriers: a round ends for all or for none, no party waits for the dead, and a party that goes on
// does so behind the action. The victim is enrolled from the beginning.
#include "crash.h"

#define SLOTS 4

// In the shared object.
struct scene {
  cipc_barrier_t barrier;
  cipc_barrier_slot_t slots[SLOTS];
  uint64_t acted[2];
};

static struct scene *scene_of(struct trial *trial) { return trial->object; }

// The victim, the survivors, and where there is one the holder.
static uint32_t parties_of(struct trial *trial) {
  return SURVIVORS + 1 + (trial->operation->hold != NULL);
}

static void setup(struct trial *trial) {
  expect(trial, "init", cipc_barrier_init(&scene_of(trial)->barrier, parties_of(trial)), 0);
}

static void enrol(struct trial *trial) {
  if (cipc_participant_this_thread() == CIPC_PARTICIPANT_NOBODY) violate(trial, "nobody");
  expect(trial, "enrol",
         cipc_barrier_enrol(&scene_of(trial)->barrier, parties_of(trial), cipc_participant_self()),
         0);
}

static int step(struct trial *trial) {
  cipc_barrier_arrival_t arrival = {0, 0};
  cipc_wait_t wait;
  return cipc_barrier_step(&scene_of(trial)->barrier, parties_of(trial),
                           cipc_participant_this_thread(), &arrival, 0, 0, &wait);
}

static void arrive_run(struct trial *trial) { expect(trial, "step", step(trial), CIPC_EAGAIN); }

static void last_run(struct trial *trial) { expect(trial, "step", step(trial), 0); }

static int act(void *context) {
  struct scene *scene = context;
  __atomic_store_n(&scene->acted[0], 1, __ATOMIC_SEQ_CST);
  __atomic_store_n(&scene->acted[1], 1, __ATOMIC_SEQ_CST);
  return 0;
}

static void act_run(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  int status = cipc_barrier_wait(&scene->barrier, parties_of(trial), act, scene, CIPC_NO_DEADLINE);
  expect(trial, "wait", status, SURVIVORS);
}

static void abort_run(struct trial *trial) {
  expect(trial, "abort", cipc_barrier_abort(&scene_of(trial)->barrier), 0);
}

static void reset_run(struct trial *trial) {
  expect(trial, "reset", cipc_barrier_reset(&scene_of(trial)->barrier, parties_of(trial)), 0);
}

static void wait_run(struct trial *trial) {
  int status =
      cipc_barrier_wait(&scene_of(trial)->barrier, parties_of(trial), NULL, NULL, CIPC_NO_DEADLINE);
  expect(trial, "wait", status, 0);
}

static void nothing(struct trial *trial) { (void)trial; }

static void release(struct trial *trial) {
  int status = cipc_barrier_wait(&scene_of(trial)->barrier, parties_of(trial), NULL, NULL,
                                 cipc_clock_deadline(SURVIVOR_DEADLINE));
  expect(trial, "holder: wait", status, (int)parties_of(trial) - 1);
}

static void survive(struct trial *trial, int survivor) {
  struct scene *scene = scene_of(trial);
  int status = cipc_barrier_wait(&scene->barrier, parties_of(trial), NULL, NULL,
                                 cipc_clock_deadline(SURVIVOR_DEADLINE));
  trial->shared->acquired_at[survivor] = cipc_clock_now();
  trial->shared->seen[survivor] = status;
  if (status >= 0) trial->shared->number[survivor] = (int64_t)scene->acted[1];
}

// After a reset it is a barrier like any other.
static void check(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  trial->shared->number[4] = cipc_barrier_is_broken(&scene->barrier);
  expect(trial, "after all: reset", cipc_barrier_reset(&scene->barrier, parties_of(trial)), 0);
  for (uint32_t i = 0; i < parties_of(trial); i++) {
    int expected = i + 1 < parties_of(trial) ? CIPC_EAGAIN : 0;
    expect(trial, "after all: step", step(trial), expected);
  }
}

static void judge(struct trial *trial) {
  const int *seen = trial->shared->seen;
  trial->committed = seen[0] >= 0;
  for (int i = 0; i < SURVIVORS; i++) {
    if (seen[i] < 0) expect(trial, "survivor: wait", seen[i], CIPC_EBROKEN);
    if ((seen[i] >= 0) != trial->committed) {
      violate(trial, "one went on and the other did not: %d, %d", seen[0], seen[1]);
    }
  }
  if (trial->committed && seen[0] == seen[1]) violate(trial, "both came as number %d", seen[0]);
}

static void judge_act(struct trial *trial) {
  judge(trial);
  for (int i = 0; i < SURVIVORS; i++) {
    if (trial->committed && trial->shared->number[i] != 1) {
      violate(trial, "survivor %d went on before the action", i);
    }
  }
}

static void judge_abort(struct trial *trial) {
  judge(trial);
  if (trial->committed) violate(trial, "a barrier that was aborted let all go on");
  if (!trial->shared->number[4]) violate(trial, "the barrier is not broken");
}

// The survivors never go on: the reset sends them away, or the victim's death does.
static void judge_reset(struct trial *trial) {
  judge(trial);
  if (trial->committed) violate(trial, "a barrier that was reset let all go on");
  trial->committed = !trial->shared->number[4];
}

#define COMMON .setup = setup, .prepare = enrol, .survive = survive, .check = check

static const struct operation barrier_operations[] = {
    {.name = "barrier.arrive",
     .states = IN(OWNS),
     .coarse = 3,
     .commit = RISES,
     .run = arrive_run,
     COMMON,
     .judge = judge},
    {.name = "barrier.last",
     .states = IN(CONTENDED),
     .coarse = 3,
     .commit = RISES,
     .begins_owning = true,
     .run = last_run,
     COMMON,
     .judge = judge},
    {.name = "barrier.act",
     .states = IN(CONTENDED),
     .coarse = 5,
     .commit = RISES,
     .begins_owning = true,
     .run = act_run,
     COMMON,
     .judge = judge_act},
    {.name = "barrier.wait",
     .states = IN(WOKEN),
     .commit = ALWAYS,
     .run = wait_run,
     .hold = nothing,
     .release = release,
     COMMON,
     .judge = judge},
    {.name = "barrier.abort",
     .states = IN(CONTENDED),
     .coarse = 3,
     .begins_owning = true,
     .run = abort_run,
     COMMON,
     .judge = judge_abort},
    {.name = "barrier.reset",
     .states = IN(CONTENDED),
     .commit = RISES,
     .coarse = 29,
     .begins_owning = true,
     .run = reset_run,
     COMMON,
     .judge = judge_reset},
};

REGISTER(barrier_operations)
