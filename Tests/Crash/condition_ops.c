/* SPDX-License-Identifier: Apache-2.0 */
// Conditions: a notification happens whole or not at all, and is taken exactly once: by the victim,
// or by another waiter of that time. The dead take none away, and no waiter is left asleep.
#include "crash.h"

#define SLOTS 8

// In the shared object.
struct scene {
  cipc_mutex_t mutex;
  cipc_condition_t condition;
  cipc_condition_slot_t slots[SLOTS];
  cipc_participant_t worker;
  // Entries of waiters that live, wait, and never sleep: what becomes of them is read off.
  cipc_condition_wait_t ghosts[3];
  // The victim's.
  cipc_condition_wait_t own;
};

static struct scene *scene_of(struct trial *trial) { return trial->object; }

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

static void lock(struct trial *trial) {
  expect(trial, "lock", cipc_mutex_lock(&scene_of(trial)->mutex, soon()), 0);
}

static void unlock(struct trial *trial) {
  expect(trial, "unlock", cipc_mutex_unlock(&scene_of(trial)->mutex), 0);
}

// As `lock`, and whatever was left behind is in order.
static int lock_recovering(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  int status = cipc_mutex_lock(&scene->mutex, soon());
  if (status == CIPC_OWNER_DIED) {
    expect(trial, "recover", cipc_mutex_recover(&scene->mutex), 0);
  } else {
    expect(trial, "lock", status, 0);
  }
  return status;
}

static int notify(struct trial *trial, uint32_t count) {
  struct scene *scene = scene_of(trial);
  int notified = cipc_condition_notify(&scene->condition, SLOTS, &scene->mutex, count);
  if (notified < 0) violate(trial, "notify: %s", cipc_status_message(notified));
  return notified;
}

static int wait_until(struct trial *trial, cipc_deadline_t deadline) {
  struct scene *scene = scene_of(trial);
  return cipc_condition_wait(&scene->condition, SLOTS, &scene->mutex, deadline);
}

// Enters and lets go of the mutex.
static void enter_as(struct trial *trial, cipc_participant_t who, cipc_condition_wait_t *entered) {
  struct scene *scene = scene_of(trial);
  expect(trial, "enter",
         cipc_condition_enter(&scene->condition, SLOTS, &scene->mutex, who, entered), 0);
}

static void lock_and_enter_as(struct trial *trial, cipc_participant_t who,
                              cipc_condition_wait_t *entered) {
  lock(trial);
  enter_as(trial, who, entered);
}

static bool is_notified(struct trial *trial, const cipc_condition_wait_t *entered) {
  return __atomic_load_n(&scene_of(trial)->condition.notified, __ATOMIC_SEQ_CST) >= entered->ticket;
}

static void setup(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  expect(trial, "init", cipc_mutex_init(&scene->mutex, NULL), 0);
  expect(trial, "init", cipc_condition_init(&scene->condition, SLOTS), 0);
  scene->worker = cipc_participant_self();
}

static void setup_ghosts(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  setup(trial);
  for (int i = 0; i < 3; i++) lock_and_enter_as(trial, scene->worker, &scene->ghosts[i]);
}

// What the kernel goes by, not what the mutex says of itself.
static int holds(struct trial *trial) {
#if defined(__GLIBC__)
  int word = __atomic_load_n(&scene_of(trial)->mutex.native.__data.__lock, __ATOMIC_SEQ_CST);
  return (word & 0x3fffffff) == trial->shared->victim;
#else
  (void)trial;
  return -1;
#endif
}

static bool barge(struct trial *trial) { return cipc_mutex_trylock(&scene_of(trial)->mutex) >= 0; }

static void know_itself(struct trial *trial) {
  if (cipc_participant_this_thread() == CIPC_PARTICIPANT_NOBODY) violate(trial, "nobody");
}

static void know_itself_and_lock(struct trial *trial) {
  know_itself(trial);
  lock(trial);
}

// Only takes the mutex, and is told; what else there is to see, `note` sees.
static void survive_with(struct trial *trial, int survivor, void (*note)(struct trial *)) {
  int status = lock_recovering(trial);
  int order = enter(trial, survivor);
  trial->shared->seen[order] = status;
  if (order == 0 && note != NULL) note(trial);
  leave(trial);
  unlock(trial);
}

static void judge_death(struct trial *trial) {
  trial->died = trial->shared->seen[0] == CIPC_OWNER_DIED;
  if (trial->holds >= 0 && trial->died != (trial->holds == 1)) {
    violate(trial, "the victim %s when it was killed, and the next was %s",
            trial->holds ? "owned" : "did not own",
            trial->died ? "told of a death" : "told nothing");
  }
}

// MARK: Entering: a dead waiter is in no other's way.

static void enter_run(struct trial *trial) {
  enter_as(trial, cipc_participant_this_thread(), &scene_of(trial)->own);
}

// The first waits, behind the victim if that has entered; the second notifies one.
static void enter_survive(struct trial *trial, int survivor) {
  struct scene *scene = scene_of(trial);
  int status = lock_recovering(trial);
  int order = enter(trial, survivor);
  trial->shared->seen[order] = status;
  leave(trial);
  if (order == 0) {
    trial->shared->number[0] = cipc_condition_waiting(&scene->condition, SLOTS);
    expect(trial, "survivor: wait", wait_until(trial, soon()), 0);
    trial->shared->acquired_at[survivor] = cipc_clock_now();
  } else {
    (void)notify(trial, 1);
  }
  unlock(trial);
}

static void enter_judge(struct trial *trial) {
  judge_death(trial);
  trial->committed = trial->shared->number[0] == 1;
}

// MARK: Notifying two of three.

static void notify_run(struct trial *trial) {
  (void)notify(trial, 2);
  unlock(trial);
}

static void count_notified(struct trial *trial) {
  for (int i = 0; i < 3; i++) {
    trial->shared->number[i] = is_notified(trial, &scene_of(trial)->ghosts[i]);
  }
}

static void notify_survive(struct trial *trial, int survivor) {
  survive_with(trial, survivor, count_notified);
}

static void notify_judge(struct trial *trial) {
  judge_death(trial);
  const int64_t *notified = trial->shared->number;
  if (notified[0] != notified[1] || notified[2]) {
    violate(trial, "notified: %d %d %d", (int)notified[0], (int)notified[1], (int)notified[2]);
  }
  trial->committed = notified[0] != 0;
}

// MARK: Passing on: of the dead's one notification one comes of it.

static void enter_in_vain(struct trial *trial) {
  lock_and_enter_as(trial, cipc_participant_self(), &scene_of(trial)->own);
}

static void pass_on_setup(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  setup(trial);
  trial->shared->earlier = die_after(trial, enter_in_vain);
  lock(trial);
  (void)notify(trial, CIPC_CONDITION_ALL);
  unlock(trial);
  for (int i = 0; i < 3; i++) lock_and_enter_as(trial, scene->worker, &scene->ghosts[i]);
  // As if it had been notified alone, with these behind it: `notify` would have found it dead.
  scene->slots[scene->own.slot].limit = scene->condition.next;
}

static void pass_on_prepare(struct trial *trial) {
  lock_and_enter_as(trial, cipc_participant_this_thread(), &scene_of(trial)->own);
}

static int look(struct trial *trial, const cipc_condition_wait_t *entered) {
  struct scene *scene = scene_of(trial);
  cipc_wait_t wait;
  return cipc_condition_step(&scene->condition, SLOTS, &scene->mutex, entered, 1, &wait);
}

static void pass_on_run(struct trial *trial) {
  expect(trial, "step", look(trial, &scene_of(trial)->own), CIPC_EAGAIN);
}

static void plain_survive(struct trial *trial, int survivor) {
  survive_with(trial, survivor, NULL);
}

// A waiter looks for the dead, as it does when its slice has ended.
static void look_once(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  cipc_condition_wait_t entered;
  lock_and_enter_as(trial, cipc_participant_this_thread(), &entered);
  expect(trial, "last look: step", look(trial, &entered), CIPC_EAGAIN);
  expect(trial, "last look: leave",
         cipc_condition_leave(&scene->condition, SLOTS, &scene->mutex, &entered), CIPC_ETIMEDOUT);
  unlock(trial);
  if (scene->condition.journal != 0) violate(trial, "the journal is not settled");
}

static void pass_on_check(struct trial *trial) {
  for (int i = 0; i < 2; i++) {
    look_once(trial);
    count_notified(trial);
    const int64_t *notified = trial->shared->number;
    if (!notified[0] || notified[1] || notified[2]) {
      violate(trial, "passed on to: %d %d %d", (int)notified[0], (int)notified[1],
              (int)notified[2]);
    }
  }
}

// MARK: Leaving with a notification: it is taken, or passes on.

static void leave_prepare(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  lock_and_enter_as(trial, cipc_participant_this_thread(), &scene->own);
  lock_and_enter_as(trial, scene->worker, &scene->ghosts[0]);
  lock(trial);
  (void)notify(trial, 1);
  unlock(trial);
}

static void leave_run(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  expect(trial, "leave", cipc_condition_leave(&scene->condition, SLOTS, &scene->mutex, &scene->own),
         0);
  unlock(trial);
}

static int leave_committed_now(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  return scene->slots[scene->own.slot].waiter == CIPC_PARTICIPANT_NOBODY;
}

static void leave_check(struct trial *trial) {
  look_once(trial);
  trial->shared->number[0] = is_notified(trial, &scene_of(trial)->ghosts[0]);
}

static void leave_judge(struct trial *trial) {
  judge_death(trial);
  trial->committed = trial->done_before == 1;
  if (trial->committed == (trial->shared->number[0] != 0)) {
    violate(trial, "the notification was taken %s", trial->committed ? "twice" : "by nobody");
  }
}

// MARK: Woken from a wait, with others behind: each lets the others go.

static void nothing(struct trial *trial) { (void)trial; }

static void release(struct trial *trial) {
  lock(trial);
  (void)notify(trial, 1);
  unlock(trial);
}

static void wait_run(struct trial *trial) {
  expect(trial, "wait", wait_until(trial, CIPC_NO_DEADLINE), 0);
  (void)notify(trial, CIPC_CONDITION_ALL);
  unlock(trial);
}

static void wait_survive(struct trial *trial, int survivor) {
  lock(trial);
  int status = wait_until(trial, soon());
  if (status == CIPC_OWNER_DIED) {
    expect(trial, "recover", cipc_mutex_recover(&scene_of(trial)->mutex), 0);
  } else {
    expect(trial, "survivor: wait", status, 0);
  }
  int order = enter(trial, survivor);
  trial->shared->seen[order] = status;
  (void)notify(trial, CIPC_CONDITION_ALL);
  leave(trial);
  unlock(trial);
}

static void check(struct trial *trial) {
  lock(trial);
  expect(trial, "after all: wait", wait_until(trial, CIPC_IMMEDIATELY), CIPC_ETIMEDOUT);
  unlock(trial);
}

static const struct operation condition_operations[] = {
    {.name = "condition.enter",
     .states = IN(OWNS) | IN(CONTENDED),
     .death = FALLS,
     .commit = RISES,
     .begins_owning = true,
     .setup = setup,
     .prepare = know_itself_and_lock,
     .run = enter_run,
     .holds = holds,
     .survive = enter_survive,
     .check = check,
     .judge = enter_judge},
    {.name = "condition.notify",
     .states = IN(OWNS) | IN(CONTENDED),
     .death = FALLS,
     .commit = RISES,
     .coarse = 7,
     .begins_owning = true,
     .setup = setup_ghosts,
     .prepare = lock,
     .run = notify_run,
     .holds = holds,
     .survive = notify_survive,
     .check = check,
     .judge = notify_judge},
    {.name = "condition.pass-on",
     .states = IN(OWNS),
     .death = HUMP,
     .coarse = 7,
     .setup = pass_on_setup,
     .prepare = pass_on_prepare,
     .run = pass_on_run,
     .holds = holds,
     .survive = plain_survive,
     .check = pass_on_check,
     .judge = judge_death},
    {.name = "condition.leave",
     .states = IN(OWNS),
     .death = HUMP,
     .commit = RISES,
     .setup = setup,
     .prepare = leave_prepare,
     .run = leave_run,
     .holds = holds,
     .committed_now = leave_committed_now,
     .survive = plain_survive,
     .check = leave_check,
     .judge = leave_judge},
    {.name = "condition.wait",
     .states = IN(WOKEN) | IN(OVERTAKEN),
     .coarse = 5,
     .death = HUMP,
     .setup = setup,
     .hold = nothing,
     .release = release,
     .prepare = know_itself_and_lock,
     .run = wait_run,
     .holds = holds,
     .barge = barge,
     .unbarge = unlock,
     .survive = wait_survive,
     .check = check,
     .judge = judge_death},
};

REGISTER(condition_operations)
