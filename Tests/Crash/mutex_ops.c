/* SPDX-License-Identifier: Apache-2.0 */
// Mutexes: the next process gets the lock. It is told of the death exactly when the dead process
// owned, and so are later owners until one recovers. No waiter is left asleep.
#include "crash.h"

static cipc_mutex_t *mutex_of(struct trial *trial) { return trial->object; }

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

static void setup(struct trial *trial) {
  expect(trial, "init", cipc_mutex_init(mutex_of(trial), NULL), 0);
}

static void setup_recursive(struct trial *trial) {
  const cipc_mutex_options_t options = {.recursive = 1};
  expect(trial, "init", cipc_mutex_init(mutex_of(trial), &options), 0);
}

static void lock(struct trial *trial) {
  expect(trial, "lock", cipc_mutex_lock(mutex_of(trial), soon()), 0);
}

static void unlock(struct trial *trial) {
  expect(trial, "unlock", cipc_mutex_unlock(mutex_of(trial)), 0);
}

// No deadline: reading the clock takes now one way and now another, and is not what is tested.
static void lock_forever(struct trial *trial) {
  int expected = trial->state == WOKEN_DIED ? CIPC_OWNER_DIED : 0;
  int status = cipc_mutex_lock(mutex_of(trial), CIPC_NO_DEADLINE);
  if (status == 0 && expected != 0 && trial->shared->order == SURVIVORS) {
    // Both survivors came first, and the second has repaired it.
    trial->shared->spoiled = 1;
    return;
  }
  expect(trial, "lock", status, expected);
}

static void lock_and_unlock(struct trial *trial) {
  lock_forever(trial);
  unlock(trial);
}

static void lock_told(struct trial *trial) {
  expect(trial, "lock", cipc_mutex_lock(mutex_of(trial), CIPC_NO_DEADLINE), CIPC_OWNER_DIED);
}

static void trylock(struct trial *trial) {
  expect(trial, "trylock", cipc_mutex_trylock(mutex_of(trial)), 0);
}

static void lock_in_vain(struct trial *trial) {
  // To be woken by the deadline it must be ahead; otherwise it is past, so that the way through
  // the code does not depend on how fast we are.
  cipc_deadline_t deadline =
      trial->state == OWNS ? CIPC_IMMEDIATELY : cipc_clock_deadline(INT64_C(20000000));
  expect(trial, "lock", cipc_mutex_lock(mutex_of(trial), deadline), CIPC_ETIMEDOUT);
}

static void recover_and_unlock(struct trial *trial) {
  expect(trial, "recover", cipc_mutex_recover(mutex_of(trial)), 0);
  unlock(trial);
}

static void setup_dead(struct trial *trial) {
  setup(trial);
  trial->shared->earlier = die_after(trial, lock);
}

static void setup_dead_recursive(struct trial *trial) {
  setup_recursive(trial);
  trial->shared->earlier = die_after(trial, lock);
}

// An owner has been told, and has given it back as it was.
static void setup_dirty(struct trial *trial) {
  setup_dead(trial);
  lock_told(trial);
  unlock(trial);
}

static void nest(struct trial *trial) {
  lock_forever(trial);
  lock_forever(trial);
  unlock(trial);
  unlock(trial);
}

static void lock_twice(struct trial *trial) {
  lock(trial);
  lock(trial);
}

static void nest_told(struct trial *trial) {
  lock_told(trial);
  lock_told(trial);
  recover_and_unlock(trial);
  unlock(trial);
}

// What the kernel goes by, not what the mutex says of itself.
static int holds(struct trial *trial) {
#if defined(__GLIBC__)
  int word = __atomic_load_n(&mutex_of(trial)->native.__data.__lock, __ATOMIC_SEQ_CST);
  return (word & 0x3fffffff) == trial->shared->victim;
#else
  (void)trial;
  return -1;
#endif
}

static bool barge(struct trial *trial) { return cipc_mutex_trylock(mutex_of(trial)) >= 0; }

static void survive_as(struct trial *trial, int survivor, bool recursive) {
  struct shared *shared = trial->shared;
  cipc_mutex_t *mutex = mutex_of(trial);
  int status = cipc_mutex_lock(mutex, soon());
  if (status < 0) {
    violate(trial, "survivor %d: lock: %s", survivor, cipc_status_message(status));
    return;
  }
  int order = enter(trial, survivor);
  shared->seen[order] = status;
  shared->casualty[order] = cipc_mutex_casualty(mutex);
  if (recursive) {
    expect(trial, "survivor: lock again", cipc_mutex_lock(mutex, soon()), status);
    expect(trial, "survivor: unlock once", cipc_mutex_unlock(mutex), 0);
  } else {
    expect(trial, "survivor: lock again", cipc_mutex_lock(mutex, soon()), CIPC_EDEADLK);
  }
  if (cipc_participant_pid(cipc_mutex_holder(mutex)) != shared->inside) {
    violate(trial, "survivor %d: the mutex names another holder", survivor);
  }
  // The first leaves it as it is, the second repairs.
  if (order == 1) expect(trial, "survivor: recover", cipc_mutex_recover(mutex), 0);
  leave(trial);
  expect(trial, "survivor: unlock", cipc_mutex_unlock(mutex), 0);
  expect(trial, "survivor: unlock too often", cipc_mutex_unlock(mutex), CIPC_EPERM);
}

static void survive(struct trial *trial, int survivor) { survive_as(trial, survivor, false); }

static void survive_recursive(struct trial *trial, int survivor) {
  survive_as(trial, survivor, true);
}

static void check(struct trial *trial) {
  expect(trial, "after the repair: trylock", cipc_mutex_trylock(mutex_of(trial)), 0);
  expect(trial, "after the repair: casualty", cipc_mutex_casualty(mutex_of(trial)), 0);
  expect(trial, "after the repair: unlock", cipc_mutex_unlock(mutex_of(trial)), 0);
  if (trial->shared->order != SURVIVORS) violate(trial, "an increment was lost");
}

// Whether an owner's death stands in the mutex from the beginning, and whether the operation takes
// it out.
enum mark { UNMARKED, MARKED, RECOVERED };

static void judge_with(struct trial *trial, enum mark mark) {
  const struct shared *shared = trial->shared;
  pid_t earlier = trial->state == WOKEN_DIED ? shared->holder : shared->earlier;
  bool marked = mark == MARKED || trial->state == WOKEN_DIED;
  trial->died = shared->seen[0] == CIPC_OWNER_DIED;
  if (shared->seen[1] != shared->seen[0]) {
    violate(trial, "first told %d, then %d, and nobody had recovered", shared->seen[0],
            shared->seen[1]);
  }
  if (shared->casualty[1] != shared->casualty[0]) {
    violate(trial, "first said that %d died, then that %d did", (int)shared->casualty[0],
            (int)shared->casualty[1]);
  }
  // Without the lock, one that recovers is either before it all or behind it all.
  bool known = trial->holds == 1 || (trial->holds == 0 && mark != RECOVERED);
  if (known && trial->died != (trial->holds || marked)) {
    violate(trial, "the victim %s when it was killed, and the next was %s",
            trial->holds ? "owned" : "did not own",
            trial->died ? "told of a death" : "told nothing");
  }
  pid_t casualty = shared->casualty[0];
  bool right;
  if (!trial->died) {
    right = casualty == 0;
  } else if (trial->holds != 1) {
    right = casualty == earlier || trial->holds < 0;
  } else if (trial->phase == ENTERED) {
    right = casualty == shared->victim || casualty == 0 || casualty == earlier;
  } else {
    right = casualty == shared->victim;
  }
  if (!right) {
    violate(trial, "%d is said to have died; the victim is %d, the one before %d", (int)casualty,
            (int)shared->victim, (int)earlier);
  }
}

static void judge(struct trial *trial) { judge_with(trial, UNMARKED); }

static void judge_marked(struct trial *trial) { judge_with(trial, MARKED); }

static void judge_recovered(struct trial *trial) { judge_with(trial, RECOVERED); }

#define COMMON \
  .hold = lock, .release = unlock, .holds = holds, .barge = barge, .unbarge = unlock, \
  .check = check, .death_if_died = ALWAYS
#define PLAIN COMMON, .survive = survive, .setup = setup, .judge = judge
#define RECURSIVE COMMON, .survive = survive_recursive, .setup = setup_recursive, .judge = judge
#define WAITS (IN(WOKEN) | IN(WOKEN_DIED) | IN(OVERTAKEN) | IN(BLOCKED))

static const struct operation mutex_operations[] = {
    {.name = "mutex.lock", .states = IN(OWNS) | WAITS, .death = RISES, .run = lock_forever, PLAIN},
    {.name = "mutex.lock-first",
     .states = IN(OWNS),
     .death = RISES,
     .run = lock_forever,
     .cold = true,
     PLAIN},
    {.name = "mutex.trylock", .states = IN(OWNS), .death = RISES, .run = trylock, PLAIN},
    {.name = "mutex.unlock",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .death = FALLS,
     .begins_owning = true,
     .prepare = lock,
     .run = unlock,
     PLAIN},
    {.name = "mutex.lock-unlock",
     .states = IN(OWNS) | WAITS,
     .death = HUMP,
     .run = lock_and_unlock,
     PLAIN},
    {.name = "mutex.lock-timeout",
     .states = IN(OWNS) | IN(WOKEN) | IN(CALLS),
     .held = true,
     .times_out = true,
     .run = lock_in_vain,
     PLAIN},
    {.name = "mutex.lock-after-death",
     .states = IN(OWNS),
     .death = ALWAYS,
     .run = lock_told,
     COMMON,
     .survive = survive,
     .setup = setup_dead,
     .judge = judge_marked},
    {.name = "mutex.lock-dirty",
     .states = IN(OWNS),
     .death = ALWAYS,
     .run = lock_told,
     COMMON,
     .survive = survive,
     .setup = setup_dirty,
     .judge = judge_marked},
    {.name = "mutex.recover",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .death = FALLS,
     .begins_owning = true,
     .prepare = lock_told,
     .run = recover_and_unlock,
     COMMON,
     .survive = survive,
     .setup = setup_dead,
     .judge = judge},
    {.name = "mutex.recursive-lock",
     .states = IN(OWNS) | WAITS,
     .death = RISES,
     .run = lock_forever,
     RECURSIVE},
    {.name = "mutex.recursive-again",
     .states = IN(OWNS) | IN(CONTENDED),
     .death = ALWAYS,
     .begins_owning = true,
     .prepare = lock,
     .run = lock_and_unlock,
     RECURSIVE},
    {.name = "mutex.recursive-unlock",
     .states = IN(OWNS) | IN(CONTENDED),
     .death = ALWAYS,
     .begins_owning = true,
     .prepare = lock_twice,
     .run = unlock,
     RECURSIVE},
    {.name = "mutex.recursive-nest",
     .states = IN(OWNS) | WAITS,
     .death = HUMP,
     .run = nest,
     RECURSIVE},
    {.name = "mutex.recursive-recover",
     .states = IN(OWNS),
     .death = FALLS,
     .run = nest_told,
     COMMON,
     .survive = survive_recursive,
     .setup = setup_dead_recursive,
     .judge = judge_recovered},
};

REGISTER(mutex_operations)
