/* SPDX-License-Identifier: Apache-2.0 */
// Journals: the next owner of the lock finds the range as it was or as it was to be, the latter
// exactly from the commit store on, and no update of a survivor is lost. No death is reported,
// unless the dead was changing the data in place.
#include <string.h>

#include "crash.h"

#define OLD UINT64_C(1000)
#define STEP UINT64_C(1000000)
// Where the data and the redo area lie in the object. The data of the large range crosses a page.
#define DATA 2048
#define WORDS 500
#define REDO 8192

// The range of the update that is under trial, in words.
struct range {
  size_t first;
  size_t count;
};
static const struct range one = {17, 1};
static const struct range few = {3, 6};
static const struct range pages = {100, 390};

static cipc_journal_t *journal_of(struct trial *trial) { return trial->object; }

static uint64_t *word_of(struct trial *trial, size_t index) {
  return (uint64_t *)(void *)((char *)trial->object + DATA) + index;
}

static uint64_t *redo_of(struct trial *trial) {
  return (uint64_t *)(void *)((char *)trial->object + REDO);
}

static cipc_journal_area_t area_of(struct trial *trial) {
  return (cipc_journal_area_t){.data = word_of(trial, 0),
                               .size = WORDS * sizeof(uint64_t),
                               .redo = redo_of(trial),
                               .capacity = WORDS * sizeof(uint64_t)};
}

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

// What word `index` of the range is when the first one is `number`.
static uint64_t word_for(uint64_t number, size_t index) {
  return index == 0 ? number : number * UINT64_C(0x9e3779b97f4a7c15) + index;
}

static void fill(uint64_t *words, size_t count, uint64_t number) {
  for (size_t i = 0; i < count; i++) words[i] = word_for(number, i);
}

static void look(struct trial *trial, const char *who, const uint64_t *words, size_t count) {
  uint64_t number = words[0];
  uint64_t base = number >= STEP ? number - STEP : number;
  if (base < OLD || base > OLD + SURVIVORS) {
    violate(trial, "%s: %llu was never written", who, (unsigned long long)number);
  }
  for (size_t i = 0; i < count; i++) {
    if (words[i] == word_for(number, i)) continue;
    violate(trial, "%s: torn at word %zu of %zu", who, i, count);
    return;
  }
}

static void setup_range(struct trial *trial, struct range range) {
  expect(trial, "init", cipc_journal_init(journal_of(trial)), 0);
  memset(word_of(trial, 0), 0x5a, WORDS * sizeof(uint64_t));
  fill(word_of(trial, range.first), range.count, OLD);
}

static void begin_range(struct trial *trial, struct range range) {
  cipc_journal_area_t area = area_of(trial);
  expect(trial, "begin",
         cipc_journal_begin(journal_of(trial), &area, range.first * 8, range.count * 8,
                            CIPC_NO_DEADLINE),
         0);
}

static void commit_range(struct trial *trial, struct range range) {
  cipc_journal_area_t area = area_of(trial);
  expect(trial, "commit",
         cipc_journal_commit(journal_of(trial), &area, range.first * 8, range.count * 8), 0);
}

static void cancel(struct trial *trial) {
  expect(trial, "cancel", cipc_journal_cancel(journal_of(trial)), 0);
}

static void step_number(struct trial *trial, struct range range) {
  fill(redo_of(trial), range.count, redo_of(trial)[0] + STEP);
}

static int holds(struct trial *trial) {
#if defined(__GLIBC__)
  int word = __atomic_load_n(&journal_of(trial)->mutex.native.__data.__lock, __ATOMIC_SEQ_CST);
  return (word & 0x3fffffff) == trial->shared->victim;
#else
  (void)trial;
  return -1;
#endif
}

static int committed_range(struct trial *trial, struct range range) {
  if (holds(trial) != 1) return -1;
  // While the victim owns, no other process writes.
  return journal_of(trial)->committed != 0 || word_of(trial, range.first)[0] >= STEP;
}

static bool barge_range(struct trial *trial, struct range range) {
  cipc_journal_area_t area = area_of(trial);
  return cipc_journal_begin(journal_of(trial), &area, range.first * 8, range.count * 8,
                            CIPC_IMMEDIATELY) == 0;
}

static void survive_range(struct trial *trial, int survivor, struct range range) {
  cipc_journal_t *journal = journal_of(trial);
  cipc_journal_area_t area = area_of(trial);
  int status = cipc_journal_begin(journal, &area, range.first * 8, range.count * 8, soon());
  if (status < 0) {
    violate(trial, "survivor %d: begin: %s", survivor, cipc_status_message(status));
    return;
  }
  int turn = enter(trial, survivor);
  trial->shared->seen[turn] = status;
  if (status == 0) {
    look(trial, "survivor", word_of(trial, range.first), range.count);
    look(trial, "survivor's copy", redo_of(trial), range.count);
  } else {
    // Half-changed in place: its repair.
    fill(redo_of(trial), range.count, OLD + (uint64_t)turn);
    expect(trial, "survivor: recover", cipc_journal_recover(journal), 0);
  }
  fill(redo_of(trial), range.count, redo_of(trial)[0] + 1);
  leave(trial);
  expect(trial, "survivor: commit",
         cipc_journal_commit(journal, &area, range.first * 8, range.count * 8), 0);
}

static void check_range(struct trial *trial, struct range range) {
  cipc_journal_t *journal = journal_of(trial);
  cipc_journal_area_t area = area_of(trial);
  expect(trial, "last lock", cipc_journal_lock(journal, &area, soon()), 0);
  look(trial, "last look", word_of(trial, range.first), range.count);
  for (size_t i = 0; i < WORDS; i++) {
    if (i >= range.first && i - range.first < range.count) continue;
    if (*word_of(trial, i) == UINT64_C(0x5a5a5a5a5a5a5a5a)) continue;
    violate(trial, "word %zu is not in the range and was written", i);
    break;
  }
  trial->shared->number[1] = (int64_t)*word_of(trial, range.first);
  if (journal->committed != 0) violate(trial, "an update is still to be copied");
  expect(trial, "last unlock", cipc_journal_unlock(journal), 0);
}

static void judge(struct trial *trial) {
  uint64_t number = (uint64_t)trial->shared->number[1];
  trial->committed = number >= STEP;
  trial->died = trial->shared->seen[0] == CIPC_OWNER_DIED;
  if (number != OLD + SURVIVORS + (trial->committed ? STEP : 0)) {
    violate(trial, "the last number is %llu: an update was lost", (unsigned long long)number);
  }
  if (trial->done_before >= 0 && trial->done_before != trial->committed) {
    violate(trial, "the update was %s when the victim was killed, and %s in the end",
            trial->done_before ? "there" : "not there", trial->committed ? "is" : "is not");
  }
}

// The same for each range. The loop that prepares an update belongs to the user and not to the
// operation, so for the large range it is in `prepare`.
#define FOR_RANGE(name) \
  static void setup_##name(struct trial *trial) { setup_range(trial, name); } \
  static void begin_##name(struct trial *trial) { begin_range(trial, name); } \
  static void commit_##name(struct trial *trial) { commit_range(trial, name); } \
  static int committed_##name(struct trial *trial) { return committed_range(trial, name); } \
  static bool barge_##name(struct trial *trial) { return barge_range(trial, name); } \
  static void survive_##name(struct trial *trial, int survivor) { \
    survive_range(trial, survivor, name); \
  } \
  static void check_##name(struct trial *trial) { check_range(trial, name); } \
  static void prepare_##name(struct trial *trial) { \
    begin_##name(trial); \
    step_number(trial, name); \
  }

FOR_RANGE(one)
FOR_RANGE(few)
FOR_RANGE(pages)

static void update_one(struct trial *trial) {
  prepare_one(trial);
  commit_one(trial);
}

static void update_few(struct trial *trial) {
  prepare_few(trial);
  commit_few(trial);
}

// The victim is the rescuer of an owner that died halfway through the copy.
static void die_in_copy(struct trial *trial) {
  prepare_few(trial);
  cipc_journal_t *journal = journal_of(trial);
  journal->offset = few.first * 8;
  journal->length = few.count * 8;
  __atomic_store_n(&journal->committed, 1, __ATOMIC_SEQ_CST);
  memcpy(word_of(trial, few.first), redo_of(trial), few.count * 4);
}

static void setup_rescue(struct trial *trial) {
  setup_few(trial);
  trial->shared->earlier = die_after(trial, die_in_copy);
}

static void rescue(struct trial *trial) {
  begin_few(trial);
  if (redo_of(trial)[0] != OLD + STEP) violate(trial, "the rescuer does not see the update");
  cancel(trial);
}

// A change in place, under the same lock.
static void change(struct trial *trial) {
  cipc_journal_area_t area = area_of(trial);
  expect(trial, "lock", cipc_journal_lock(journal_of(trial), &area, CIPC_NO_DEADLINE), 0);
  // Whole in between: what is told here is the death, and not a torn word.
  *word_of(trial, few.first) += 0;
  expect(trial, "unlock", cipc_journal_unlock(journal_of(trial)), 0);
}

#define COMMON(name) .setup = setup_##name, SHARED(name)
#define SHARED(name) \
  .hold = begin_##name, .release = cancel, .holds = holds, .barge = barge_##name, \
  .unbarge = cancel, .survive = survive_##name, .check = check_##name, .judge = judge
#define WRITER(name) COMMON(name), .committed_now = committed_##name
#define WAITS (IN(WOKEN) | IN(WOKEN_DIED) | IN(OVERTAKEN) | IN(BLOCKED))
#define HELD (IN(OWNS) | IN(CONTENDED) | IN(CALLS))

static const struct operation journal_operations[] = {
    {.name = "journal.update-one",
     .states = IN(OWNS) | WAITS,
     .commit = RISES,
     .run = update_one,
     WRITER(one)},
    {.name = "journal.update-few",
     .states = IN(OWNS) | WAITS,
     .commit = RISES,
     .run = update_few,
     WRITER(few)},
    {.name = "journal.commit-one",
     .states = HELD,
     .commit = RISES,
     .begins_owning = true,
     .prepare = prepare_one,
     .run = commit_one,
     WRITER(one)},
    {.name = "journal.commit-few",
     .states = HELD,
     .commit = RISES,
     .begins_owning = true,
     .prepare = prepare_few,
     .run = commit_few,
     WRITER(few)},
    {.name = "journal.commit-pages",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .coarse = 7,
     .begins_owning = true,
     .prepare = prepare_pages,
     .run = commit_pages,
     WRITER(pages)},
    {.name = "journal.cancel",
     .states = HELD,
     .begins_owning = true,
     .prepare = prepare_few,
     .run = cancel,
     COMMON(few)},
    // The dead owner's update is there before the rescuer begins, and stays.
    {.name = "journal.rescue",
     .states = IN(OWNS) | IN(CALLS),
     .commit = ALWAYS,
     .run = rescue,
     .setup = setup_rescue,
     .committed_now = committed_few,
     SHARED(few)},
    {.name = "journal.change",
     .states = IN(OWNS) | IN(WOKEN) | IN(OVERTAKEN),
     .death = HUMP,
     .run = change,
     COMMON(few)},
};

REGISTER(journal_operations)
