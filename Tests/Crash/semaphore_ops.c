/* SPDX-License-Identifier: Apache-2.0 */
// Semaphores: there are never more holders than permits, a dead holder's permits come back, all of
// them and once, and no waiter is left asleep. Of an unowned one, as many are taken as were posted,
// but for the one that the dead took.
#include "cipc/semaphore.h"

#include "crash.h"

#define MANY 3u
#define POSTS 3u
// How long a survivor waits for what may never be posted: beyond the promise.
#define IN_VAIN (PROMISE + INT64_C(50000000))

static cipc_semaphore_t *semaphore_of(struct trial *trial) { return trial->object; }

static uint32_t capacity_of(struct trial *trial) { return (uint32_t)trial->shared->number[0]; }

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

// How many permits are some process's or one of its threads'.
static uint32_t held_by(struct trial *trial, pid_t pid) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < capacity_of(trial); i++) {
    cipc_participant_t holder = cipc_semaphore_holder(semaphore_of(trial), capacity_of(trial), i);
    if (cipc_participant_pid(holder) == pid) count++;
  }
  return count;
}

static void set_up(struct trial *trial, uint32_t capacity) {
  trial->shared->number[0] = capacity;
  expect(trial, "init", cipc_semaphore_init(semaphore_of(trial), capacity), 0);
}

static void setup_one(struct trial *trial) { set_up(trial, 1); }
static void setup_many(struct trial *trial) { set_up(trial, MANY); }

static void acquire_until(struct trial *trial, cipc_deadline_t deadline) {
  int permit = cipc_semaphore_acquire(semaphore_of(trial), capacity_of(trial), deadline);
  if (permit < 0 || (uint32_t)permit >= capacity_of(trial)) expect(trial, "acquire", permit, 0);
}

static void acquire(struct trial *trial) { acquire_until(trial, soon()); }

// No deadline: reading the clock takes now one way and now another, and is not what is tested.
static void acquire_forever(struct trial *trial) { acquire_until(trial, CIPC_NO_DEADLINE); }

static void acquire_all(struct trial *trial) {
  for (uint32_t i = 0; i < capacity_of(trial); i++) acquire(trial);
}

static void acquire_all_forever(struct trial *trial) {
  for (uint32_t i = 0; i < capacity_of(trial); i++) acquire_forever(trial);
}

static void release_number(struct trial *trial, uint32_t permit) {
  expect(trial, "release", cipc_semaphore_release(semaphore_of(trial), capacity_of(trial), permit),
         0);
}

static void release(struct trial *trial) { release_number(trial, 0); }

static void release_all(struct trial *trial) {
  for (uint32_t i = 0; i < capacity_of(trial); i++) release_number(trial, i);
}

static void setup_dead(struct trial *trial) {
  setup_many(trial);
  trial->shared->earlier = die_after(trial, acquire_all);
}

// A thread's first look at its own identity takes thousands of instructions, and is tried
// elsewhere.
static void know_oneself(struct trial *trial) {
  (void)trial;
  (void)cipc_participant_this_thread();
}

static void acquire_and_release(struct trial *trial) {
  acquire_forever(trial);
  release(trial);
}

static void try_once(struct trial *trial) {
  cipc_participant_t self = cipc_participant_this_thread();
  expect(trial, "try", cipc_semaphore_try(semaphore_of(trial), 1, self), 0);
}

static void acquire_in_vain(struct trial *trial) {
  // To be woken by the deadline it must be ahead; otherwise it is past, so that the way through
  // the code does not depend on how fast we are.
  cipc_deadline_t deadline =
      trial->state == OWNS ? CIPC_IMMEDIATELY : cipc_clock_deadline(INT64_C(20000000));
  int status = cipc_semaphore_acquire(semaphore_of(trial), 1, deadline);
  expect(trial, "acquire", status, CIPC_ETIMEDOUT);
}

// Frees what the dead have left, and takes one of it.
static void rescue(struct trial *trial) {
  int permit = cipc_semaphore_step(semaphore_of(trial), capacity_of(trial),
                                   cipc_participant_this_thread(), 1, NULL);
  if (permit < 0) expect(trial, "step", permit, 0);
}

static void hand_to_process(struct trial *trial) {
  int status = cipc_semaphore_hand(semaphore_of(trial), 1, 0, cipc_participant_this_thread(),
                                   cipc_participant_self());
  expect(trial, "hand", status, 0);
}

// The holder sends; what the receiver has taken by then it does not give up.
static void hold_and_send(struct trial *trial) {
  cipc_participant_t self = cipc_participant_self();
  trial->shared->number[1] = (int64_t)self;
  expect(trial, "acquire", cipc_semaphore_acquire_for(semaphore_of(trial), 1, self, soon()), 0);
}

static void release_unsent(struct trial *trial) {
  int status = cipc_semaphore_release_for(semaphore_of(trial), 1, 0,
                                          (cipc_participant_t)trial->shared->number[1]);
  if (status != CIPC_EPERM) expect(trial, "release", status, 0);
}

static void adopt(struct trial *trial) {
  int status =
      cipc_semaphore_hand(semaphore_of(trial), 1, 0, (cipc_participant_t)trial->shared->number[1],
                          cipc_participant_self());
  expect(trial, "hand", status, 0);
}

static int holds(struct trial *trial) { return held_by(trial, trial->shared->victim) > 0; }

static int has_none(struct trial *trial) { return held_by(trial, trial->shared->victim) == 0; }

static int is_the_process(struct trial *trial) {
  cipc_participant_t holder = cipc_semaphore_holder(semaphore_of(trial), 1, 0);
  return (holder & CIPC_PARTICIPANT_THREAD) == 0;
}

static bool barge(struct trial *trial) {
  return cipc_semaphore_try(semaphore_of(trial), 1, cipc_participant_this_thread()) == 0;
}

static void survive(struct trial *trial, int survivor) {
  int permit = cipc_semaphore_acquire(semaphore_of(trial), 1, soon());
  if (permit < 0) {
    violate(trial, "survivor %d: acquire: %s", survivor, cipc_status_message(permit));
    return;
  }
  (void)enter(trial, survivor);
  leave(trial);
  expect(trial, "survivor: release", cipc_semaphore_release(semaphore_of(trial), 1, 0), 0);
  expect(trial, "survivor: release too often", cipc_semaphore_release(semaphore_of(trial), 1, 0),
         CIPC_EPERM);
}

// There are permits for all survivors and the victim, if not at first.
static void survive_many(struct trial *trial, int survivor) {
  cipc_semaphore_t *semaphore = semaphore_of(trial);
  int permit = cipc_semaphore_acquire(semaphore, MANY, soon());
  if (permit < 0) {
    violate(trial, "survivor %d: acquire: %s", survivor, cipc_status_message(permit));
    return;
  }
  trial->shared->acquired_at[survivor] = cipc_clock_now();
  (void)__atomic_add_fetch(&trial->shared->order, 1, __ATOMIC_SEQ_CST);
  int64_t inside = __atomic_add_fetch(&trial->shared->number[2], 1, __ATOMIC_SEQ_CST);
  if (inside > (int64_t)MANY) violate(trial, "%d hold %u permits", (int)inside, MANY);
  (void)__atomic_sub_fetch(&trial->shared->number[2], 1, __ATOMIC_SEQ_CST);
  expect(trial, "survivor: release", cipc_semaphore_release(semaphore, MANY, (uint32_t)permit), 0);
}

static void check(struct trial *trial) {
  cipc_semaphore_t *semaphore = semaphore_of(trial);
  uint32_t capacity = capacity_of(trial);
  cipc_participant_t self = cipc_participant_this_thread();
  // All of them, those of the dead too, and no more.
  for (uint32_t i = 0; i < capacity; i++) {
    int permit = cipc_semaphore_step(semaphore, capacity, self, 1, NULL);
    if (permit < 0) violate(trial, "%u of %u permits are lost", capacity - i, capacity);
  }
  expect(trial, "one more", cipc_semaphore_step(semaphore, capacity, self, 1, NULL), CIPC_EAGAIN);
  release_all(trial);
  expect(trial, "free again", (int)cipc_semaphore_value(semaphore, capacity), (int)capacity);
  if (trial->shared->order != SURVIVORS) violate(trial, "a survivor was not there");
}

static void judge(struct trial *trial) { trial->committed = trial->done_before == 1; }

static void judge_hand(struct trial *trial) {
  judge(trial);
  if (trial->holds == 0) violate(trial, "the permit was nobody's on the way");
}

// MARK: Unowned

// In the states in which another process is in the way nothing is posted yet.
static void setup_posted(struct trial *trial) {
  uint32_t value = IN(trial->state) & (IN(WOKEN) | IN(OVERTAKEN) | IN(BLOCKED)) ? 0 : POSTS;
  expect(trial, "init", cipc_semaphore_init_unowned(semaphore_of(trial), value, POSTS), 0);
}

static void setup_unposted(struct trial *trial) {
  expect(trial, "init", cipc_semaphore_init_unowned(semaphore_of(trial), 0, POSTS), 0);
}

static void hold_nothing(struct trial *trial) { (void)trial; }

static void post_all(struct trial *trial) {
  expect(trial, "post", cipc_semaphore_post(semaphore_of(trial), POSTS), 0);
}

static void post_for_survivors(struct trial *trial) {
  expect(trial, "post", cipc_semaphore_post(semaphore_of(trial), SURVIVORS), 0);
}

static void take_forever(struct trial *trial) {
  expect(trial, "take", cipc_semaphore_take(semaphore_of(trial), CIPC_NO_DEADLINE), 0);
}

static void take_in_vain(struct trial *trial) {
  cipc_deadline_t deadline =
      trial->state == OWNS ? CIPC_IMMEDIATELY : cipc_clock_deadline(INT64_C(20000000));
  expect(trial, "take", cipc_semaphore_take(semaphore_of(trial), deadline), CIPC_ETIMEDOUT);
}

static void survive_taking(struct trial *trial, int survivor) {
  int status = cipc_semaphore_take(semaphore_of(trial), soon());
  expect(trial, "survivor: take", status, 0);
  trial->shared->acquired_at[survivor] = cipc_clock_now();
}

static void judge_take(struct trial *trial) {
  uint32_t left = cipc_semaphore_count(semaphore_of(trial));
  if (left > 1) violate(trial, "%u permits are left", left);
  trial->committed = left == 0;
}

static void survive_waiting(struct trial *trial, int survivor) {
  int status = cipc_semaphore_take(semaphore_of(trial), cipc_clock_deadline(IN_VAIN));
  trial->shared->seen[survivor] = status == 0;
  if (status != CIPC_ETIMEDOUT) expect(trial, "survivor: take", status, 0);
}

static void judge_post(struct trial *trial) {
  const struct shared *shared = trial->shared;
  if (shared->seen[0] != shared->seen[1]) violate(trial, "half of what was posted arrived");
  uint32_t left = cipc_semaphore_count(semaphore_of(trial));
  if (left != 0) violate(trial, "%u permits are left, and somebody waited in vain", left);
  trial->committed = shared->seen[0] && shared->seen[1];
}

#define COMMON .prepare = know_oneself, .check = check, .judge = judge
#define ONE \
  COMMON, .setup = setup_one, .survive = survive, .hold = acquire, .release = release, \
          .holds = holds, .barge = barge, .unbarge = release, .committed_now = holds
#define WAITS (IN(WOKEN) | IN(OVERTAKEN) | IN(BLOCKED))

static const struct operation semaphore_operations[] = {
    {.name = "semaphore.acquire", .states = IN(OWNS), .commit = RISES, .run = acquire_forever, ONE},
    // Not IN(WOKEN_DIED): a death wakes no waiter here. A sleeper looks when its slice ends, the
    // first to look wakes the others, and whether that is the victim is chance.
    {.name = "semaphore.acquire", .states = WAITS, .commit = WHENEVER, .run = acquire_forever, ONE},
    {.name = "semaphore.try", .states = IN(OWNS), .commit = RISES, .run = try_once, ONE},
    {.name = "semaphore.release",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .commit = RISES,
     .begins_owning = true,
     .prepare = acquire,
     .run = release,
     .setup = setup_one,
     .survive = survive,
     .holds = holds,
     .committed_now = has_none,
     .check = check,
     .judge = judge},
    {.name = "semaphore.acquire-release",
     .states = IN(OWNS),
     .commit = HUMP,
     .run = acquire_and_release,
     ONE},
    {.name = "semaphore.acquire-release",
     .states = WAITS,
     .prepare = know_oneself,
     .run = acquire_and_release,
     .setup = setup_one,
     .survive = survive,
     .hold = acquire,
     .release = release,
     .holds = holds,
     .barge = barge,
     .unbarge = release,
     .check = check},
    // Not just woken: it looks for the dead again and again while it is stepped through that, and a
    // busy machine lets the survivors' deadline pass meanwhile. "semaphore.take-timeout" is.
    {.name = "semaphore.acquire-timeout",
     .states = IN(OWNS) | IN(CALLS),
     .held = true,
     .times_out = true,
     .run = acquire_in_vain,
     ONE},
    {.name = "semaphore.acquire-many",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .run = acquire_all_forever,
     .setup = setup_many,
     .survive = survive_many,
     .committed_now = holds,
     COMMON},
    // How often it wakes waiters depends on how soon they sleep.
    {.name = "semaphore.release-many",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .commit = WHENEVER,
     .begins_owning = true,
     .prepare = acquire_all,
     .run = release_all,
     .setup = setup_many,
     .survive = survive_many,
     .committed_now = has_none,
     .check = check,
     .judge = judge},
    {.name = "semaphore.rescue",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .coarse = 11,
     .run = rescue,
     .setup = setup_dead,
     .survive = survive_many,
     .committed_now = holds,
     COMMON},
    {.name = "semaphore.hand",
     .states = IN(OWNS) | IN(CONTENDED),
     .commit = RISES,
     .begins_owning = true,
     .prepare = acquire,
     .run = hand_to_process,
     .setup = setup_one,
     .survive = survive,
     .holds = holds,
     .committed_now = is_the_process,
     .check = check,
     .judge = judge_hand},
    {.name = "semaphore.adopt",
     .states = IN(OWNS),
     .commit = RISES,
     .held = true,
     .prepare = know_oneself,
     .run = adopt,
     .setup = setup_one,
     .survive = survive,
     .hold = hold_and_send,
     .release = release_unsent,
     .holds = holds,
     .committed_now = holds,
     .check = check,
     .judge = judge},
    {.name = "semaphore.take",
     .states = IN(OWNS) | IN(WOKEN) | IN(BLOCKED),
     .commit = WHENEVER,
     .run = take_forever,
     .setup = setup_posted,
     .hold = hold_nothing,
     .release = post_all,
     .survive = survive_taking,
     .judge = judge_take},
    {.name = "semaphore.take-timeout",
     .states = IN(OWNS) | IN(WOKEN) | IN(CALLS),
     .held = true,
     .times_out = true,
     .run = take_in_vain,
     .setup = setup_unposted,
     .hold = hold_nothing,
     .release = post_for_survivors,
     .survive = survive_taking},
    {.name = "semaphore.post",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .commit = RISES,
     .begins_owning = true,
     .run = post_for_survivors,
     .setup = setup_unposted,
     .survive = survive_waiting,
     .judge = judge_post},
};

REGISTER(semaphore_operations)
