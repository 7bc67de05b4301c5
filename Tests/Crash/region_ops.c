/* SPDX-License-Identifier: Apache-2.0 */
// Regions: an object is in the directory, whole, or the region is as it was; of all that ask for a
// name one makes the object; the memory that a killed maker wrote to is zero for the next.
#include <string.h>

#include "crash.h"

#define SIZE 8192
#define WORDS 6
#define FIRST "first"
#define WANTED "wanted"

static cipc_region_t *region_of(struct trial *trial) { return trial->object; }

static cipc_deadline_t soon(void) { return cipc_clock_deadline(SURVIVOR_DEADLINE); }

// Says which of the trial's processes made it: each word is that number and the word's own.
static int prepare_object(void *payload, void *context) {
  uint64_t *words = payload;
  uint64_t maker = *(const uint64_t *)context;
  for (uint64_t i = 0; i < WORDS; i++) {
    // Not told as a violation from here; `look` finds a number that no process has.
    words[i] = words[i] == 0 ? maker * 1000 + i : UINT64_MAX;
  }
  return 0;
}

static int ask(struct trial *trial, const char *name, uint64_t maker, cipc_region_entry_t *entry,
               cipc_deadline_t deadline) {
  cipc_region_object_t object = {
      .name = name,
      .type = {.kind = CIPC_KIND_USER, .version = 1, .stride = 8, .count = WORDS},
      .size = WORDS * 8,
      .prepare = prepare_object,
      .context = &maker};
  return cipc_region_allocate(region_of(trial), SIZE, &object, entry, deadline);
}

// The maker of an object, 0 for none.
static uint64_t look(struct trial *trial, const char *who, const cipc_region_entry_t *entry) {
  const uint64_t *words = cipc_region_address(region_of(trial), entry);
  uint64_t maker = words[0] / 1000;
  for (uint64_t i = 0; i < WORDS; i++) {
    if (words[i] == maker * 1000 + i && maker != 0) continue;
    violate(trial, "%s: %s is not whole: word %llu is %llu", who, entry->name,
            (unsigned long long)i, (unsigned long long)words[i]);
    return 0;
  }
  return maker;
}

enum { VICTIM = 1, SETUP = 2, SURVIVOR = 3 };

static void setup(struct trial *trial) {
  cipc_region_entry_t entry;
  expect(trial, "format", cipc_region_format(region_of(trial), SIZE), 0);
  expect(trial, "first", ask(trial, FIRST, SETUP, &entry, CIPC_NO_DEADLINE), CIPC_REGION_CREATED);
}

static void allocate(struct trial *trial) {
  cipc_region_entry_t entry;
  int status = ask(trial, WANTED, VICTIM, &entry, CIPC_NO_DEADLINE);
  if (status < 0) violate(trial, "allocate: %s", cipc_status_message(status));
}

static void find(struct trial *trial) {
  cipc_region_entry_t entry;
  expect(trial, "find", cipc_region_find(region_of(trial), SIZE, FIRST, NULL, &entry), 0);
}

static void hold(struct trial *trial) {
  expect(trial, "lock", cipc_mutex_lock(&region_of(trial)->mutex, CIPC_NO_DEADLINE), 0);
}

static void release(struct trial *trial) {
  expect(trial, "unlock", cipc_mutex_unlock(&region_of(trial)->mutex), 0);
}

static bool barge(struct trial *trial) { return cipc_mutex_trylock(&region_of(trial)->mutex) == 0; }

static int holds(struct trial *trial) {
#if defined(__GLIBC__)
  int word = __atomic_load_n(&region_of(trial)->mutex.native.__data.__lock, __ATOMIC_SEQ_CST);
  return (word & 0x3fffffff) == trial->shared->victim;
#else
  (void)trial;
  return -1;
#endif
}

static int committed_now(struct trial *trial) {
  cipc_region_entry_t entry;
  // Once it does not own any more, a survivor may have made it.
  if (holds(trial) != 1) return -1;
  return cipc_region_find(region_of(trial), SIZE, WANTED, NULL, &entry) == 0;
}

// Asks for the same object, and then for one of its own.
static void survive(struct trial *trial, int survivor) {
  cipc_region_entry_t entry;
  uint64_t me = SURVIVOR + (uint64_t)survivor;
  int status = ask(trial, WANTED, me, &entry, soon());
  if (status < 0) {
    violate(trial, "survivor %d: %s", survivor, cipc_status_message(status));
    return;
  }
  uint64_t maker = look(trial, "survivor", &entry);
  if ((status == CIPC_REGION_CREATED) != (maker == me)) {
    violate(trial, "survivor %d: its maker is %llu, and it got %d", survivor,
            (unsigned long long)maker, status);
  }
  char name[] = "own 0";
  name[4] = (char)('0' + survivor);
  expect(trial, "survivor's own", ask(trial, name, me, &entry, soon()), CIPC_REGION_CREATED);
  (void)look(trial, "survivor's own", &entry);
  // Not inside anything of the others: this is where the time is taken.
  trial->shared->acquired_at[survivor] = cipc_clock_now();
}

static void check(struct trial *trial) {
  uint64_t end = sizeof(cipc_region_t);
  size_t count = cipc_region_count(region_of(trial), SIZE);
  if (count != 2 + SURVIVORS) violate(trial, "there are %zu objects", count);
  for (size_t i = 0; i < count; i++) {
    cipc_region_entry_t entry;
    expect(trial, "entry", cipc_region_entry(region_of(trial), SIZE, i, &entry), 0);
    uint64_t maker = look(trial, "last look", &entry);
    if (entry.offset < end) violate(trial, "%s overlaps the one before it", entry.name);
    end = entry.offset + entry.size;
    if (strcmp(entry.name, WANTED) == 0) trial->shared->number[1] = (int64_t)maker;
  }
  expect(trial, "last trylock", cipc_mutex_trylock(&region_of(trial)->mutex), 0);
  expect(trial, "last unlock", cipc_mutex_unlock(&region_of(trial)->mutex), 0);
}

static void judge(struct trial *trial) {
  trial->committed = trial->shared->number[1] == VICTIM;
  if (trial->shared->number[1] == 0) violate(trial, "nobody has made it");
  if (trial->done_before >= 0 && trial->done_before != trial->committed) {
    violate(trial, "the object was %s when the victim was killed, and %s in the end",
            trial->done_before ? "there" : "not there", trial->committed ? "is" : "is not");
  }
}

#define COMMON \
  .setup = setup, .hold = hold, .release = release, .holds = holds, .barge = barge, \
  .unbarge = release, .survive = survive, .check = check, .judge = judge

static const struct operation region_operations[] = {
    {.name = "region.allocate",
     .states = IN(OWNS) | IN(WOKEN) | IN(WOKEN_DIED) | IN(OVERTAKEN) | IN(CALLS) | IN(BLOCKED),
     .commit = RISES,
     .run = allocate,
     .committed_now = committed_now,
     COMMON},
    {.name = "region.find", .states = IN(OWNS), .run = find, COMMON},
};

REGISTER(region_operations)
