/* SPDX-License-Identifier: Apache-2.0 */
// The crash harness: kills a process at every instruction of an operation and lets others look at
// what is left. README.md says how it works; this file is what a file of operations needs.
#ifndef CRASH_H
#define CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "cipc.h"

#define SURVIVORS 2
#define OBJECT_SIZE 16384
// How long a survivor waits for anything, and what the library promises.
#define SURVIVOR_DEADLINE INT64_C(2000000000)
#define PROMISE INT64_C(250000000)

// How a victim comes to the kill point. X(NAME, name, what)
#define STATE_LIST(X) \
  X(OWNS, "owns", "stepped; no other process is there until it is stopped at the kill point") \
  X(CONTENDED, "contended", "stepped; the victim owns, two waiters sleep from the beginning") \
  X(WOKEN, "woken", "stepped from its return from a wait that a release ended; two more sleep") \
  X(WOKEN_DIED, "woken-died", "the same, but the owner was killed instead of releasing") \
  X(OVERTAKEN, "overtaken", "as woken; a third takes the lock before the kill, gives it up after") \
  X(CALLS, "calls", "killed at the entry and at the exit of each system call, and asleep in one") \
  X(BLOCKED, "blocked", "as calls, and another process holds what the victim wants") \
  X(PARENT, "parent", "starts: the parent is killed at each of its system calls") \
  X(SERVER, "server", "starts: the fork server is") \
  X(CHILD, "child", "starts: the child is, from its birth on") \
  X(PARENT_AT_SERVER, "parent@server", "starts: the parent, with the server stopped at each call") \
  X(PARENT_AT_CHILD, "parent@child", "starts: the parent, with the child stopped") \
  X(SERVER_AT_PARENT, "server@parent", "starts: the server, with the parent stopped") \
  X(SERVER_AT_CHILD, "server@child", "starts: the server, with the child stopped") \
  X(CHILD_AT_PARENT, "child@parent", "starts: the child, with the parent stopped") \
  X(CHILD_AT_SERVER, "child@server", "starts: the child, with the server stopped")

enum state {
#define STATE_ENUM(name, text, what) name,
  STATE_LIST(STATE_ENUM)
#undef STATE_ENUM
      STATE_COUNT
};

#define IN(state) (1u << (state))

// How an outcome may change as the kill point moves on: what holds before the operation is entered
// (left), what holds after it has returned (right), and nothing in between but the steps named.
enum course {
  NEVER,    // no everywhere
  RISES,    // no, then yes
  FALLS,    // yes, then no
  HUMP,     // no, then yes, then no
  ALWAYS,   // yes everywhere
  WHENEVER  // no, then yes, but when depends on how fast the others are
};

enum phase { NOT_ENTERED, ENTERED, RETURNED };

// What all processes of a trial share; zeroed before each.
struct shared {
  // By the victim.
  int phase;
  int spoiled;  // the set-up did not hold: to be repeated
  // By the worker: whether the victim owned at the kill point; then that it is being killed.
  int victim_holds;
  int killed;
  int stop_observer;
  pid_t victim;
  pid_t earlier;  // an owner that died in `setup`
  pid_t holder;   // the owner in the way of the victim
  // By survivors.
  int busy[SURVIVORS];
  int done[SURVIVORS];
  int64_t acquired_at[SURVIVORS];
  pid_t inside;
  int order;                  // how many have been inside
  int seen[SURVIVORS];        // what acquisition told, by order
  pid_t casualty[SURVIVORS];  // the process that is said to be dead, by order
  int64_t number[8];          // for operations
  // The first violation, by anyone.
  int violated;
  char violation[400];
};

struct trial {
  const struct operation *operation;
  enum state state;
  struct shared *shared;
  void *object;        // OBJECT_SIZE shared bytes, zero before `setup`, aligned to 64
  int descriptors[4];  // for operations; -1 before `setup`; closed after the trial
  // For `judge`, in the worker:
  int holds;  // 1, 0 or -1 (unknown): whether the victim owned when it was killed
  int phase;
  int done_before;  // what `committed_now` said at the kill point; -1: nothing
  bool died;        // to be filled in: an owner's death was told
  bool committed;   // to be filled in: the operation has taken effect
};

// One row of the table. All but `name`, `states` and `run` may be left out.
struct operation {
  const char *name;           // "noun.verb"
  unsigned states;            // IN(OWNS) | ...
  enum course death;          // of `died`
  enum course death_if_died;  // the same in WOKEN_DIED
  enum course commit;         // of `committed`
  long coarse;                // a prime N: so long that even a full sweep tries every Nth point
  bool held;                  // another process holds it in every state
  bool begins_owning;         // the victim owns from `prepare` on: waiters can sleep at once
  bool times_out;             // what ends the wait in WOKEN is the victim's own deadline
  bool cold;                  // the victim does not know its own identity yet
  bool fresh_survivors;       // survivors are forked for each trial, after `setup`

  // A start of a child, which crosses processes and execve; nothing below is used then.
  const struct start *start;

  void (*setup)(struct trial *);         // in the worker, before any other process is there
  void (*hold)(struct trial *);          // in the holder: takes what the victim wants
  void (*release)(struct trial *);       // in the holder: gives it up
  void (*prepare)(struct trial *);       // in the victim, not stepped
  void (*run)(struct trial *);           // in the victim: the operation
  void (*forked)(struct trial *);        // in the worker, once the victim is there
  int (*holds)(struct trial *);          // in the worker, victim stopped: does it own? -1: unknown
  int (*committed_now)(struct trial *);  // in the worker, victim stopped: has it committed?
  bool (*barge)(struct trial *);         // in the worker, OVERTAKEN: takes it if it is free
  void (*unbarge)(struct trial *);       // in the worker: and gives it up
  void (*survive)(struct trial *, int);  // in each survivor, from before the kill
  void (*check)(struct trial *);         // in survivor 0, when all have survived
  void (*observe)(struct trial *);       // in a bystander, over and over, all the time
  void (*judge)(struct trial *);         // in the worker, last
};

enum method { SPAWN, FORK_SERVER, FORK };

// What is tried in the operations of start_ops.c.
struct start {
  enum method method;
  bool is_daemon;
  int child;  // which of the children is "the child"
};

// Puts a table of operations on the list. Use REGISTER at the end of a file.
void crash_register(const struct operation *table, size_t count);
#define REGISTER(table) \
  __attribute__((constructor)) static void register_##table(void) { \
    crash_register(table, sizeof(table) / sizeof((table)[0])); \
  }

// Says that an invariant does not hold. Any process; the first one is kept.
void violate(struct trial *trial, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Violates unless `status` is `expected`.
void expect(struct trial *trial, const char *what, int status, int expected);

// A survivor owns now: notes the time, and looks whether another process does. Returns its place in
// the order, from 0. `leave` comes before it gives up.
int enter(struct trial *trial, int survivor);
void leave(struct trial *trial);

// Forks a process that runs `act` and is then killed by SIGKILL; returns its pid when it is gone.
pid_t die_after(struct trial *trial, void (*act)(struct trial *));

#endif
