/* SPDX-License-Identifier: Apache-2.0 */
// Cells: the value is the old one or the new one, the new one exactly from the commit store on,
// never a mixture, for readers with and without the lock. Updates of survivors are not lost.
#include <string.h>

#include "crash.h"

#define OLD UINT64_C(1000)
#define STEP UINT64_C(1000000)

// Five words, so that an update takes many stores, and each says whether the others belong to it.
struct value {
  uint64_t number;
  uint64_t pattern[3];
  uint64_t sum;
};

static cipc_cell_t *cell_of(struct trial *trial) { return trial->object; }

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

static struct value value_of(uint64_t number) {
  struct value value = {.number = number};
  uint64_t sum = number;
  for (unsigned i = 0; i < 3; i++) {
    value.pattern[i] = number * UINT64_C(0x9e3779b97f4a7c15) + i;
    sum += value.pattern[i];
  }
  value.sum = ~sum;
  return value;
}

static bool is_whole(const struct value *value) {
  struct value right = value_of(value->number);
  return memcmp(value, &right, sizeof right) == 0;
}

static void look(struct trial *trial, const char *who, const struct value *value) {
  uint64_t base = value->number >= STEP ? value->number - STEP : value->number;
  if (!is_whole(value)) {
    violate(trial, "%s: torn: %#llx with the sum %#llx", who, (unsigned long long)value->number,
            (unsigned long long)value->sum);
  } else if (base < OLD || base > OLD + SURVIVORS) {
    violate(trial, "%s: %llu was never written", who, (unsigned long long)value->number);
  }
}

static void setup(struct trial *trial) {
  struct value value = value_of(OLD);
  expect(trial, "init", cipc_cell_init(cell_of(trial), &value, sizeof value), 0);
}

// What the process has begun with.
static struct value current;

static void begin(struct trial *trial) {
  expect(trial, "begin",
         cipc_cell_begin(cell_of(trial), &current, sizeof current, CIPC_NO_DEADLINE), 0);
}

static void commit(struct trial *trial) {
  current = value_of(current.number + STEP);
  expect(trial, "commit", cipc_cell_commit(cell_of(trial), &current, sizeof current), 0);
}

static void update(struct trial *trial) {
  begin(trial);
  commit(trial);
}

static void store(struct trial *trial) {
  struct value value = value_of(OLD + STEP);
  expect(trial, "store", cipc_cell_store(cell_of(trial), &value, sizeof value, CIPC_NO_DEADLINE),
         0);
}

static void cancel(struct trial *trial) {
  expect(trial, "cancel", cipc_cell_cancel(cell_of(trial)), 0);
}

static void read_value(struct trial *trial) {
  struct value value;
  expect(trial, "read", cipc_cell_read(cell_of(trial), &value, sizeof value, CIPC_NO_DEADLINE), 0);
}

static void read_locked(struct trial *trial) {
  struct value value;
  expect(trial, "read_locked",
         cipc_cell_read_locked(cell_of(trial), &value, sizeof value, CIPC_NO_DEADLINE), 0);
}

static int holds(struct trial *trial) {
#if defined(__GLIBC__)
  int word = __atomic_load_n(&cell_of(trial)->mutex.native.__data.__lock, __ATOMIC_SEQ_CST);
  return (word & 0x3fffffff) == trial->shared->victim;
#else
  (void)trial;
  return -1;
#endif
}

static int committed_now(struct trial *trial) {
  struct value value;
  // Fails only when a survivor is at it, and then the victim is through or has not begun.
  if (!cipc_cell_try_read(cell_of(trial), &value, sizeof value)) return -1;
  return value.number >= STEP;
}

static bool barge(struct trial *trial) {
  struct value value;
  return cipc_cell_begin(cell_of(trial), &value, sizeof value, CIPC_IMMEDIATELY) == 0;
}

static void observe(struct trial *trial) {
  struct value value;
  // Before `setup` the cell is empty, and its mutex would be no mutex.
  if (!cipc_cell_try_read(cell_of(trial), &value, sizeof value)) return;
  look(trial, "a reader in between", &value);
  // Never back to what was before. One observer, so a plain word will do.
  if ((int64_t)value.number < trial->shared->number[0]) {
    violate(trial, "a reader in between: %llu after %llu", (unsigned long long)value.number,
            (unsigned long long)trial->shared->number[0]);
  }
  trial->shared->number[0] = (int64_t)value.number;
}

static void survive(struct trial *trial, int survivor) {
  struct value value;
  cipc_cell_t *cell = cell_of(trial);
  // The victim is stopped or asleep somewhere: no lock is needed, not even now.
  if (!cipc_cell_try_read(cell, &value, sizeof value) &&
      cipc_cell_read(cell, &value, sizeof value, soon()) < 0) {
    violate(trial, "survivor %d: cannot read", survivor);
  }
  look(trial, "survivor without the lock", &value);
  int status = cipc_cell_begin(cell, &value, sizeof value, soon());
  if (status < 0) {
    violate(trial, "survivor %d: begin: %s", survivor, cipc_status_message(status));
    return;
  }
  (void)enter(trial, survivor);
  look(trial, "survivor with the lock", &value);
  value = value_of(value.number + 1);
  leave(trial);
  expect(trial, "survivor: commit", cipc_cell_commit(cell, &value, sizeof value), 0);
}

static void check(struct trial *trial) {
  struct value value;
  cipc_cell_t *cell = cell_of(trial);
  expect(trial, "last read", cipc_cell_read(cell, &value, sizeof value, soon()), 0);
  look(trial, "last read", &value);
  trial->shared->number[1] = (int64_t)value.number;
  expect(trial, "last trylock", cipc_mutex_trylock(&cell->mutex), 0);
  expect(trial, "last unlock", cipc_mutex_unlock(&cell->mutex), 0);
}

static void compare_with_before(struct trial *trial) {
  if (trial->done_before >= 0 && trial->done_before != trial->committed) {
    violate(trial, "the update was %s when the victim was killed, and %s in the end",
            trial->done_before ? "there" : "not there", trial->committed ? "is" : "is not");
  }
}

static void judge(struct trial *trial) {
  uint64_t number = (uint64_t)trial->shared->number[1];
  trial->committed = number >= STEP;
  if (number != OLD + SURVIVORS + (trial->committed ? STEP : 0)) {
    violate(trial, "the last value is %llu: an update was lost", (unsigned long long)number);
  }
  compare_with_before(trial);
}

// A store takes the place of whatever survivors wrote before it, and of nothing that they wrote
// after it; `look` has seen to it that no more is there than they wrote.
static void judge_store(struct trial *trial) {
  uint64_t number = (uint64_t)trial->shared->number[1];
  trial->committed = number >= STEP;
  if (!trial->committed && number != OLD + SURVIVORS) violate(trial, "an update was lost");
  compare_with_before(trial);
}

static void judge_reader(struct trial *trial) {
  if (trial->shared->number[1] != OLD + SURVIVORS) violate(trial, "an update was lost");
}

#define COMMON \
  .setup = setup, .hold = begin, .release = cancel, .holds = holds, .barge = barge, \
  .unbarge = cancel, .survive = survive, .check = check, .observe = observe
#define WRITER COMMON, .committed_now = committed_now, .judge = judge
#define READER COMMON, .judge = judge_reader
#define WAITS (IN(WOKEN) | IN(WOKEN_DIED) | IN(OVERTAKEN) | IN(BLOCKED))
#define HELD (IN(OWNS) | IN(CONTENDED) | IN(CALLS))

static const struct operation cell_operations[] = {
    {.name = "cell.update", .states = IN(OWNS) | WAITS, .commit = RISES, .run = update, WRITER},
    {.name = "cell.store",
     .states = IN(OWNS) | WAITS,
     .commit = RISES,
     .run = store,
     COMMON,
     .committed_now = committed_now,
     .judge = judge_store},
    {.name = "cell.commit",
     .states = HELD,
     .commit = RISES,
     .begins_owning = true,
     .prepare = begin,
     .run = commit,
     WRITER},
    {.name = "cell.cancel",
     .states = HELD,
     .begins_owning = true,
     .prepare = begin,
     .run = cancel,
     READER},
    {.name = "cell.read", .states = IN(OWNS), .run = read_value, READER},
    {.name = "cell.read-locked", .states = IN(OWNS) | WAITS, .run = read_locked, READER},
};

REGISTER(cell_operations)
