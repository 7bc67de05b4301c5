/* SPDX-License-Identifier: Apache-2.0 */
// Segments: a name is absent, or what it names is complete; nothing else is left in /dev/shm.
#include <dirent.h>
#include <stdio.h>
#include <string.h>
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
  cipc_participant_t self;
};

static struct scene *scene_of(struct trial *trial) { return trial->object; }

static uint64_t free_blocks(void) {
  struct statvfs status;
  return statvfs("/dev/shm", &status) < 0 ? 0 : (uint64_t)status.f_bfree;
}

static void setup(struct trial *trial) {
  (void)snprintf(scene_of(trial)->name, sizeof scene_of(trial)->name, "/cipc-crash-%d",
                 (int)getpid());
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

// From the time that the victim is stopped until after its death.
static void survive(struct trial *trial, int survivor) {
  int before = look(trial);
  trial->shared->acquired_at[survivor] = cipc_clock_now();
  if (look(trial) != before) violate(trial, "the name changed while nobody was there");
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
    {.name = "segment.create-anonymous",
     .states = IN(OWNS) | IN(CALLS),
     .setup = setup,
     .run = create_anonymous,
     .survive = survive,
     .check = check_anonymous},
};

REGISTER(segment_operations)
