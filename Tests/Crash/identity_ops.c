/* SPDX-License-Identifier: Apache-2.0 */
// Participants: alive until the kill, dead after it, and no other is taken for dead.
#include <unistd.h>

#include "crash.h"

// In the shared object.
struct scene {
  cipc_participant_t worker;
  cipc_participant_t victim;
};

static struct scene *scene_of(struct trial *trial) { return trial->object; }

static void setup(struct trial *trial) { scene_of(trial)->worker = cipc_participant_self(); }

static void identify(struct trial *trial) {
  cipc_participant_t self = cipc_participant_self();
  if (cipc_participant_pid(self) != getpid()) violate(trial, "self: another pid");
}

static void identify_thread(struct trial *trial) {
  cipc_participant_t thread = cipc_participant_this_thread();
  // The first thread of its process.
  if (thread != (cipc_participant_self() | CIPC_PARTICIPANT_THREAD)) {
    violate(trial, "this thread: another one");
  }
}

static void check_other(struct trial *trial) {
  expect(trial, "check", cipc_participant_check(scene_of(trial)->worker), 0);
  expect(trial, "check of the thread",
         cipc_participant_check(scene_of(trial)->worker | CIPC_PARTICIPANT_THREAD), 0);
}

// The worker, before the kill.
static int committed_now(struct trial *trial) {
  expect(trial, "identity of the victim",
         cipc_participant_of(trial->shared->victim, &scene_of(trial)->victim), 0);
  expect(trial, "check of the victim before the kill",
         cipc_participant_check(scene_of(trial)->victim), 0);
  return 0;
}

static void survive(struct trial *trial, int survivor) {
  (void)survivor;
  expect(trial, "check of the worker", cipc_participant_check(scene_of(trial)->worker), 0);
  int status = cipc_participant_check(scene_of(trial)->victim);
  bool killed = __atomic_load_n(&trial->shared->killed, __ATOMIC_SEQ_CST);
  if (!killed || status != CIPC_PARTICIPANT_DEAD) expect(trial, "check of the victim", status, 0);
}

static void check(struct trial *trial) {
  cipc_participant_t victim = scene_of(trial)->victim;
  expect(trial, "check of the victim after the kill", cipc_participant_check(victim),
         CIPC_PARTICIPANT_DEAD);
  expect(trial, "check of its thread", cipc_participant_check(victim | CIPC_PARTICIPANT_THREAD),
         CIPC_PARTICIPANT_DEAD);
  expect(trial, "check of the worker", cipc_participant_check(scene_of(trial)->worker), 0);
}

static const struct operation identity_operations[] = {
    {.name = "identity.self",
     .states = IN(OWNS) | IN(CALLS),
     .cold = true,
     .setup = setup,
     .run = identify,
     .committed_now = committed_now,
     .survive = survive,
     .check = check},
    {.name = "identity.this-thread",
     .states = IN(OWNS) | IN(CALLS),
     .setup = setup,
     .run = identify_thread,
     .committed_now = committed_now,
     .survive = survive,
     .check = check},
    {.name = "identity.check",
     .states = IN(OWNS) | IN(CALLS),
     .setup = setup,
     .run = check_other,
     .committed_now = committed_now,
     .survive = survive,
     .check = check},
};

REGISTER(identity_operations)
