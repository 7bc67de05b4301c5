/* SPDX-License-Identifier: Apache-2.0 */
// One kill: the people around the victim, and the order in which they act.
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"

#define STUCK_AFTER_SECONDS 20
#define REPLY_MILLISECONDS 8000

// A process that does what it is told, one byte at a time.
struct actor {
  pid_t pid;
  int command;
  int reply;
};

struct crew {
  struct trial trial;
  struct actor survivors[SURVIVORS];
  struct actor observer;
  struct actor holder;
  bool surviving;
  bool observing;
  int64_t free_at;
  // How long each survivor had been kept waiting for a processor when the victim was killed, and
  // when it had come back.
  int64_t kept_before[SURVIVORS];
  int64_t kept_after[SURVIVORS];
};

// The worker is one thread and has one crew.
static struct crew the_crew;

static volatile sig_atomic_t alarmed;

static void on_alarm(int number) {
  (void)number;
  alarmed = 1;
}

static void set_alarm(long seconds) {
  alarmed = 0;
  // Again and again, since one between two waits would be lost.
  struct itimerval timer = {.it_value = {.tv_sec = seconds}, .it_interval = {.tv_usec = 100000}};
  if (seconds == 0) timer.it_interval.tv_usec = 0;
  (void)setitimer(ITIMER_REAL, &timer, NULL);
}

bool stuck(void) { return alarmed != 0; }

void violate(struct trial *trial, const char *format, ...) {
  int none = 0;
  if (!__atomic_compare_exchange_n(&trial->shared->violated, &none, 1, 0, __ATOMIC_SEQ_CST,
                                   __ATOMIC_SEQ_CST)) {
    return;
  }
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(trial->shared->violation, sizeof trial->shared->violation, format, arguments);
  va_end(arguments);
}

void expect(struct trial *trial, const char *what, int status, int expected) {
  if (status != expected) {
    violate(trial, "%s: %s (%d) instead of %d", what, cipc_status_message(status), status,
            expected);
  }
}

int enter(struct trial *trial, int survivor) {
  struct shared *shared = trial->shared;
  shared->acquired_at[survivor] = cipc_clock_now();
  // `victim_holds` is set while the victim is stopped, `killed` before it can go on.
  int holds = __atomic_load_n(&shared->victim_holds, __ATOMIC_SEQ_CST);
  if (holds == 1 && !__atomic_load_n(&shared->killed, __ATOMIC_SEQ_CST)) {
    violate(trial, "survivor %d owns while the victim lives and owns", survivor);
  }
  pid_t other = __atomic_exchange_n(&shared->inside, getpid(), __ATOMIC_SEQ_CST);
  if (other != 0) violate(trial, "%d and %d own at the same time", (int)other, (int)getpid());
  // Room for another process to come in.
  (void)sched_yield();
  int order = shared->order;
  shared->order = order + 1;
  return order;
}

void leave(struct trial *trial) {
  pid_t self = __atomic_exchange_n(&trial->shared->inside, 0, __ATOMIC_SEQ_CST);
  if (self != getpid()) violate(trial, "%d came in while %d owned", (int)self, (int)getpid());
}

static pid_t fork_bound(void) {
  pid_t worker = getpid();
  pid_t pid = fork();
  if (pid < 0) {
    perror("crash: fork");
    exit(2);
  }
  if (pid == 0) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != worker) _exit(0);
  }
  return pid;
}

static void bury(pid_t pid) {
  (void)kill(pid, SIGKILL);
  while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR) {
  }
}

pid_t die_after(struct trial *trial, void (*act)(struct trial *)) {
  pid_t pid = fork_bound();
  if (pid == 0) {
    act(trial);
    (void)raise(SIGKILL);
  }
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
  }
  return pid;
}

static struct actor actor_start(void (*act)(struct crew *, int, int, int), int argument) {
  int command[2];
  int reply[2];
  if (pipe(command) < 0 || pipe(reply) < 0) {
    perror("crash: pipe");
    exit(2);
  }
  struct actor actor = {.pid = fork_bound(), .command = command[1], .reply = reply[0]};
  if (actor.pid == 0) {
    (void)close(command[1]);
    (void)close(reply[0]);
    // Known before anything is measured.
    (void)cipc_participant_self();
    act(&the_crew, argument, command[0], reply[1]);
    _exit(0);
  }
  (void)close(command[0]);
  (void)close(reply[1]);
  return actor;
}

static void actor_stop(struct actor *actor) {
  if (actor->pid == 0) return;
  bury(actor->pid);
  (void)close(actor->command);
  (void)close(actor->reply);
  *actor = (struct actor){0};
}

static void say(int descriptor, char byte) {
  if (write(descriptor, &byte, 1) != 1) exit(2);
}

static bool answers(const struct actor *actor) {
  struct pollfd poll_reply = {.fd = actor->reply, .events = POLLIN};
  char byte;
  return poll(&poll_reply, 1, REPLY_MILLISECONDS) == 1 && read(actor->reply, &byte, 1) == 1;
}

static void act_survivor(struct crew *crew, int who, int command, int reply) {
  struct shared *shared = crew->trial.shared;
  char byte;
  while (read(command, &byte, 1) == 1) {
    if (byte == 'S') {
      __atomic_store_n(&shared->busy[who], 1, __ATOMIC_SEQ_CST);
      crew->trial.operation->survive(&crew->trial, who);
      __atomic_store_n(&shared->done[who], 1, __ATOMIC_SEQ_CST);
    } else {
      crew->trial.operation->check(&crew->trial);
    }
    say(reply, byte);
  }
}

static void act_observer(struct crew *crew, int argument, int command, int reply) {
  (void)argument;
  char byte;
  while (read(command, &byte, 1) == 1) {
    while (!__atomic_load_n(&crew->trial.shared->stop_observer, __ATOMIC_SEQ_CST)) {
      for (int i = 0; i < 64; i++) crew->trial.operation->observe(&crew->trial);
      (void)sched_yield();
    }
    say(reply, byte);
  }
}

static void act_holder(struct crew *crew, int argument, int command, int reply) {
  (void)argument;
  char byte;
  crew->trial.operation->hold(&crew->trial);
  say(reply, 'H');
  if (read(command, &byte, 1) != 1) return;
  crew->trial.operation->release(&crew->trial);
  say(reply, byte);
}

static _Noreturn void act_victim(struct trial *trial) {
  const struct operation *operation = trial->operation;
  (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  trial->shared->victim = getpid();
  if (!operation->cold) (void)cipc_participant_self();
  if (operation->prepare != NULL) operation->prepare(trial);
  crash_begin();
  __atomic_store_n(&trial->shared->phase, ENTERED, __ATOMIC_SEQ_CST);
  operation->run(trial);
  __atomic_store_n(&trial->shared->phase, RETURNED, __ATOMIC_SEQ_CST);
  crash_end();
  _exit(0);
}

static void hire_survivors(struct crew *crew) {
  for (int i = 0; i < SURVIVORS; i++) crew->survivors[i] = actor_start(act_survivor, i);
}

static void fire_survivors(struct crew *crew) {
  for (int i = 0; i < SURVIVORS; i++) actor_stop(&crew->survivors[i]);
}

struct crew *crew_make(const struct operation *operation, enum state state) {
  struct sigaction action = {.sa_handler = on_alarm};
  (void)sigaction(SIGALRM, &action, NULL);
  (void)signal(SIGPIPE, SIG_IGN);
  struct crew *crew = &the_crew;
  memset(crew, 0, sizeof *crew);
  private_shm();
  size_t size = sizeof(struct shared) + 64 + OBJECT_SIZE;
  char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("crash: mmap");
    exit(2);
  }
  crew->trial.operation = operation;
  crew->trial.state = state;
  crew->trial.object = memory;
  crew->trial.shared = (struct shared *)(void *)(memory + OBJECT_SIZE);
  // The page that forked children find wiped is there from now on.
  (void)cipc_participant_self();
  if (operation->survive != NULL && !operation->fresh_survivors) hire_survivors(crew);
  if (operation->observe != NULL) crew->observer = actor_start(act_observer, 0);
  return crew;
}

void crew_dismiss(struct crew *crew) {
  fire_survivors(crew);
  actor_stop(&crew->observer);
  actor_stop(&crew->holder);
}

static void start_survivors(struct crew *crew) {
  if (crew->surviving || crew->trial.operation->survive == NULL) return;
  crew->surviving = true;
  for (int i = 0; i < SURVIVORS; i++) {
    say(crew->survivors[i].command, 'S');
    // One after the other: the order in which they queue is always the same.
    while (!__atomic_load_n(&crew->trial.shared->done[i], __ATOMIC_SEQ_CST) && !stuck()) {
      if (__atomic_load_n(&crew->trial.shared->busy[i], __ATOMIC_SEQ_CST) &&
          process_sleeps(crew->survivors[i].pid)) {
        break;
      }
      (void)sched_yield();
    }
  }
}

// All survivors are through, or asleep in what they do.
static void settle(struct crew *crew) {
  for (int i = 0; crew->surviving && i < SURVIVORS; i++) {
    while (!__atomic_load_n(&crew->trial.shared->done[i], __ATOMIC_SEQ_CST) && !stuck()) {
      if (process_sleeps(crew->survivors[i].pid)) break;
      (void)sched_yield();
    }
  }
}

static void release_holder(struct crew *crew, bool by_death) {
  if (crew->holder.pid == 0) return;
  if (!by_death) {
    say(crew->holder.command, 'R');
    if (!answers(&crew->holder)) violate(&crew->trial, "the holder cannot give it up");
  }
  actor_stop(&crew->holder);
  crew->free_at = cipc_clock_now();
}

// Lets a victim that sleeps go on.
static void unblock(struct trial *trial) {
  if (trial->operation->times_out) return;
  if (the_crew.holder.pid != 0) {
    release_holder(&the_crew, trial->state == WOKEN_DIED);
  } else {
    start_survivors(&the_crew);
  }
}

static void open_trial(struct crew *crew) {
  struct trial *trial = &crew->trial;
  const struct operation *operation = trial->operation;
  memset(trial->shared, 0, sizeof *trial->shared);
  memset(trial->object, 0, OBJECT_SIZE);
  for (int i = 0; i < 4; i++) trial->descriptors[i] = -1;
  trial->holds = -1;
  trial->done_before = -1;
  trial->died = false;
  trial->committed = false;
  crew->surviving = false;
  crew->observing = false;
  if (operation->setup != NULL) operation->setup(trial);
  if (operation->fresh_survivors) hire_survivors(crew);
  enum state state = trial->state;
  if (operation->hold != NULL && (operation->held || state == BLOCKED || state == WOKEN ||
                                  state == WOKEN_DIED || state == OVERTAKEN)) {
    crew->holder = actor_start(act_holder, 0);
    trial->shared->holder = crew->holder.pid;
    if (!answers(&crew->holder)) violate(trial, "the holder cannot take it");
  }
  if (operation->observe != NULL) {
    say(crew->observer.command, 'O');
    crew->observing = true;
  }
}

static enum reached bring_to(struct crew *crew, struct unit *unit, pid_t victim, long k, bool dry,
                             bool jump, long *at) {
  struct trial *trial = &crew->trial;
  enum state state = trial->state;
  enum reached reached = stepper_start(victim);
  if (reached != REACHED) return reached;
  if (trial->operation->begins_owning && (state == CONTENDED || state == CALLS)) {
    start_survivors(crew);
  }
  if (state == CALLS || state == BLOCKED) return calls_move(trial, victim, k, at, unblock);
  if (state == WOKEN || state == WOKEN_DIED || state == OVERTAKEN) {
    reached = stepper_until_blocked(trial, victim);
    // It went through: its deadline had passed before it was asleep.
    if (reached == ENDED) return MISSED;
    if (reached != REACHED) return reached;
    // The longest waiter is woken first, and that is the victim.
    if (crew->holder.pid != 0) start_survivors(crew);
    unblock(trial);
    reached = stepper_woken(trial, victim);
    if (reached != REACHED) return reached;
  }
  return stepper_step(trial, unit, victim, k, dry, jump, at);
}

// Nanoseconds that a process has been ready to run and did not; 0 where the kernel does not count.
static int64_t kept_waiting(pid_t pid) {
  char path[40];
  long long running = 0;
  long long waiting = 0;
  (void)snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  if (fscanf(file, "%lld %lld", &running, &waiting) != 2) waiting = 0;
  (void)fclose(file);
  return waiting;
}

static void note_waiting(struct crew *crew, int64_t kept[SURVIVORS]) {
  for (int i = 0; crew->surviving && i < SURVIVORS; i++) {
    kept[i] = kept_waiting(crew->survivors[i].pid);
  }
}

static void await_survivors(struct crew *crew) {
  if (!crew->surviving) return;
  bool lost = false;
  for (int i = 0; i < SURVIVORS; i++) {
    if (!answers(&crew->survivors[i])) {
      violate(&crew->trial, "survivor %d never comes back", i);
      lost = true;
    }
  }
  if (lost && !crew->trial.operation->fresh_survivors) {
    fire_survivors(crew);
    hire_survivors(crew);
  }
}

// The promise is the library's: what a busy machine adds by letting survivors, which wait for each
// other too, queue for a processor is not counted.
static void measure(struct crew *crew, struct unit *unit) {
  int64_t kept = 0;
  for (int i = 0; i < SURVIVORS; i++) kept += crew->kept_after[i] - crew->kept_before[i];
  for (int i = 0; i < SURVIVORS; i++) {
    int64_t at = crew->trial.shared->acquired_at[i];
    int64_t late = at - crew->free_at - kept;
    if (at == 0 || late <= 0) continue;
    int64_t worst = __atomic_load_n(&unit->worst, __ATOMIC_RELAXED);
    while (late > worst && !__atomic_compare_exchange_n(&unit->worst, &worst, late, 0,
                                                        __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    if (late > PROMISE) {
      violate(&crew->trial, "survivor %d went on only after %.0f ms", i, (double)late / 1e6);
    }
  }
}

static void close_trial(struct crew *crew) {
  struct trial *trial = &crew->trial;
  if (crew->observing) {
    __atomic_store_n(&trial->shared->stop_observer, 1, __ATOMIC_SEQ_CST);
    if (!answers(&crew->observer)) {
      violate(trial, "the observer never comes back");
      actor_stop(&crew->observer);
      crew->observer = actor_start(act_observer, 0);
    }
  }
  actor_stop(&crew->holder);
  if (trial->operation->fresh_survivors) fire_survivors(crew);
  for (int i = 0; i < 4; i++) {
    if (trial->descriptors[i] >= 0) (void)close(trial->descriptors[i]);
  }
  set_alarm(0);
}

enum reached trial_run(struct crew *crew, struct unit *unit, long k, bool dry, bool jump) {
  struct trial *trial = &crew->trial;
  const struct operation *operation = trial->operation;
  set_alarm(STUCK_AFTER_SECONDS);
  open_trial(crew);
  // Nothing that is buffered may come out twice.
  (void)fflush(stdout);
  pid_t victim = fork_bound();
  if (victim == 0) act_victim(trial);
  if (operation->forked != NULL) operation->forked(trial);
  long at = 0;
  enum reached reached = bring_to(crew, unit, victim, k, dry, jump, &at);
  bool counts = reached == REACHED || reached == ENDED;
  bool barged = false;
  if (counts) {
    if (operation->holds != NULL) trial->holds = operation->holds(trial);
    // Under load the survivors' slices may end before the victim has taken what it was woken for.
    if ((crew->surviving && trial->holds == 1 && trial->shared->order > 0) ||
        trial->shared->spoiled) {
      reached = MISSED;
      counts = false;
    }
  }
  if (counts) {
    trial->shared->victim_holds = trial->holds;
    if (operation->committed_now != NULL) trial->done_before = operation->committed_now(trial);
    trial->phase = __atomic_load_n(&trial->shared->phase, __ATOMIC_SEQ_CST);
    // In CALLS and BLOCKED the victim may be asleep, and then no other can be let in before it.
    start_survivors(crew);
    settle(crew);
    barged = trial->state == OVERTAKEN && operation->barge(trial);
  } else if (reached == BROKEN) {
    int status = 0;
    (void)waitpid(victim, &status, WNOHANG | __WALL);
    violate(trial, "the victim is lost (%s; phase %d, point %ld)",
            stuck() ? "stuck" : "signalled or ended", trial->shared->phase, at);
  }
  memset(crew->kept_before, 0, sizeof crew->kept_before);
  memset(crew->kept_after, 0, sizeof crew->kept_after);
  note_waiting(crew, crew->kept_before);
  __atomic_store_n(&trial->shared->killed, 1, __ATOMIC_SEQ_CST);
  bury(victim);
  crew->free_at = cipc_clock_now();
  if (barged) {
    operation->unbarge(trial);
    crew->free_at = cipc_clock_now();
  }
  release_holder(crew, false);
  await_survivors(crew);
  note_waiting(crew, crew->kept_after);
  if (counts && operation->check != NULL && !trial->shared->violated) {
    say(crew->survivors[0].command, 'C');
    if (!answers(&crew->survivors[0])) {
      violate(trial, "the last look never comes back");
      fire_survivors(crew);
      if (!operation->fresh_survivors) hire_survivors(crew);
    }
  }
  close_trial(crew);
  if (counts) measure(crew, unit);
  if (counts && operation->judge != NULL && !trial->shared->violated) operation->judge(trial);
  if (dry) unit->points = at + 1;
  if (counts && (reached == REACHED || k < unit->points || dry)) {
    struct outcome *outcome = &unit->outcomes[dry ? at : k];
    outcome->tried = 1;
    outcome->died = trial->died;
    outcome->committed = trial->committed;
    outcome->phase = (uint8_t)trial->phase;
  }
  int none = 0;
  if ((counts || reached == BROKEN) && trial->shared->violated &&
      __atomic_compare_exchange_n(&unit->violated, &none, 1, 0, __ATOMIC_SEQ_CST,
                                  __ATOMIC_SEQ_CST)) {
    unit->violated_at = dry ? at : k;
    memcpy(unit->violation, trial->shared->violation, sizeof unit->violation);
  }
  return reached;
}

bool shm_is_private;

// A /dev/shm of our own shows whatever is left behind, also what has no name.
void private_shm(void) {
#ifdef CLONE_NEWNS
  shm_is_private = unshare(CLONE_NEWNS) == 0 &&
                   mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
                   mount("crash", "/dev/shm", "tmpfs", 0, "size=64m,mode=1777") == 0;
#endif
}
