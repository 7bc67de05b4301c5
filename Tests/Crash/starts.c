/* SPDX-License-Identifier: Apache-2.0 */
// Kills one of the processes of a start while another, or itself, is stopped at its k-th
// system-call stop. The worker traces them all and is the subreaper of what they leave behind: a
// trial is over when it has no child any more.
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

#define TRACEES 64
// How long all of it may take, and all that must be killed after that.
#define PATIENCE INT64_C(6000000000)
// How often in a row all but the stopped process must have nothing to do: one look at several
// processes is not at one moment.
#define SETTLED_LOOKS 3

enum role { NOBODY, THE_PARENT, THE_SERVER, THE_CHILD, ANOTHER_SERVER, ANOTHER_CHILD };

static const char *const role_names[] = {"a process that nobody started",
                                         "the parent",
                                         "the server",
                                         "the child",
                                         "another server",
                                         "another child"};

struct tracee {
  pid_t pid;
  enum role role;
  bool waits;  // stopped before it was known what it is
  bool sends;  // of the byte that lets a child go on
  bool ended;
  int status;
};

static struct {
  struct unit *unit;
  const struct start *start;
  struct start_record *record;
  enum role stopped, target;
  struct tracee tracees[TRACEES];
  int count;
  int servers, children;
  int unused;     // children that a server had ready, and never needed
  bool counting;  // the parent is between its two signals
  long k, at;     // where the one to be stopped shall be, and how many stops it had
  bool reached;
  struct tracee *held;
  bool is_killed;  // the target was alive and has been killed
  int64_t killed_at, last_end;
  int going;  // children that were let go on
  bool stuck;
  bool violated;
  char violation[sizeof((struct unit *)0)->violation];
} trial;

__attribute__((format(printf, 1, 2))) static void blame(const char *format, ...) {
  if (trial.violated) return;
  trial.violated = true;
  va_list values;
  va_start(values, format);
  (void)vsnprintf(trial.violation, sizeof trial.violation, format, values);
  va_end(values);
}

static void roles_of(enum state state, enum role *stopped, enum role *target) {
  switch (state) {
    case PARENT:
      *stopped = *target = THE_PARENT;
      break;
    case SERVER:
      *stopped = *target = THE_SERVER;
      break;
    case CHILD:
      *stopped = *target = THE_CHILD;
      break;
    case PARENT_AT_SERVER:
      *stopped = THE_SERVER, *target = THE_PARENT;
      break;
    case PARENT_AT_CHILD:
      *stopped = THE_CHILD, *target = THE_PARENT;
      break;
    case SERVER_AT_PARENT:
      *stopped = THE_PARENT, *target = THE_SERVER;
      break;
    case SERVER_AT_CHILD:
      *stopped = THE_CHILD, *target = THE_SERVER;
      break;
    case CHILD_AT_PARENT:
      *stopped = THE_PARENT, *target = THE_CHILD;
      break;
    case CHILD_AT_SERVER:
      *stopped = THE_SERVER, *target = THE_CHILD;
      break;
    default:
      abort();
  }
}

// MARK: - Processes

static struct tracee *tracee_of(pid_t pid) {
  for (int i = 0; i < trial.count; i++) {
    if (trial.tracees[i].pid == pid) return &trial.tracees[i];
  }
  if (trial.count == TRACEES) abort();
  struct tracee *made = &trial.tracees[trial.count++];
  *made = (struct tracee){.pid = pid};
  return made;
}

static struct tracee *tracee_with(enum role role) {
  for (int i = 0; i < trial.count; i++) {
    if (trial.tracees[i].role == role) return &trial.tracees[i];
  }
  return NULL;
}

static bool is_counted(const struct tracee *tracee) {
  return tracee->role == trial.stopped && !trial.reached &&
         (tracee->role != THE_PARENT || trial.counting);
}

static void resume(const struct tracee *tracee, int signal) {
  // The parent is always followed, for the bytes that it sends.
  bool follow = tracee->role == THE_PARENT || is_counted(tracee);
  // Fails where it was killed meanwhile.
  (void)ptrace(follow ? PTRACE_SYSCALL : PTRACE_CONT, tracee->pid, NULL, (void *)(intptr_t)signal);
}

// At a point of the one that is to be stopped; or else on it goes.
static void point(struct tracee *tracee) {
  if (is_counted(tracee) && trial.at++ == trial.k) {
    trial.reached = true;
    trial.held = tracee;
    return;
  }
  resume(tracee, 0);
}

static void was_born(const struct tracee *starter, pid_t pid) {
  struct tracee *tracee = tracee_of(pid);
  bool is_server = starter->role == THE_PARENT && trial.start->method == FORK_SERVER;
  if (is_server) {
    tracee->role = trial.servers++ == 0 ? THE_SERVER : ANOTHER_SERVER;
  } else {
    tracee->role = trial.children++ == trial.start->child ? THE_CHILD : ANOTHER_CHILD;
  }
  if (tracee->waits) {
    tracee->waits = false;
    point(tracee);
  }
}

static void at_call(struct tracee *tracee) {
  struct __ptrace_syscall_info info;
  memset(&info, 0, sizeof info);
  if (ptrace(PTRACE_GET_SYSCALL_INFO, tracee->pid, (void *)sizeof info, &info) > 0) {
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
      tracee->sends = info.entry.nr == SYS_sendto && info.entry.args[2] == 1;
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && tracee->role == THE_PARENT) {
      trial.going += tracee->sends && info.exit.rval == 1;
      tracee->sends = false;
    }
  }
  point(tracee);
}

static void stopped(struct tracee *tracee, int status) {
  int signal = WSTOPSIG(status);
  int event = status >> 16;
  if (signal == (SIGTRAP | 0x80)) {
    at_call(tracee);
  } else if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK ||
             event == PTRACE_EVENT_CLONE) {
    unsigned long pid = 0;
    if (ptrace(PTRACE_GETEVENTMSG, tracee->pid, NULL, &pid) == 0) was_born(tracee, (pid_t)pid);
    resume(tracee, 0);
  } else if (event == PTRACE_EVENT_STOP) {
    // The birth, which the starter's side may tell later.
    if (tracee->role == NOBODY) {
      tracee->waits = true;
    } else {
      point(tracee);
    }
  } else if (event != 0) {
    resume(tracee, 0);
  } else if (signal == SIGUSR1 && tracee->role == THE_PARENT) {
    trial.counting = !trial.counting;
    point(tracee);
  } else {
    resume(tracee, signal);
  }
}

static bool has_settled(void) {
  for (int i = 0; i < trial.count; i++) {
    const struct tracee *tracee = &trial.tracees[i];
    if (tracee->ended || tracee == trial.held) continue;
    char state = process_state(tracee->pid);
    // D: a parent waits for the end of a vfork; another process in it may be about to end.
    if (state == 'R' || (state == 'D' && tracee->role != THE_PARENT)) return false;
  }
  return true;
}

static void let_go(void) {
  struct tracee *held = trial.held;
  trial.held = NULL;
  resume(held, 0);
}

static void kill_target(void) {
  struct tracee *target = tracee_with(trial.target);
  if (target == NULL || target->ended || process_state(target->pid) == 'Z') {
    let_go();
    return;
  }
  __atomic_store_n(&trial.record->killed, 1, __ATOMIC_SEQ_CST);
  trial.is_killed = true;
  // The kernel does not do what the stopped one was about to ask for; another may be in it.
  if (target == trial.held) {
    trial.held = NULL;
  } else if (target->sends) {
    trial.going++;
  }
  (void)kill(target->pid, SIGKILL);
}

static void was_ended(struct tracee *tracee, int status) {
  tracee->ended = true;
  tracee->status = status;
  trial.last_end = cipc_clock_now();
  if (!trial.is_killed || tracee->role != trial.target) return;
  trial.killed_at = trial.last_end;
  // Only now: nothing that it still did was late.
  if (trial.held != NULL) let_go();
}

static void give_up(void) {
  trial.stuck = true;
  for (int i = 0; i < trial.count; i++) {
    const struct tracee *tracee = &trial.tracees[i];
    if (tracee->ended) continue;
    char state = process_state(tracee->pid);
    blame("%s does not end (state %c)", role_names[tracee->role], state);
    (void)kill(tracee->pid, SIGKILL);
  }
}

static void follow(void) {
  int64_t give_up_at = cipc_clock_now() + PATIENCE;
  int settled = 0;
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, __WALL | WNOHANG);
    if (pid < 0) return;
    if (pid == 0) {
      if (trial.held != NULL && !trial.is_killed) {
        settled = has_settled() ? settled + 1 : 0;
        if (settled > SETTLED_LOOKS) kill_target();
      }
      if (cipc_clock_now() > give_up_at) {
        if (trial.stuck) {
          fprintf(stderr, "crash: cannot kill what is left of a start\n");
          _exit(1);
        }
        give_up();
        give_up_at += PATIENCE;
      }
      struct timespec pause = {0, 20000};
      (void)nanosleep(&pause, NULL);
      continue;
    }
    settled = 0;
    struct tracee *tracee = tracee_of(pid);
    if (WIFSTOPPED(status)) {
      stopped(tracee, status);
    } else {
      was_ended(tracee, status);
    }
  }
}

// MARK: - What must hold

// Whether the kernel tells how a process ended that another one has reaped: since 6.15.
static bool kernel_tells(void) {
  static int tells = -1;
  if (tells < 0) {
    FILE *file = fopen("/proc/sys/kernel/osrelease", "re");
    int major = 0;
    int minor = 0;
    if (file != NULL) {
      if (fscanf(file, "%d.%d", &major, &minor) != 2) major = 0;
      (void)fclose(file);
    }
    tells = major > 6 || (major == 6 && minor >= 15);
  }
  return tells != 0;
}

static void judge_child_told(int i) {
  const struct start_record *record = trial.record;
  const cipc_process_status_t *end = &record->ended[i];
  if (record->status[i] != CIPC_OK) {
    blame("start %d failed: %s", i, cipc_status_name(record->status[i]));
    return;
  }
  if (record->waited[i] != CIPC_OK) {
    blame("waiting for child %d: %s", i, cipc_status_name(record->waited[i]));
    return;
  }
  if (trial.target == THE_CHILD && trial.is_killed && i == trial.start->child) {
    // A child that had not been asked for yet was replaced.
    if (i > 0 && end->end == CIPC_PROCESS_EXITED && end->value == START_CODE) return;
    if (end->end != CIPC_PROCESS_SIGNALLED || end->value != SIGKILL) {
      blame("the killed child is said to have ended by %d, %d", (int)end->end, end->value);
    }
    return;
  }
  // Reaped by the harness, behind a dead server.
  if (trial.target == THE_SERVER && trial.is_killed && end->end == CIPC_PROCESS_UNKNOWN &&
      !kernel_tells()) {
    return;
  }
  if (end->end != CIPC_PROCESS_EXITED || end->value != START_CODE) {
    blame("child %d is said to have ended by %d, %d", i, (int)end->end, end->value);
  }
  if (record->tasked[i] != 1) blame("child %d had its task %d times", i, record->tasked[i]);
}

static void judge_parent(void) {
  const struct start_record *record = trial.record;
  if (!record->finished) {
    blame("the parent did not get through");
    return;
  }
  for (int i = 0; i < CHILDREN + record->killed; i++) {
    // The last one is started where the parent saw that a process had been killed.
    if (i == CHILDREN && record->status[i] == CIPC_OK && record->tasked[i] == 0) break;
    judge_child_told(i);
  }
  if (trial.unit->open != 0 && record->open != trial.unit->open) {
    blame("the parent has %d descriptors instead of %d", record->open, trial.unit->open);
  }
}

// Children of a dead parent, and the server.
static void judge_end(const struct tracee *tracee) {
  if (trial.is_killed && tracee->role == trial.target) return;
  int code = WIFEXITED(tracee->status) ? WEXITSTATUS(tracee->status) : -WTERMSIG(tracee->status);
  bool is_orphan = trial.is_killed && trial.target == THE_PARENT;
  bool is_right = false;
  switch (tracee->role) {
    case THE_SERVER:
    case ANOTHER_SERVER:
      is_right = code == 0 || code == -SIGKILL || (is_orphan && code == CIPC_PROCESS_NO_ENTRY);
      break;
    case THE_CHILD:
    case ANOTHER_CHILD:
      is_right = code == START_CODE;
      // A fork that is repeated for want of an answer leaves a child behind that is to end.
      if (trial.is_killed && trial.target != THE_CHILD) is_right |= code == CIPC_PROCESS_NO_ENTRY;
      if (is_orphan) {
        is_right |= trial.start->is_daemon ? code == -SIGKILL : code == START_ALONE;
      }
      // One that was never needed ends with its server: by itself, or by the kernel.
      if (!is_right && trial.start->method == FORK_SERVER && (code == 0 || code == -SIGKILL)) {
        is_right = ++trial.unused <= trial.servers;
      }
      break;
    default:
      is_right = code == 0;
  }
  if (!is_right) blame("%s ended with %d", role_names[tracee->role], code);
}

static void judge(bool *died, bool *committed) {
  const struct start_record *record = trial.record;
  bool is_orphan = trial.is_killed && trial.target == THE_PARENT;
  for (int i = 0; i < trial.count; i++) {
    const struct tracee *tracee = &trial.tracees[i];
    judge_end(tracee);
    bool is_child = tracee->role == THE_CHILD || tracee->role == ANOTHER_CHILD;
    *died |= is_orphan && is_child &&
             (!WIFEXITED(tracee->status) || WEXITSTATUS(tracee->status) != START_CODE);
  }
  if (record->mains != 0) blame("a child ran the program's main");
  if (is_orphan && record->entered > trial.going) {
    blame("%d children ran, and %d were let go on", record->entered, trial.going);
  }
  if (!is_orphan) judge_parent();
  if (trial.target == THE_CHILD) {
    *died = record->ended[trial.start->child].end == CIPC_PROCESS_SIGNALLED;
  }
  if (trial.target == THE_SERVER) *died = trial.servers > 1;
  *committed = record->tasked[trial.start->child] > 0;
}

enum reached start_trial(struct unit *unit, long k, bool dry) {
  if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) return BROKEN;
  memset(&trial, 0, sizeof trial);
  trial.unit = unit;
  trial.start = unit->operation->start;
  trial.record = start_record_make();
  memset(trial.record, 0, sizeof *trial.record);
  trial.k = dry ? -1 : k;
  roles_of(unit->state, &trial.stopped, &trial.target);

  int gate[2];
  if (pipe(gate) < 0) return BROKEN;
  pid_t pid = fork();
  if (pid == 0) {
    char byte;
    (void)close(gate[1]);
    (void)!read(gate[0], &byte, 1);
    (void)close(gate[0]);
    start_program(trial.start);
  }
  (void)close(gate[0]);
  int options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
  if (pid < 0 || ptrace(PTRACE_SEIZE, pid, NULL, (void *)(intptr_t)options) < 0) {
    perror("crash: a start cannot be traced");
    _exit(1);
  }
  tracee_of(pid)->role = THE_PARENT;
  (void)close(gate[1]);
  follow();

  bool died = false;
  bool committed = false;
  if (!trial.stuck) judge(&died, &committed);
  if (dry) {
    unit->points = trial.at + 1;
    unit->open = trial.record->open;
  }
  if (trial.is_killed) {
    int64_t late = trial.last_end - trial.killed_at;
    int64_t worst = __atomic_load_n(&unit->worst, __ATOMIC_RELAXED);
    while (late > worst && !__atomic_compare_exchange_n(&unit->worst, &worst, late, 0,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    unit->outcomes[k] = (struct outcome){1, died, committed, ENTERED};
  }
  int none = 0;
  if (trial.violated && __atomic_compare_exchange_n(&unit->violated, &none, 1, 0, __ATOMIC_SEQ_CST,
                                                    __ATOMIC_SEQ_CST)) {
    unit->violated_at = dry ? trial.at : k;
    memcpy(unit->violation, trial.violation, sizeof unit->violation);
  }
  return trial.reached ? REACHED : ENDED;
}
