/* SPDX-License-Identifier: Apache-2.0 */
// Objects by name: the name is absent, or the object that it names is whole.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crash.h"
#include "engine.h"

#define FIRST 1.5

struct scene {
  char name[64];
};

static const char *name_of(struct trial *trial) { return ((struct scene *)trial->object)->name; }

static void setup(struct trial *trial) {
  // One of those that `segments_clear` knows.
  (void)snprintf(((struct scene *)trial->object)->name, sizeof(struct scene), "/cipc-crash-%d",
                 (int)getpid());
  int status = cipc_segment_unlink(name_of(trial));
  if (status != CIPC_ENOENT) expect(trial, "unlink", status, 0);
}

// MARK: A value

static void look_at_cell(struct trial *trial, cipc_segment_t *segment) {
  double value = 0;
  int status =
      cipc_cell_read(cipc_segment_address(segment), &value, sizeof value, CIPC_IMMEDIATELY);
  if (status < 0 || memcmp(&value, &(double){FIRST}, sizeof value) != 0) {
    violate(trial, "the name is there and the value is %g: %s", value, cipc_status_message(status));
  }
}

static int make_cell(struct trial *trial) {
  cipc_segment_t *segment = NULL;
  int status =
      cipc_cell_open_or_create(&segment, name_of(trial), cipc_element("float64"), &(double){FIRST});
  if (status < 0) return status;
  look_at_cell(trial, segment);
  cipc_segment_close(segment);
  return status;
}

static int find_cell(struct trial *trial) {
  cipc_segment_t *segment = NULL;
  int status = cipc_cell_open_named(&segment, name_of(trial), cipc_element("float64"));
  if (status < 0) return status;
  look_at_cell(trial, segment);
  cipc_segment_close(segment);
  return 0;
}

// MARK: An array

static const uint64_t shape[] = {3, 5};

static void look_at_array(struct trial *trial, cipc_segment_t *segment, const cipc_array_t *array) {
  if (array->rank != 2 || array->shape[0] != 3 || array->shape[1] != 5) {
    violate(trial, "the name is there and the shape is not");
  }
  // Not by the victim, whose death would have to be told then.
  if (trial->shared->victim != getpid()) {
    int status = cipc_array_lock(array, cipc_clock_deadline(SURVIVOR_DEADLINE));
    if (status == 0) status = cipc_array_unlock(array);
    expect(trial, "lock and unlock", status, 0);
  }
  cipc_segment_close(segment);
}

static int make_array(struct trial *trial) {
  cipc_segment_t *segment = NULL;
  cipc_array_t array;
  int status = cipc_array_open_or_create(&segment, &array, name_of(trial), cipc_element("int32"), 2,
                                         shape, 1);
  if (status >= 0) look_at_array(trial, segment, &array);
  return status;
}

static int find_array(struct trial *trial) {
  cipc_segment_t *segment = NULL;
  cipc_array_t array;
  int status = cipc_array_open_named(&segment, &array, name_of(trial), cipc_element("int32"));
  if (status == 0) look_at_array(trial, segment, &array);
  return status;
}

// MARK: Whichever it is

static bool is_array(const struct trial *trial) {
  return strcmp(trial->operation->name, "object.make-array") == 0;
}

static int make(struct trial *trial) {
  return is_array(trial) ? make_array(trial) : make_cell(trial);
}

static void run(struct trial *trial) {
  expect(trial, "open or create", make(trial), CIPC_SEGMENT_CREATED);
}

// 1: there and whole; 0: not there.
static int look(struct trial *trial) {
  int status = is_array(trial) ? find_array(trial) : find_cell(trial);
  if (status == CIPC_ENOENT) return 0;
  if (status < 0) {
    violate(trial, "the name is there and cannot be opened: %s", cipc_segment_refusal(status));
  }
  return 1;
}

static int committed_now(struct trial *trial) {
  char path[80];
  (void)snprintf(path, sizeof path, "/dev/shm%s", name_of(trial));
  return access(path, F_OK) == 0;
}

// Two more processes that want to make it, while the victim is stopped and after its death.
static void survive(struct trial *trial, int survivor) {
  int status = make(trial);
  trial->shared->acquired_at[survivor] = cipc_clock_now();
  if (status != 0) expect(trial, "open or create", status, CIPC_SEGMENT_CREATED);
  trial->shared->number[1 + survivor] = status == CIPC_SEGMENT_CREATED;
}

static void check(struct trial *trial) {
  trial->shared->number[0] = look(trial);
  expect(trial, "unlink", cipc_segment_unlink(name_of(trial)), 0);
}

static void judge(struct trial *trial) {
  int64_t created = trial->shared->number[1] + trial->shared->number[2];
  trial->committed = trial->done_before == 1;
  if (created + trial->done_before != 1) {
    violate(trial, "the name was %s when the victim was killed, and of two others %lld created",
            trial->done_before ? "there" : "not there", (long long)created);
  }
  if (trial->shared->number[0] == 0) violate(trial, "nobody made the object");
}

#define COMMON \
  .states = IN(OWNS) | IN(CALLS), .commit = RISES, .setup = setup, .run = run, \
  .committed_now = committed_now, .survive = survive, .check = check, .judge = judge

static const struct operation object_operations[] = {
    {.name = "object.make-cell", COMMON},
    {.name = "object.make-array", COMMON},
};

REGISTER(object_operations)
