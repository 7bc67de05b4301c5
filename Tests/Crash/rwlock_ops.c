/* SPDX-License-Identifier: Apache-2.0 */
// Reader-writer locks: the next process gets in. It is told of a death exactly when the dead
// process was inside to write, and so are later ones until one recovers. A dead reader's share
// comes back, one that only waited leaves nothing. Survivors write, or read, or do one of each.
#include "cipc/rwlock.h"

#include "crash.h"

#define LINES 1
#define PLACES (LINES * CIPC_RWLOCK_LINE_READERS)

static cipc_rwlock_t *lock_of(struct trial *trial) { return trial->object; }

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

static void setup(struct trial *trial) {
  expect(trial, "init", cipc_rwlock_init(lock_of(trial), LINES), 0);
}

// A thread's first look at its own identity takes thousands of instructions, and is tried
// elsewhere.
static void know_oneself(struct trial *trial) {
  (void)trial;
  (void)cipc_participant_this_thread();
}

static void read_lock(struct trial *trial) {
  expect(trial, "read lock", cipc_rwlock_read_lock(lock_of(trial), LINES, soon()), 0);
}

static void read_unlock(struct trial *trial) {
  expect(trial, "read unlock", cipc_rwlock_read_unlock(lock_of(trial), LINES), 0);
}

static void write_lock(struct trial *trial) {
  expect(trial, "write lock", cipc_rwlock_write_lock(lock_of(trial), LINES, soon()), 0);
}

static void write_unlock(struct trial *trial) {
  expect(trial, "write unlock", cipc_rwlock_write_unlock(lock_of(trial), LINES), 0);
}

static void fill(struct trial *trial) {
  for (int i = 0; i < PLACES; i++) read_lock(trial);
}

static void empty(struct trial *trial) {
  for (int i = 0; i < PLACES; i++) read_unlock(trial);
}

// MARK: What the victim does. No deadlines: reading the clock takes now one way and now another.

static void read_forever(struct trial *trial) {
  int status = cipc_rwlock_read_lock(lock_of(trial), LINES, CIPC_NO_DEADLINE);
  expect(trial, "read lock", status, 0);
}

static void read_and_unlock(struct trial *trial) {
  read_forever(trial);
  read_unlock(trial);
}

static void read_told(struct trial *trial) {
  int status = cipc_rwlock_read_lock(lock_of(trial), LINES, CIPC_NO_DEADLINE);
  expect(trial, "read lock", status, CIPC_OWNER_DIED);
}

static void write_forever(struct trial *trial) {
  int expected = trial->state == WOKEN_DIED ? CIPC_OWNER_DIED : 0;
  int status = cipc_rwlock_write_lock(lock_of(trial), LINES, CIPC_NO_DEADLINE);
  if (status == 0 && expected != 0 && trial->shared->order == SURVIVORS) {
    // Both survivors came first, and the second has repaired it.
    trial->shared->spoiled = 1;
    return;
  }
  expect(trial, "write lock", status, expected);
}

static void write_and_unlock(struct trial *trial) {
  write_forever(trial);
  write_unlock(trial);
}

static void write_told(struct trial *trial) {
  int status = cipc_rwlock_write_lock(lock_of(trial), LINES, CIPC_NO_DEADLINE);
  expect(trial, "write lock", status, CIPC_OWNER_DIED);
}

static void read_trylock(struct trial *trial) {
  expect(trial, "read trylock", cipc_rwlock_read_trylock(lock_of(trial), LINES), 0);
}

static void write_trylock(struct trial *trial) {
  expect(trial, "write trylock", cipc_rwlock_write_trylock(lock_of(trial), LINES), 0);
}

static cipc_deadline_t past_or_near(struct trial *trial) {
  return trial->state == OWNS ? CIPC_IMMEDIATELY : cipc_clock_deadline(INT64_C(20000000));
}

static void read_in_vain(struct trial *trial) {
  int status = cipc_rwlock_read_lock(lock_of(trial), LINES, past_or_near(trial));
  expect(trial, "read lock", status, CIPC_ETIMEDOUT);
}

static void write_in_vain(struct trial *trial) {
  int status = cipc_rwlock_write_lock(lock_of(trial), LINES, past_or_near(trial));
  expect(trial, "write lock", status, CIPC_ETIMEDOUT);
}

static void recover_and_unlock(struct trial *trial) {
  expect(trial, "recover", cipc_rwlock_recover(lock_of(trial)), 0);
  write_unlock(trial);
}

static void step_to_read(struct trial *trial) {
  cipc_wait_t wait;
  uint32_t place = CIPC_RWLOCK_NOWHERE;
  cipc_participant_t self = cipc_participant_current();
  expect(trial, "step to read",
         cipc_rwlock_read_step(lock_of(trial), LINES, self, 0, &place, &wait), 0);
  expect(trial, "leave", cipc_rwlock_read_leave(lock_of(trial), LINES, self, place), 0);
}

static void step_to_read_in_vain(struct trial *trial) {
  cipc_wait_t wait;
  uint32_t place = CIPC_RWLOCK_NOWHERE;
  cipc_participant_t self = cipc_participant_current();
  for (int look = 0; look < 2; look++) {
    expect(trial, "step to read",
           cipc_rwlock_read_step(lock_of(trial), LINES, self, look, &place, &wait), CIPC_EAGAIN);
  }
  expect(trial, "abandon", cipc_rwlock_read_abandon(lock_of(trial), LINES, self, &place), 0);
}

static void step_to_write(struct trial *trial) {
  cipc_wait_t wait;
  cipc_participant_t self = cipc_participant_current();
  expect(trial, "step to write", cipc_rwlock_write_step(lock_of(trial), LINES, self, 0, &wait), 0);
}

// With survivors about, the mutex may be another's for a moment: then it waits for that.
static void step_to_write_in_vain(struct trial *trial) {
  cipc_wait_t wait;
  cipc_participant_t self = cipc_participant_current();
  for (int i = 0; i < 2; i++) {
    expect(trial, "step to write", cipc_rwlock_write_step(lock_of(trial), LINES, self, 0, &wait),
           CIPC_EAGAIN);
  }
  expect(trial, "abandon", cipc_rwlock_write_abandon(lock_of(trial), LINES, self), 0);
}

static void setup_dead(struct trial *trial) {
  setup(trial);
  trial->shared->earlier = die_after(trial, write_lock);
}

static void setup_dead_reader(struct trial *trial) {
  setup(trial);
  (void)die_after(trial, read_lock);
}

static void setup_dead_readers(struct trial *trial) {
  setup(trial);
  (void)die_after(trial, fill);
}

// MARK: What is seen

enum { ACTIVE = 2 };  // As in rwlock.c.

// Whether the victim is inside to write: by what the kernel goes by, and the word that says so.
static int writes(struct trial *trial) {
#if defined(__GLIBC__)
  int word = __atomic_load_n(&lock_of(trial)->mutex.native.__data.__lock, __ATOMIC_SEQ_CST);
  return (word & 0x3fffffff) == trial->shared->victim &&
         (__atomic_load_n(&lock_of(trial)->state, __ATOMIC_SEQ_CST) & ACTIVE) != 0;
#else
  (void)trial;
  return -1;
#endif
}

// Whether the victim has a share, of its thread or of its process.
static int reads(struct trial *trial) {
  if (__atomic_load_n(&lock_of(trial)->state, __ATOMIC_SEQ_CST) & ACTIVE) return 0;
  const cipc_participant_t *places = cipc_rwlock_places(lock_of(trial));
  for (int i = 0; i < PLACES; i++) {
    cipc_participant_t found = __atomic_load_n(&places[i], __ATOMIC_SEQ_CST);
    if (!(found & CIPC_RWLOCK_WAITING) && cipc_participant_pid(found) == trial->shared->victim) {
      return 1;
    }
  }
  return 0;
}

static bool barge(struct trial *trial) {
  return cipc_rwlock_write_trylock(lock_of(trial), LINES) >= 0;
}

static void note(struct trial *trial, int order, int status) {
  trial->shared->seen[order] = status;
  trial->shared->casualty[order] = cipc_rwlock_casualty(lock_of(trial));
}

static void survive_writing(struct trial *trial, int survivor) {
  cipc_rwlock_t *lock = lock_of(trial);
  int status = cipc_rwlock_write_lock(lock, LINES, soon());
  if (status < 0) {
    violate(trial, "survivor %d: write lock: %s", survivor, cipc_status_message(status));
    return;
  }
  int order = enter(trial, survivor);
  note(trial, order, status);
  expect(trial, "survivor: write again", cipc_rwlock_write_lock(lock, LINES, soon()), CIPC_EDEADLK);
  expect(trial, "survivor: read", cipc_rwlock_read_lock(lock, LINES, soon()), CIPC_EDEADLK);
  // The first leaves it as it is, the second repairs.
  if (order == 1) expect(trial, "survivor: recover", cipc_rwlock_recover(lock), 0);
  leave(trial);
  expect(trial, "survivor: unlock", cipc_rwlock_write_unlock(lock, LINES), 0);
  expect(trial, "survivor: unlock too often", cipc_rwlock_write_unlock(lock, LINES), CIPC_EPERM);
}

// Readers are inside together, and as they like.
static void survive_reading(struct trial *trial, int survivor) {
  cipc_rwlock_t *lock = lock_of(trial);
  int status = cipc_rwlock_read_lock(lock, LINES, soon());
  struct shared *shared = trial->shared;
  shared->acquired_at[survivor] = cipc_clock_now();
  if (status < 0) {
    violate(trial, "survivor %d: read lock: %s", survivor, cipc_status_message(status));
    return;
  }
  if (shared->victim_holds == 1 && !__atomic_load_n(&shared->killed, __ATOMIC_SEQ_CST)) {
    violate(trial, "survivor %d reads while the victim lives and writes", survivor);
  }
  note(trial, __atomic_fetch_add(&shared->order, 1, __ATOMIC_SEQ_CST), status);
  expect(trial, "survivor: write", cipc_rwlock_write_lock(lock, LINES, soon()), CIPC_EDEADLK);
  expect(trial, "survivor: unlock", cipc_rwlock_read_unlock(lock, LINES), 0);
  expect(trial, "survivor: unlock too often", cipc_rwlock_read_unlock(lock, LINES), CIPC_EPERM);
}

// The first reads, the second writes.
static void survive_mixed(struct trial *trial, int survivor) {
  if (survivor == 1) {
    survive_writing(trial, survivor);
    return;
  }
  cipc_rwlock_t *lock = lock_of(trial);
  int status = cipc_rwlock_read_lock(lock, LINES, soon());
  if (status < 0) {
    violate(trial, "survivor %d: read lock: %s", survivor, cipc_status_message(status));
    return;
  }
  note(trial, enter(trial, survivor), status);
  leave(trial);
  expect(trial, "survivor: unlock", cipc_rwlock_read_unlock(lock, LINES), 0);
}

static void check(struct trial *trial) {
  cipc_rwlock_t *lock = lock_of(trial);
  int status = cipc_rwlock_write_trylock(lock, LINES);
  if (status < 0) {
    violate(trial, "after all: %s", cipc_status_message(status));
    return;
  }
  // Where the writer came first, or none wrote, it is still to be repaired.
  if (status != 0 && status != trial->shared->seen[0]) violate(trial, "told %d at last", status);
  expect(trial, "after all: recover", cipc_rwlock_recover(lock), 0);
  write_unlock(trial);
  read_trylock(trial);
  read_unlock(trial);
  if (cipc_rwlock_readers(lock, LINES) != 0) violate(trial, "a share is left");
  if (cipc_rwlock_casualty(lock) != 0) violate(trial, "a casualty is left");
  if (trial->shared->order != SURVIVORS) violate(trial, "a survivor was lost");
}

enum mark { UNMARKED, MARKED, RECOVERED };

static void judge_with(struct trial *trial, enum mark mark, bool victim_writes) {
  const struct shared *shared = trial->shared;
  pid_t earlier = trial->state == WOKEN_DIED ? shared->holder : shared->earlier;
  bool marked = mark == MARKED || trial->state == WOKEN_DIED;
  bool held = victim_writes && trial->holds == 1;
  trial->died = shared->seen[0] == CIPC_OWNER_DIED;
  if (shared->seen[1] != shared->seen[0]) {
    violate(trial, "first told %d, then %d, and nobody had recovered", shared->seen[0],
            shared->seen[1]);
  }
  if (shared->casualty[1] != shared->casualty[0]) {
    violate(trial, "first said that %d died, then that %d did", (int)shared->casualty[0],
            (int)shared->casualty[1]);
  }
  bool known = held || (trial->holds >= 0 && mark != RECOVERED);
  if (known && trial->died != (held || marked)) {
    violate(trial, "the victim %s when it was killed, and the next was %s",
            held ? "wrote" : "did not write", trial->died ? "told of a death" : "told nothing");
  }
  pid_t casualty = shared->casualty[0];
  bool right = !trial->died ? casualty == 0
               : held       ? casualty == shared->victim || (earlier != 0 && casualty == earlier)
                            : casualty == earlier;
  if (!right) {
    violate(trial, "%d is said to have died; the victim is %d, the one before %d", (int)casualty,
            (int)shared->victim, (int)earlier);
  }
}

static void judge_writer(struct trial *trial) { judge_with(trial, UNMARKED, true); }
static void judge_marked_writer(struct trial *trial) { judge_with(trial, MARKED, true); }
static void judge_recovered(struct trial *trial) { judge_with(trial, RECOVERED, true); }
static void judge_reader(struct trial *trial) { judge_with(trial, UNMARKED, false); }
static void judge_marked_reader(struct trial *trial) { judge_with(trial, MARKED, false); }

#define COMMON .check = check, .barge = barge, .unbarge = write_unlock
#define BEHIND_WRITER .hold = write_lock, .release = write_unlock
#define BEHIND_READER .hold = read_lock, .release = read_unlock
#define WRITER \
  COMMON, .setup = setup, .prepare = know_oneself, .holds = writes, .judge = judge_writer
#define READER \
  COMMON, .setup = setup, .prepare = know_oneself, .holds = reads, .judge = judge_reader
#define INSIDE COMMON, .begins_owning = true

// Where a reader was killed inside, a survivor waits for 200 ms to look; hence the coarse ones.
static const struct operation rwlock_operations[] = {
    // First what most broken ones are caught at.
    {.name = "rwlock.read-trylock",
     .states = IN(OWNS),
     .run = read_trylock,
     .survive = survive_writing,
     READER},
    // Writers, killed in the way of writers, of readers, and of one of each.
    {.name = "rwlock.write-lock",
     .states = IN(OWNS) | IN(WOKEN) | IN(WOKEN_DIED) | IN(OVERTAKEN) | IN(BLOCKED),
     .death = RISES,
     .death_if_died = ALWAYS,
     .run = write_forever,
     .survive = survive_writing,
     BEHIND_WRITER,
     WRITER},
    {.name = "rwlock.write-lock-read",
     .coarse = 7,
     .states = IN(OWNS) | IN(BLOCKED),
     .death = RISES,
     .run = write_forever,
     .survive = survive_reading,
     BEHIND_WRITER,
     WRITER},
    {.name = "rwlock.write-trylock",
     .states = IN(OWNS),
     .death = RISES,
     .run = write_trylock,
     .survive = survive_mixed,
     WRITER},
    {.name = "rwlock.write-drain",
     .states = IN(WOKEN) | IN(BLOCKED),
     .death = RISES,
     .run = write_forever,
     .survive = survive_mixed,
     BEHIND_READER,
     WRITER},
    {.name = "rwlock.write-drain-read",
     .coarse = 7,
     .states = IN(WOKEN) | IN(BLOCKED),
     .death = RISES,
     .run = write_forever,
     .survive = survive_reading,
     BEHIND_READER,
     WRITER},
    {.name = "rwlock.write-dead-reader",
     .coarse = 37,
     .states = IN(OWNS),
     .death = RISES,
     .run = write_trylock,
     .survive = survive_mixed,
     COMMON,
     .setup = setup_dead_reader,
     .prepare = know_oneself,
     .holds = writes,
     .judge = judge_writer},
    {.name = "rwlock.write-unlock",
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .death = FALLS,
     .prepare = write_lock,
     .run = write_unlock,
     .survive = survive_writing,
     INSIDE,
     .setup = setup,
     .holds = writes,
     .judge = judge_writer},
    {.name = "rwlock.write-unlock-read",
     .coarse = 7,
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .death = FALLS,
     .prepare = write_lock,
     .run = write_unlock,
     .survive = survive_reading,
     INSIDE,
     .setup = setup,
     .holds = writes,
     .judge = judge_writer},
    {.name = "rwlock.write-unlock-mixed",
     .coarse = 7,
     .states = IN(CONTENDED) | IN(CALLS),
     .death = FALLS,
     .prepare = write_lock,
     .run = write_unlock,
     .survive = survive_mixed,
     INSIDE,
     .setup = setup,
     .holds = writes,
     .judge = judge_writer},
    {.name = "rwlock.write-lock-unlock",
     .coarse = 3,
     .states = IN(OWNS) | IN(WOKEN) | IN(OVERTAKEN),
     .death = HUMP,
     .run = write_and_unlock,
     .survive = survive_writing,
     BEHIND_WRITER,
     WRITER},
    {.name = "rwlock.write-timeout",
     .states = IN(OWNS) | IN(WOKEN) | IN(CALLS),
     .held = true,
     .times_out = true,
     .run = write_in_vain,
     .survive = survive_writing,
     BEHIND_READER,
     WRITER},
    {.name = "rwlock.write-timeout-read",
     .states = IN(OWNS) | IN(CALLS),
     .held = true,
     .times_out = true,
     .run = write_in_vain,
     .survive = survive_mixed,
     BEHIND_READER,
     WRITER},
    {.name = "rwlock.write-after-death",
     .states = IN(OWNS),
     .death = ALWAYS,
     .run = write_told,
     .survive = survive_mixed,
     COMMON,
     .setup = setup_dead,
     .prepare = know_oneself,
     .holds = writes,
     .judge = judge_marked_writer},
    {.name = "rwlock.recover",
     .coarse = 5,
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .death = FALLS,
     .prepare = write_told,
     .run = recover_and_unlock,
     .survive = survive_mixed,
     INSIDE,
     .setup = setup_dead,
     .holds = writes,
     .judge = judge_recovered},
    {.name = "rwlock.write-step",
     .states = IN(OWNS),
     .death = RISES,
     .run = step_to_write,
     .survive = survive_mixed,
     WRITER},
    {.name = "rwlock.write-step-abandon",
     .states = IN(OWNS),
     .held = true,
     .run = step_to_write_in_vain,
     .survive = survive_mixed,
     BEHIND_READER,
     WRITER},
    {.name = "rwlock.write-step-queue",
     .states = IN(OWNS),
     .held = true,
     .run = step_to_write_in_vain,
     .survive = survive_writing,
     BEHIND_WRITER,
     WRITER},
    // Readers, killed in the way of writers or of one of each.
    {.name = "rwlock.read-lock",
     .coarse = 5,
     .states = IN(OWNS) | IN(WOKEN) | IN(OVERTAKEN) | IN(BLOCKED),
     .run = read_forever,
     .survive = survive_writing,
     BEHIND_WRITER,
     READER},
    {.name = "rwlock.read-lock-unlock",
     .coarse = 7,
     .states = IN(OWNS) | IN(WOKEN),
     .run = read_and_unlock,
     .survive = survive_mixed,
     BEHIND_WRITER,
     COMMON,
     .setup = setup,
     .prepare = know_oneself,
     .judge = judge_reader},
    {.name = "rwlock.read-unlock",
     .coarse = 3,
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .prepare = read_lock,
     .run = read_unlock,
     .survive = survive_writing,
     INSIDE,
     .setup = setup,
     .holds = reads,
     .judge = judge_reader},
    {.name = "rwlock.read-again",
     .coarse = 11,
     .states = IN(OWNS) | IN(CONTENDED) | IN(CALLS),
     .prepare = read_lock,
     .run = read_and_unlock,
     .survive = survive_writing,
     INSIDE,
     .setup = setup,
     .holds = reads,
     .judge = judge_reader},
    {.name = "rwlock.read-timeout",
     .coarse = 17,
     .states = IN(OWNS) | IN(WOKEN) | IN(CALLS),
     .held = true,
     .times_out = true,
     .run = read_in_vain,
     .survive = survive_writing,
     BEHIND_WRITER,
     READER},
    {.name = "rwlock.read-full",
     .states = IN(WOKEN) | IN(BLOCKED),
     .run = read_forever,
     .survive = survive_mixed,
     .hold = fill,
     .release = empty,
     COMMON,
     .setup = setup,
     .prepare = know_oneself,
     .judge = judge_reader},
    {.name = "rwlock.read-full-of-dead",
     .coarse = 211,
     .states = IN(OWNS),
     .run = read_trylock,
     .survive = survive_mixed,
     COMMON,
     .setup = setup_dead_readers,
     .prepare = know_oneself,
     .judge = judge_reader},
    {.name = "rwlock.read-after-death",
     .coarse = 19,
     .states = IN(OWNS) | IN(CALLS),
     .death = ALWAYS,
     .run = read_told,
     .survive = survive_writing,
     COMMON,
     .setup = setup_dead,
     .prepare = know_oneself,
     .holds = reads,
     .judge = judge_marked_reader},
    {.name = "rwlock.read-after-death-read",
     .coarse = 19,
     .states = IN(OWNS),
     .death = ALWAYS,
     .run = read_told,
     .survive = survive_reading,
     COMMON,
     .setup = setup_dead,
     .prepare = know_oneself,
     .judge = judge_marked_reader},
    {.name = "rwlock.read-step",
     .coarse = 7,
     .states = IN(OWNS),
     .run = step_to_read,
     .survive = survive_writing,
     READER},
    {.name = "rwlock.read-step-abandon",
     .coarse = 19,
     .states = IN(OWNS),
     .held = true,
     .run = step_to_read_in_vain,
     .survive = survive_writing,
     BEHIND_WRITER,
     READER},
};

REGISTER(rwlock_operations)
