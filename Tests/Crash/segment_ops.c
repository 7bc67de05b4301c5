/* SPDX-License-Identifier: Apache-2.0 */
// Segments: a name is absent, or what it names is complete; nothing else is left in /dev/shm.
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "crash.h"
#include "engine.h"

#define WORDS 96

static const cipc_segment_type_t type = {
    .kind = CIPC_KIND_USER + 1,
    .version = 3,
    .element_size = 8,
    .stride = 8,
    .alignment = 8,
    .count = WORDS,
    .fingerprint = UINT64_C(0x1234567890abcdef),
};

// In the shared object: what all of a trial need to know.
struct scene {
  char name[64];
  uint64_t free_blocks;
  cipc_segment_claim_t claim;
};

static struct scene *scene_of(struct trial *trial) { return trial->object; }

static uint64_t free_blocks(void) {
  struct statvfs status;
  return statvfs("/dev/shm", &status) < 0 ? 0 : (uint64_t)status.f_bfree;
}

#define NAME "/cipc-crash-%d"

void segments_clear(pid_t worker) {
  char name[64];
  (void)snprintf(name, sizeof name, NAME, (int)worker);
  (void)shm_unlink(name);
  // What broken/segment-renamed.c and broken/segment-withdrawn-later.c leave.
  (void)snprintf(name, sizeof name, NAME ".draft", (int)worker);
  (void)shm_unlink(name);
  (void)snprintf(name, sizeof name, NAME ".gone", (int)worker);
  (void)shm_unlink(name);
}

static void setup(struct trial *trial) {
  (void)snprintf(scene_of(trial)->name, sizeof scene_of(trial)->name, NAME, (int)getpid());
  // A trial that did not get to its kill point leaves the name.
  int status = cipc_segment_unlink(scene_of(trial)->name);
  if (status != CIPC_ENOENT) expect(trial, "unlink", status, 0);
  scene_of(trial)->free_blocks = free_blocks();
}

static cipc_segment_t *create(struct trial *trial, int named) {
  const cipc_segment_options_t options = {.type = &type, .named = named};
  cipc_segment_t *segment = NULL;
  expect(trial, "create", cipc_segment_create(&segment, WORDS * sizeof(uint64_t), &options), 0);
  if (segment == NULL) return NULL;
  uint64_t *words = cipc_segment_address(segment);
  for (uint64_t i = 0; i < WORDS; i++) words[i] = ~i;
  return segment;
}

static void create_named(struct trial *trial) {
  cipc_segment_t *segment = create(trial, 1);
  expect(trial, "publish", cipc_segment_publish(segment, scene_of(trial)->name), 0);
  cipc_segment_close(segment);
}

static int fill(void *payload, void *context) {
  (void)context;
  uint64_t *words = payload;
  for (uint64_t i = 0; i < WORDS; i++) words[i] = ~i;
  return 0;
}

static int open_or_create(struct trial *trial, cipc_segment_prepare_t prepare, void *context) {
  const cipc_segment_options_t options = {.type = &type};
  cipc_segment_t *segment = NULL;
  int status = cipc_segment_open_or_create(&segment, scene_of(trial)->name,
                                           WORDS * sizeof(uint64_t), &options, prepare, context);
  if (status >= 0) {
    const uint64_t *words = cipc_segment_address(segment);
    for (uint64_t i = 0; i < WORDS; i++) {
      if (words[i] != ~i) violate(trial, "what was opened or created is not whole");
    }
    cipc_segment_close(segment);
  }
  return status;
}

static void open_or_create_first(struct trial *trial) {
  expect(trial, "open or create", open_or_create(trial, fill, NULL), CIPC_SEGMENT_CREATED);
}

// What is published while the victim prepares its own, by the victim itself, so that it goes the
// same way each time.
static cipc_segment_t *rival;

static void prepare_rival(struct trial *trial) { rival = create(trial, 1); }

static int be_overtaken(void *payload, void *context) {
  struct trial *trial = context;
  expect(trial, "publish", cipc_segment_publish(rival, scene_of(trial)->name), 0);
  return fill(payload, NULL);
}

static void open_or_create_second(struct trial *trial) {
  expect(trial, "open or create", open_or_create(trial, be_overtaken, trial), 0);
}

static void prepare_name(struct trial *trial) {
  cipc_segment_t *segment = create(trial, 1);
  expect(trial, "publish", cipc_segment_publish(segment, scene_of(trial)->name), 0);
  scene_of(trial)->claim = cipc_segment_claim(segment);
  cipc_segment_close(segment);
}

static void withdraw(struct trial *trial) {
  const cipc_segment_claim_t claim = scene_of(trial)->claim;
  expect(trial, "withdraw", cipc_segment_withdraw(&claim), 0);
}

static void create_anonymous(struct trial *trial) {
  cipc_segment_t *segment = create(trial, 0);
  expect(trial, "publish", cipc_segment_publish(segment, NULL), 0);
  cipc_segment_close(segment);
}

// 1: there and complete; 0: not there.
static int look(struct trial *trial) {
  const cipc_segment_options_t options = {.type = &type};
  cipc_segment_t *segment = NULL;
  int status = cipc_segment_open_named(&segment, scene_of(trial)->name, &options);
  if (status == CIPC_ENOENT) return 0;
  if (status < 0) {
    violate(trial, "the name is there and cannot be opened: %s", cipc_status_message(status));
    return 0;
  }
  const uint64_t *words = cipc_segment_address(segment);
  for (uint64_t i = 0; i < WORDS; i++) {
    if (words[i] != ~i) violate(trial, "the name is there and its contents are not");
  }
  cipc_segment_close(segment);
  return 1;
}

static int committed_now(struct trial *trial) { return look(trial); }

static int withdrawn_now(struct trial *trial) { return !look(trial); }

// From the time that the victim is stopped until after its death.
static void survive(struct trial *trial, int survivor) {
  int before = look(trial);
  trial->shared->acquired_at[survivor] = cipc_clock_now();
  if (look(trial) != before) violate(trial, "the name changed while nobody was there");
}

// Two more processes that want to create, while the victim is stopped.
static void survive_racing(struct trial *trial, int survivor) {
  int status = open_or_create(trial, fill, NULL);
  trial->shared->acquired_at[survivor] = cipc_clock_now();
  if (status != 0) expect(trial, "open or create", status, CIPC_SEGMENT_CREATED);
  trial->shared->number[1 + survivor] = status == CIPC_SEGMENT_CREATED;
}

static void look_around(struct trial *trial, bool named) {
  DIR *directory = opendir("/dev/shm");
  if (directory == NULL) return;
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    bool mine = strcmp(entry->d_name, scene_of(trial)->name + 1) == 0;
    if (mine ? !named : shm_is_private) violate(trial, "%s is left in /dev/shm", entry->d_name);
  }
  (void)closedir(directory);
}

// What has no name shows in the memory that is gone.
static void look_for_memory(struct trial *trial) {
  uint64_t before = scene_of(trial)->free_blocks;
  uint64_t now = free_blocks();
  if (shm_is_private && now != before) {
    violate(trial, "%lld blocks of /dev/shm are gone", (long long)(before - now));
  }
}

static void check_named(struct trial *trial) {
  trial->shared->number[0] = look(trial);
  look_around(trial, trial->shared->number[0] != 0);
  int status = cipc_segment_unlink(scene_of(trial)->name);
  expect(trial, "unlink", status, trial->shared->number[0] ? 0 : CIPC_ENOENT);
  look_for_memory(trial);
}

static void check_anonymous(struct trial *trial) {
  if (look(trial)) violate(trial, "there is a name");
  look_around(trial, false);
  look_for_memory(trial);
}

static void judge(struct trial *trial) {
  trial->committed = trial->shared->number[0] != 0;
  if (trial->done_before != trial->committed) {
    violate(trial, "the name was %s when the victim was killed, and is %s",
            trial->done_before ? "there" : "not there", trial->committed ? "there" : "not there");
  }
}

static void judge_racing(struct trial *trial) {
  int64_t created = trial->shared->number[1] + trial->shared->number[2];
  trial->committed = trial->done_before == 1;
  if (created + trial->done_before != 1) {
    violate(trial, "the name was %s when the victim was killed, and of two others %lld created",
            trial->done_before ? "there" : "not there", (long long)created);
  }
  if (trial->shared->number[0] == 0) violate(trial, "nobody created the name");
}

static void judge_withdrawn(struct trial *trial) {
  trial->committed = trial->shared->number[0] == 0;
  if (trial->done_before != trial->committed) violate(trial, "the name came or went by itself");
}

static const struct operation segment_operations[] = {
    {.name = "segment.create-named",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .run = create_named,
     .committed_now = committed_now,
     .survive = survive,
     .check = check_named,
     .judge = judge},
    {.name = "segment.open-or-create",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .run = open_or_create_first,
     .committed_now = committed_now,
     .survive = survive_racing,
     .check = check_named,
     .judge = judge_racing},
    {.name = "segment.create-overtaken",
     .coarse = 23,
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .prepare = prepare_rival,
     .run = open_or_create_second,
     .committed_now = committed_now,
     .survive = survive_racing,
     .check = check_named,
     .judge = judge_racing},
    {.name = "segment.withdraw",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .prepare = prepare_name,
     .run = withdraw,
     .committed_now = withdrawn_now,
     .survive = survive,
     .check = check_named,
     .judge = judge_withdrawn},
    {.name = "segment.create-anonymous",
     .states = IN(OWNS) | IN(CALLS),
     .setup = setup,
     .run = create_anonymous,
     .survive = survive,
     .check = check_anonymous},
};

REGISTER(segment_operations)
