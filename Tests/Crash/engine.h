/* SPDX-License-Identifier: Apache-2.0 */
// What the files of the engine share; files of operations do not need it.
#ifndef ENGINE_H
#define ENGINE_H

#include "crash.h"

#define POINTS_MAXIMUM (1 << 16)

struct outcome {
  uint8_t tried;
  uint8_t died;
  uint8_t committed;
  uint8_t phase;
};

// An operation in a state, swept. Shared by the workers.
struct unit {
  const struct operation *operation;
  enum state state;
  long points;    // kill points found by the dry run, the last one behind the operation
  long missed;    // set-ups that had to be repeated: the victim was not woken in time
  long unlike;    // victims that went another way than the dry run and were stepped throughout
  int64_t worst;  // recovery, in nanoseconds
  int violated;
  long violated_at;
  char violation[400];
  bool cut_short;
  int open;  // of a start: the descriptors that the parent has at the end when all goes well
  struct outcome outcomes[POINTS_MAXIMUM];
  // The dry run: where the program was before step i, how often it had been there by then, and the
  // point up to i that it pays to run to.
  uintptr_t trace[POINTS_MAXIMUM];
  int32_t visits[POINTS_MAXIMUM];
  int32_t jump[POINTS_MAXIMUM];
};

enum reached { REACHED, ENDED, MISSED, UNLIKE, BROKEN };

// stepper.c: the victim's side, and how the worker moves it.
void crash_begin(void);
void crash_end(void);
enum reached stepper_start(pid_t victim);
enum reached stepper_until_blocked(struct trial *trial, pid_t victim);
enum reached stepper_woken(struct trial *trial, pid_t victim);
// Moves to point `k`, or to the end. `record`: writes the trace. `jump`: runs a part of the way
// freely, to a breakpoint, instead of stepping all of it.
enum reached stepper_step(struct trial *trial, struct unit *unit, pid_t victim, long k, bool record,
                          bool jump, long *at);
// Moves to point `k` of system calls, or to the end.
enum reached calls_move(struct trial *trial, pid_t victim, long k, long *at,
                        void (*unblock)(struct trial *));
bool process_sleeps(pid_t pid);
// The letter of /proc/PID/stat; 0 where there is no such process.
char process_state(pid_t pid);
// Whether the trial has taken so long that a process must be stuck.
bool stuck(void);
// Waits for a stop of the victim. False when it ended instead or does not stop.
bool wait_stop(pid_t victim, int *status);
bool at_end(pid_t victim);

// trial.c
struct crew;
struct crew *crew_make(const struct operation *operation, enum state state);
void crew_dismiss(struct crew *crew);
// One kill. Returns whether the point was reached or the operation ended before it.
enum reached trial_run(struct crew *crew, struct unit *unit, long k, bool dry, bool jump);
void private_shm(void);
extern bool shm_is_private;

// segment_ops.c
// The names that a worker left: a sweep that stops at a violation does not get to them.
void segments_clear(pid_t worker);

// starts.c: one start with a kill at point `k`.
enum reached start_trial(struct unit *unit, long k, bool dry);

// start_ops.c: the program whose starts are tried.
enum { CHILDREN = 2, STARTS = CHILDREN + 1 };

// What it leaves behind; in memory that children find through the environment.
struct start_record {
  int killed;          // by the worker: a process is being killed
  int mains;           // how often `main` was run in a child
  int entered;         // how often an entry was
  int tasked[STARTS];  // how often a child had its task
  int status[STARTS];  // of the start; the last one comes after the kill
  int waited[STARTS];  // of the wait
  cipc_process_status_t ended[STARTS];
  int open;  // descriptors at the end
  int finished;
};
// The first thing in `main`; a child does not return.
void start_bootstrap(int count, char **arguments);
// In the worker, once: makes the record.
struct start_record *start_record_make(void);
// Runs the starts, between two SIGUSR1 that a tracer takes. Does not return.
_Noreturn void start_program(const struct start *start);
#define START_CODE 42  // of a child that had its task
#define START_ALONE 3  // of a child whose parent had gone when it asked for its task

// report.c
const char *state_name(enum state state);
void report_heading(void);
void report_unit(const struct unit *unit, double seconds, bool complete);
// Looks at the outcomes as a whole; fills in the violation.
void report_judge(struct unit *unit, bool complete);

#endif
