/* SPDX-License-Identifier: Apache-2.0 */
// Twenty processes use all primitives at once while one after the other is killed and replaced; a
// ledger beside each primitive shows whether it kept its promise. SOAK_SECONDS=60 (`make soak`)
// for the whole of it; a second otherwise.
#include <stdbool.h>

#include "child.h"
#include "cipc.h"

enum { WORKERS = 20, PARTIES = 4, PERMITS = 3, CELLS = 16, ROOM = 8, ROUNDS = 1024 };
#define KILL_EVERY INT64_C(20000000)
// Longer than any wait may take: far beyond the slice, since twenty processes share two cores.
#define BOUND INT64_C(5000000000)
#define MILLISECONDS(n) ((n)*INT64_C(1000000))

enum job {
  LOCK,
  RECURSIVE,
  READ,
  WRITE,
  PERMIT,
  SIGNAL,
  EVENT,
  PRODUCE,
  CONSUME,
  VALUE,
  UPDATE,
  BARRIER,
  JOBS
};
static const char *const job_names[JOBS] = {"lock",    "recursive lock", "read lock", "write lock",
                                            "permit",  "signal",         "event",     "produce",
                                            "consume", "value",          "update",    "barrier"};

// Two words that change together under a lock, and the process that is inside.
struct guarded {
  uint64_t first;
  uint64_t second;
  cipc_participant_t inside;
};

struct pair {
  uint64_t first;
  uint64_t second;
};

// In the segment.
struct world {
  uint32_t stop;
  uint32_t violations;
  char violation[256];

  cipc_mutex_t mutex;
  struct guarded under_mutex;
  cipc_mutex_t recursive;
  struct guarded under_recursive;

  _Alignas(64) cipc_rwlock_t rwlock;
  cipc_participant_t places[4 * CIPC_RWLOCK_LINE_READERS];
  struct guarded under_rwlock;

  cipc_semaphore_t permits;
  cipc_participant_t permit_words[PERMITS];
  cipc_participant_t holders[PERMITS];
  cipc_semaphore_t signals;
  cipc_event_t event;

  // A store of at most ROOM things.
  cipc_mutex_t store;
  cipc_condition_t filled;
  cipc_condition_slot_t filled_waiters[WORKERS + 4];
  cipc_condition_t emptied;
  cipc_condition_slot_t emptied_waiters[WORKERS + 4];
  uint64_t produced;
  uint64_t consumed;
  cipc_deadline_t changed;

  cipc_cell_t cell;
  struct pair slots[2];

  cipc_journal_t journal;
  uint64_t data[CELLS];
  uint64_t redo[CELLS];

  cipc_barrier_t barrier;
  cipc_barrier_slot_t slots_of_parties[PARTIES];
  uint64_t rounds;
  // For each of the last rounds its number and, in a bit each, the places of the parties that
  // passed.
  uint64_t passed[ROUNDS];

  // What each worker is at.
  struct {
    uint32_t job;
    cipc_deadline_t since;  // 0: at nothing
  } at[WORKERS];
  uint64_t done[JOBS];
  uint64_t told[JOBS];  // of a death
  int64_t longest[JOBS];
};

static struct world *world;
static uint32_t me;  // the worker's place
static uint64_t random_state;

static uint64_t random_number(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static void violate(const char *what, long long detail) {
  if (__atomic_fetch_add(&world->violations, 1, __ATOMIC_SEQ_CST) == 0) {
    (void)snprintf(world->violation, sizeof world->violation, "%s (%lld)", what, detail);
  }
}

static bool is_alive(cipc_participant_t who) {
  return who != CIPC_PARTICIPANT_NOBODY && cipc_participant_check(who) == 0;
}

// MARK: What is done under a lock

static void enter(struct guarded *guarded, int status, const char *what) {
  cipc_participant_t before = guarded->inside;
  // The kernel passes a lock on before the rest of its dead owner is gone.
  if (status == 0 && is_alive(before)) violate(what, (long long)cipc_participant_pid(before));
  guarded->inside = cipc_participant_this_thread();
}

static void leave(struct guarded *guarded, const char *what) {
  if (guarded->inside != cipc_participant_this_thread()) violate(what, -1);
  guarded->inside = CIPC_PARTICIPANT_NOBODY;
}

// `status` of an acquisition: whether an owner died is told exactly when the pair may be unequal.
static bool begin_change(struct guarded *guarded, int status, const char *what) {
  enter(guarded, status, what);
  if (status == 0 && guarded->first != guarded->second) violate(what, -2);
  guarded->second = guarded->first;
  return status == CIPC_OWNER_DIED;
}

// What is done while holding something: short, or long enough for others to come and be killed.
static void dawdle(void) {
  if (random_number() % 8 == 0) (void)sched_yield();
  for (uint64_t i = random_number() % 16384; i > 0; i--) __asm__ volatile("");
}

static void change(struct guarded *guarded) {
  __atomic_store_n(&guarded->first, guarded->first + 1, __ATOMIC_SEQ_CST);
  dawdle();
  __atomic_store_n(&guarded->second, guarded->first, __ATOMIC_SEQ_CST);
}

static int with_mutex(cipc_mutex_t *mutex, struct guarded *guarded, int times, const char *what) {
  int status = 0;
  for (int i = 0; i < times; i++) {
    status = cipc_mutex_lock(mutex, CIPC_NO_DEADLINE);
    if (status < 0) return status;
  }
  bool died = begin_change(guarded, status, what);
  change(guarded);
  leave(guarded, what);
  if (died && cipc_mutex_recover(mutex) < 0) violate(what, -3);
  for (int i = 0; i < times; i++) {
    if (cipc_mutex_unlock(mutex) < 0) violate(what, -4);
  }
  return died;
}

static int write_locked(void) {
  int status = cipc_rwlock_write_lock(&world->rwlock, 4, CIPC_NO_DEADLINE);
  if (status < 0) return status;
  bool died = begin_change(&world->under_rwlock, status, "write lock");
  change(&world->under_rwlock);
  leave(&world->under_rwlock, "write lock");
  if (died && cipc_rwlock_recover(&world->rwlock) < 0) violate("write lock", -3);
  if (cipc_rwlock_write_unlock(&world->rwlock, 4) < 0) violate("write lock", -4);
  return died;
}

static int read_locked(void) {
  struct guarded *guarded = &world->under_rwlock;
  int status = cipc_rwlock_read_lock(&world->rwlock, 4, CIPC_NO_DEADLINE);
  if (status < 0) return status;
  for (int i = 0; i < 2; i++) {
    uint64_t first = __atomic_load_n(&guarded->first, __ATOMIC_SEQ_CST);
    uint64_t second = __atomic_load_n(&guarded->second, __ATOMIC_SEQ_CST);
    if (status == 0 && first != second) violate("read lock: torn", (long long)first);
    cipc_participant_t inside = __atomic_load_n(&guarded->inside, __ATOMIC_SEQ_CST);
    if (status == 0 && is_alive(inside))
      violate("read lock: a writer is inside", cipc_participant_pid(inside));
  }
  if (cipc_rwlock_read_unlock(&world->rwlock, 4) < 0) violate("read lock", -4);
  return status;
}

// MARK: Permits, signals, events

static int with_permit(void) {
  int permit = cipc_semaphore_acquire(&world->permits, PERMITS, CIPC_NO_DEADLINE);
  if (permit < 0) return permit;
  cipc_participant_t self = cipc_participant_this_thread();
  cipc_participant_t before = __atomic_exchange_n(&world->holders[permit], self, __ATOMIC_SEQ_CST);
  if (is_alive(before)) violate("permit: held twice", permit);
  dawdle();
  cipc_participant_t found = self;
  if (!__atomic_compare_exchange_n(&world->holders[permit], &found, CIPC_PARTICIPANT_NOBODY, 0,
                                   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    violate("permit: taken away", permit);
  }
  int status = cipc_semaphore_release(&world->permits, PERMITS, (uint32_t)permit);
  if (status < 0) violate("permit: release", status);
  return before != CIPC_PARTICIPANT_NOBODY;
}

static int signal_somebody(void) {
  if (random_number() % 2 == 0) {
    int status = cipc_semaphore_post(&world->signals, 1);
    return status == CIPC_ECAPACITY ? 0 : status;
  }
  int status = cipc_semaphore_take(&world->signals, cipc_clock_deadline(MILLISECONDS(2)));
  return status == CIPC_ETIMEDOUT ? 0 : status;
}

static int use_event(void) {
  switch (random_number() % 4) {
    case 0:
      cipc_event_set(&world->event);
      return 0;
    case 1:
      cipc_event_clear(&world->event);
      return 0;
    default: {
      int status = cipc_event_wait(&world->event, cipc_clock_deadline(MILLISECONDS(2)));
      return status == CIPC_ETIMEDOUT ? 0 : status;
    }
  }
}

// MARK: The store

// An owner that died may have counted and not noted the time: nothing else to repair.
static int in_store(int status) {
  if (status != CIPC_OWNER_DIED) return status;
  world->changed = cipc_clock_now();
  // The waiters that it was to notify are notified now.
  (void)!cipc_condition_notify(&world->filled, WORKERS + 4, &world->store, CIPC_CONDITION_ALL);
  (void)!cipc_condition_notify(&world->emptied, WORKERS + 4, &world->store, CIPC_CONDITION_ALL);
  if (cipc_mutex_recover(&world->store) < 0) violate("store: recover", 0);
  return 0;
}

static int move(bool produces) {
  cipc_condition_t *awaited = produces ? &world->emptied : &world->filled;
  cipc_condition_t *other = produces ? &world->filled : &world->emptied;
  cipc_deadline_t deadline = cipc_clock_deadline(MILLISECONDS(4));
  int status = cipc_mutex_lock(&world->store, CIPC_NO_DEADLINE);
  bool died = status == CIPC_OWNER_DIED;
  status = in_store(status);
  for (;;) {
    if (status < 0 && status != CIPC_ETIMEDOUT) return status;
    uint64_t held = world->produced - world->consumed;
    if (held > ROOM) violate("store: more than it has room for", (long long)held);
    if (produces ? held < ROOM : held > 0) break;
    if (status == CIPC_ETIMEDOUT) {
      status = cipc_mutex_unlock(&world->store);
      return status < 0 ? status : died;
    }
    status = cipc_condition_wait(awaited, WORKERS + 4, &world->store, deadline);
    died = died || status == CIPC_OWNER_DIED;
    status = in_store(status);
  }
  if (produces) {
    world->produced++;
  } else {
    world->consumed++;
  }
  world->changed = cipc_clock_now();
  int notified = cipc_condition_notify(other, WORKERS + 4, &world->store, 1);
  status = cipc_mutex_unlock(&world->store);
  if (notified < 0) return notified;
  return status < 0 ? status : died;
}

// MARK: Values

static int change_value(void) {
  struct pair pair;
  if (random_number() % 4 != 0) {
    int status = cipc_cell_read(&world->cell, &pair, sizeof pair, CIPC_NO_DEADLINE);
    if (status == 0 && pair.first != pair.second) violate("value: torn", (long long)pair.first);
    return status;
  }
  int status = cipc_cell_begin(&world->cell, &pair, sizeof pair, CIPC_NO_DEADLINE);
  if (status < 0) return status;
  if (pair.first != pair.second) violate("value: torn under its lock", (long long)pair.first);
  pair.first++;
  pair.second++;
  return cipc_cell_commit(&world->cell, &pair, sizeof pair);
}

static int update_array(void) {
  const cipc_journal_area_t area = {.data = world->data,
                                    .size = sizeof world->data,
                                    .redo = world->redo,
                                    .capacity = sizeof world->redo};
  int status = cipc_journal_begin(&world->journal, &area, 0, sizeof world->data, CIPC_NO_DEADLINE);
  if (status != 0) {
    if (status > 0) violate("update: told of a death", status);
    return status;
  }
  for (int i = 0; i < CELLS; i++) {
    if (world->data[i] != world->data[0]) violate("update: half", i);
    world->redo[i]++;
  }
  return cipc_journal_commit(&world->journal, &area, 0, sizeof world->data);
}

// MARK: The barrier

// By steps, since these tell the round; the last to arrive acts, and may be killed at that.
static int pass_barrier(void) {
  cipc_barrier_arrival_t arrival = {0, 0};
  cipc_deadline_t deadline = cipc_clock_deadline(MILLISECONDS(500));
  int status = 0;
  for (int look = 0;;) {
    cipc_wait_t wait;
    status = cipc_barrier_step(&world->barrier, PARTIES, cipc_participant_this_thread(), &arrival,
                               1, look, &wait);
    if (status == CIPC_BARRIER_ACT) {
      dawdle();
      status = cipc_barrier_finish(&world->barrier, &arrival, 0);
    }
    if (status != CIPC_EAGAIN) break;
    status = cipc_wait_sleep(&wait, deadline);
    if (status < 0) break;
    look = status == CIPC_WAIT_LOOK;
  }
  if (status == CIPC_ETIMEDOUT) status = cipc_barrier_give_up(&world->barrier, &arrival);
  if (status == CIPC_EBROKEN || status == CIPC_ETIMEDOUT) {
    bool is_broken = cipc_barrier_is_broken(&world->barrier);
    status = is_broken ? cipc_barrier_reset(&world->barrier, PARTIES) : 0;
    return status < 0 ? status : 1;
  }
  if (status < 0) return status;
  uint64_t *passed = &world->passed[arrival.round % ROUNDS];
  uint64_t found = __atomic_load_n(passed, __ATOMIC_SEQ_CST);
  uint64_t mine = (uint64_t)arrival.round << PARTIES | UINT64_C(1) << arrival.index;
  uint64_t next;
  do {
    bool is_first = found >> PARTIES != arrival.round;
    if (arrival.index >= PARTIES || (!is_first && (found & mine & ((1 << PARTIES) - 1)) != 0)) {
      violate("barrier: the same place twice", arrival.index);
    }
    next = is_first ? mine : found | mine;
  } while (
      !__atomic_compare_exchange_n(passed, &found, next, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
  (void)__atomic_fetch_add(&world->rounds, arrival.index == 0, __ATOMIC_SEQ_CST);
  return 0;
}

// MARK: Workers

static int work(enum job job) {
  switch (job) {
    case LOCK:
      return with_mutex(&world->mutex, &world->under_mutex, 1, "lock");
    case RECURSIVE:
      return with_mutex(&world->recursive, &world->under_recursive, 2, "recursive lock");
    case READ:
      return read_locked();
    case WRITE:
      return write_locked();
    case PERMIT:
      return with_permit();
    case SIGNAL:
      return signal_somebody();
    case EVENT:
      return use_event();
    case PRODUCE:
      return move(true);
    case CONSUME:
      return move(false);
    case VALUE:
      return change_value();
    case UPDATE:
      return update_array();
    default:
      return pass_barrier();
  }
}

static void keep_working(void *place) {
  me = *(uint32_t *)place;
  random_state = cipc_participant_self() * UINT64_C(0x9e3779b97f4a7c15) + 1;
  while (!__atomic_load_n(&world->stop, __ATOMIC_SEQ_CST)) {
    // As many processes use the barrier as it has parties.
    enum job job = (enum job)(random_number() % (me < PARTIES ? JOBS + 6 : BARRIER));
    if (job > BARRIER) job = BARRIER;
    cipc_deadline_t since = cipc_clock_now();
    __atomic_store_n(&world->at[me].job, (uint32_t)job, __ATOMIC_SEQ_CST);
    __atomic_store_n(&world->at[me].since, since, __ATOMIC_SEQ_CST);
    int status = work(job);
    __atomic_store_n(&world->at[me].since, 0, __ATOMIC_SEQ_CST);
    if (status < 0) violate(job_names[job], status);
    int64_t took = cipc_clock_now() - since;
    int64_t longest = __atomic_load_n(&world->longest[job], __ATOMIC_RELAXED);
    while (took > longest && !__atomic_compare_exchange_n(&world->longest[job], &longest, took, 0,
                                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    (void)__atomic_fetch_add(&world->done[job], 1, __ATOMIC_RELAXED);
    if (status > 0) (void)__atomic_fetch_add(&world->told[job], 1, __ATOMIC_RELAXED);
  }
}

static void make_world(cipc_segment_t **segment) {
  const cipc_segment_type_t type = {.kind = CIPC_KIND_USER,
                                    .version = 1,
                                    .element_size = sizeof *world,
                                    .stride = sizeof *world,
                                    .alignment = 64,
                                    .count = 1};
  const cipc_segment_options_t options = {.type = &type};
  CHECK_EQUAL(cipc_segment_create(segment, sizeof *world, &options), 0);
  world = cipc_segment_address(*segment);
  const cipc_mutex_options_t recursive = {.recursive = 1};
  const struct pair zero = {0, 0};
  CHECK_EQUAL(cipc_mutex_init(&world->mutex, NULL), 0);
  CHECK_EQUAL(cipc_mutex_init(&world->recursive, &recursive), 0);
  CHECK_EQUAL(cipc_rwlock_init(&world->rwlock, 4), 0);
  CHECK_EQUAL(cipc_semaphore_init(&world->permits, PERMITS), 0);
  CHECK_EQUAL(cipc_semaphore_init_unowned(&world->signals, 0, 5), 0);
  cipc_event_init(&world->event, 0);
  CHECK_EQUAL(cipc_mutex_init(&world->store, NULL), 0);
  CHECK_EQUAL(cipc_condition_init(&world->filled, WORKERS + 4), 0);
  CHECK_EQUAL(cipc_condition_init(&world->emptied, WORKERS + 4), 0);
  CHECK_EQUAL(cipc_cell_init(&world->cell, &zero, sizeof zero), 0);
  CHECK_EQUAL(cipc_journal_init(&world->journal), 0);
  CHECK_EQUAL(cipc_barrier_init(&world->barrier, PARTIES), 0);
  CHECK_EQUAL(cipc_segment_publish(*segment, NULL), 0);
}

static void nothing_is_lost_while_processes_are_killed(void) {
  const char *seconds = getenv("SOAK_SECONDS");
  cipc_deadline_t end =
      cipc_clock_deadline((seconds != NULL ? atoll(seconds) : 1) * MILLISECONDS(1000));
  cipc_segment_t *segment;
  make_world(&segment);
  random_state = (uint64_t)cipc_clock_now();
  pid_t workers[WORKERS];
  uint32_t places[WORKERS];
  for (uint32_t place = 0; place < WORKERS; place++) {
    places[place] = place;
    workers[place] = child_start(keep_working, &places[place]);
  }
  int killed = 0;
  while (cipc_clock_now() < end && world->violations == 0) {
    // How long a victim lives is the trial itself; nothing is waited for here.
    struct timespec pause = {.tv_sec = 0, .tv_nsec = KILL_EVERY};
    (void)nanosleep(&pause, NULL);
    uint32_t place = (uint32_t)(random_number() % WORKERS);
    child_kill(workers[place]);
    killed++;
    __atomic_store_n(&world->at[place].since, 0, __ATOMIC_SEQ_CST);
    workers[place] = child_start(keep_working, &places[place]);
    for (uint32_t i = 0; i < WORKERS; i++) {
      cipc_deadline_t since = __atomic_load_n(&world->at[i].since, __ATOMIC_SEQ_CST);
      if (since != 0 && cipc_clock_now() - since > BOUND) {
        violate("waits for too long", world->at[i].job);
      }
    }
    (void)alarm(CHECK_TEST_SECONDS);
  }
  __atomic_store_n(&world->stop, 1, __ATOMIC_SEQ_CST);
  // The deadline ends the wait for a round to which no party comes any more.
  for (uint32_t place = 0; place < WORKERS; place++) {
    int ended = child_join(workers[place]);
    if (ended != 0) violate("a worker died of itself", ended);
  }
  (void)printf("  %d killed\n  %-15s %12s %10s %10s\n", killed, "", "done", "told", "longest ms");
  for (int job = 0; job < JOBS; job++) {
    (void)printf("  %-15s %12llu %10llu %10lld\n", job_names[job],
                 (unsigned long long)world->done[job], (unsigned long long)world->told[job],
                 (long long)(world->longest[job] / 1000000));
    CHECK(world->done[job] > 0);
  }
  (void)printf("  %llu rounds of the barrier\n", (unsigned long long)world->rounds);
  CHECK(world->rounds > 0);
  if (world->violations != 0) {
    (void)printf("  %u violations, the first: %s\n", world->violations, world->violation);
  }
  CHECK_EQUAL(world->violations, 0);
  // Nothing that a dead process held is gone.
  int taken[PERMITS];
  for (int i = 0; i < PERMITS; i++) {
    taken[i] = cipc_semaphore_acquire(&world->permits, PERMITS, cipc_clock_deadline(BOUND));
    CHECK(taken[i] >= 0);
  }
  CHECK(cipc_rwlock_write_lock(&world->rwlock, 4, cipc_clock_deadline(BOUND)) >= 0);
  CHECK_EQUAL(cipc_rwlock_write_unlock(&world->rwlock, 4), 0);
  cipc_segment_close(segment);
}

int main(void) {
  TEST(nothing_is_lost_while_processes_are_killed);
  return check_finish();
}
