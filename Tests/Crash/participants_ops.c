/* SPDX-License-Identifier: Apache-2.0 */
// Participant tables: a process that was killed in the middle of anything is found and taken out,
// even if a rescuer is killed while doing so. No live process is taken out, and no dead one before
// the waiters have been told.
#include "segment/participants.h"

#include <unistd.h>

#include "crash.h"

// In the shared object.
struct scene {
  cipc_participants_head_t head;
  cipc_participant_t worker;
  // Died in `setup`, and is in the table.
  cipc_participant_t earlier;
  cipc_participant_t victim;
  _Alignas(64) uint64_t entries[CIPC_PARTICIPANTS_ENTRIES];
};
_Static_assert(sizeof(struct scene) <= OBJECT_SIZE, "fits the shared object");

static struct scene *scene_of(struct trial *trial) { return trial->object; }

// The table of this process and of the trial that it is in.
static cipc_participants_t *table_of(struct trial *trial) {
  static cipc_participants_t table;
  struct scene *scene = scene_of(trial);
  if (table.head == NULL) {
    table = (cipc_participants_t){.head = &scene->head,
                                  .entries = scene->entries,
                                  .mapping = trial->object,
                                  .length = OBJECT_SIZE,
                                  .descriptor = -1,
                                  .reserved = OBJECT_SIZE};
  }
  return &table;
}

// Not through the high-water mark: that is what may be wrong.
static bool has(struct trial *trial, cipc_participant_t participant) {
  const struct scene *scene = scene_of(trial);
  for (uint32_t i = 0; i < CIPC_PARTICIPANTS_ENTRIES; i++) {
    if (__atomic_load_n(&scene->entries[i], __ATOMIC_SEQ_CST) == participant) return true;
  }
  return false;
}

static void join(struct trial *trial) { cipc_participants_join(table_of(trial)); }

static void leave_table(struct trial *trial) { cipc_participants_leave(table_of(trial)); }

static void join_as_earlier(struct trial *trial) {
  scene_of(trial)->earlier = cipc_participant_self();
  join(trial);
}

static void setup(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  scene->worker = cipc_participant_self();
  // Without a hold of its own: that would be inherited by all.
  scene->entries[0] = scene->worker;
  scene->head.high = 1;
}

static void setup_dead(struct trial *trial) {
  setup(trial);
  trial->shared->earlier = die_after(trial, join_as_earlier);
}

static void bury(struct trial *trial) {
  if (!cipc_participants_bury_dead(table_of(trial))) violate(trial, "nobody dead was found");
}

static void tell(struct trial *trial) { cipc_participants_process_ended(trial->shared->earlier); }

static void know_victim(struct trial *trial) {
  if (cipc_participant_of(trial->shared->victim, &scene_of(trial)->victim) < 0) {
    violate(trial, "the victim has no identity");
  }
}

static int is_victim_there(struct trial *trial) {
  know_victim(trial);
  return has(trial, scene_of(trial)->victim);
}

static int is_victim_gone(struct trial *trial) { return !is_victim_there(trial); }

static int is_earlier_gone(struct trial *trial) {
  know_victim(trial);
  if (has(trial, scene_of(trial)->earlier)) return 0;
  if (__atomic_load_n(&scene_of(trial)->head.epoch, __ATOMIC_SEQ_CST) == 0) {
    violate(trial, "the dead one was taken out and no waiter has been told");
  }
  return 1;
}

// Two more rescuers at once, while the victim is stopped in the middle of it.
static void survive(struct trial *trial, int survivor) {
  (void)survivor;
  (void)cipc_participants_bury_dead(table_of(trial));
}

static void check(struct trial *trial) {
  struct scene *scene = scene_of(trial);
  (void)cipc_participants_bury_dead(table_of(trial));
  if (has(trial, scene->victim)) violate(trial, "the victim is still in the table");
  if (scene->earlier != 0 && has(trial, scene->earlier)) {
    violate(trial, "the dead one is still in the table");
  }
  // Whatever is said of it.
  join(trial);
  cipc_participants_process_ended(cipc_participant_pid(scene->worker));
  if (!has(trial, scene->worker)) violate(trial, "one that is alive was taken out");
  if (!has(trial, cipc_participant_self()))
    violate(trial, "the process that joins is not in the table");
  leave_table(trial);
}

static void judge(struct trial *trial) { trial->committed = trial->done_before == 1; }

static const struct operation participants_operations[] = {
    {.name = "participants.join",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .run = join,
     .committed_now = is_victim_there,
     .survive = survive,
     .check = check,
     .judge = judge},
    {.name = "participants.leave",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup,
     .prepare = join,
     .run = leave_table,
     .committed_now = is_victim_gone,
     .survive = survive,
     .check = check,
     .judge = judge},
    {.name = "participants.bury",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_dead,
     .run = bury,
     .committed_now = is_earlier_gone,
     .survive = survive,
     .check = check,
     .judge = judge},
    {.name = "participants.tell",
     .states = IN(OWNS) | IN(CALLS),
     .commit = RISES,
     .setup = setup_dead,
     .prepare = join,
     .run = tell,
     .committed_now = is_earlier_gone,
     .survive = survive,
     .check = check,
     .judge = judge},
};

REGISTER(participants_operations)
