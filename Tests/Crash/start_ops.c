/* SPDX-License-Identifier: Apache-2.0 */
// The program whose starts are tried: it starts two children, gives each a task, waits for both,
// and, where a process was killed meanwhile, starts a third.
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"

#define RECORD_VARIABLE "CRASH_RECORD"
#define DAEMON_VARIABLE "CRASH_DAEMON"

static struct start_record *record;

static void record_find(void) {
  const char *path = getenv(RECORD_VARIABLE);
  int file = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  record = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  (void)close(file);
  if (record == MAP_FAILED) abort();
}

struct start_record *start_record_make(void) {
  if (record != NULL) return record;
  int file = memfd_create("record", MFD_CLOEXEC);
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), file);
  if (file < 0 || ftruncate(file, sizeof *record) < 0 || setenv(RECORD_VARIABLE, path, 1) < 0) {
    perror("crash: record");
    exit(2);
  }
  record_find();
  return record;
}

void start_bootstrap(int count, char **arguments) {
  if (cipc_process_bootstrap(count, arguments, NULL) < 0) abort();
  if (getenv(RECORD_VARIABLE) == NULL) return;
  // A child that was not diverted.
  record_find();
  if (record != NULL) (void)__atomic_add_fetch(&record->mains, 1, __ATOMIC_SEQ_CST);
  _exit(97);
}

struct task {
  unsigned char code;
  unsigned char index;
};

static int entry(int connection) {
  if (record == NULL) record_find();
  if (record == NULL) return 98;
  (void)__atomic_add_fetch(&record->entered, 1, __ATOMIC_SEQ_CST);
  struct task task;
  bool has_task = recv(connection, &task, sizeof task, 0) == (ssize_t)sizeof task;
  if (has_task) {
    (void)__atomic_add_fetch(&record->tasked[task.index], 1, __ATOMIC_SEQ_CST);
    (void)send(connection, "reply", 5, MSG_NOSIGNAL);
    char leave[5];
    if (recv(connection, leave, sizeof leave, 0) == (ssize_t)sizeof leave) return task.code;
  }
  // A daemon relies on being killed.
  while (getenv(DAEMON_VARIABLE) != NULL) (void)pause();
  return START_ALONE;
}

static int open_count(void) {
  DIR *directory = opendir("/proc/self/fd");
  if (directory == NULL) return -1;
  int count = 0;
  while (readdir(directory) != NULL) count++;
  (void)closedir(directory);
  return count;
}

static cipc_process_t *processes[STARTS];
static int connections[STARTS];

static void start_one(const struct start *start, int i) {
  // Each is a system call more, of the parent on the child or of the child.
  static const cipc_process_limit_t no_core = {RLIMIT_CORE, 0, 0};
  static const int nice = 1;
  cpu_set_t processors;
  CPU_ZERO(&processors);
  (void)!sched_getaffinity(0, sizeof processors, &processors);
  cipc_process_options_t options = {.is_daemon = start->is_daemon,
                                    .name = "started",
                                    .directory = "/",
                                    .limits = &no_core,
                                    .limit_count = 1,
                                    .affinity = &processors,
                                    .affinity_size = sizeof processors,
                                    .nice = &nice,
                                    .new_group = 1};
  // A child that sets nothing in itself may be let go on before it has looked at its lifeline.
  if (start->is_daemon) {
    options.limit_count = 0;
    options.affinity = NULL;
    options.nice = NULL;
  }
  int *status = &record->status[i];
  switch (start->method) {
    case SPAWN:
      *status = cipc_process_spawn(&processes[i], &connections[i], entry, &options);
      break;
    case FORK_SERVER:
      *status = cipc_process_fork_server(&processes[i], &connections[i], entry, &options);
      break;
    case FORK: {
      int connection = -1;
      int result = cipc_process_fork(&processes[i], &connection, &options);
      if (result == CIPC_PROCESS_IN_CHILD) cipc_process_leave(entry(connection));
      *status = result;
      connections[i] = connection;
    }
  }
}

static void give_task(int i) {
  if (record->status[i] < 0) return;
  struct task task = {START_CODE, (unsigned char)i};
  (void)send(connections[i], &task, sizeof task, MSG_NOSIGNAL);
}

static void await_reply(int i) {
  char reply[5];
  if (record->status[i] < 0) return;
  if (recv(connections[i], reply, sizeof reply, 0) != (ssize_t)sizeof reply) return;
  (void)send(connections[i], "leave", 5, MSG_NOSIGNAL);
}

static void await_end(int i) {
  if (record->status[i] < 0) return;
  cipc_deadline_t deadline = cipc_clock_deadline(SURVIVOR_DEADLINE);
  record->waited[i] = cipc_process_wait(processes[i], deadline, &record->ended[i]);
  cipc_process_release(processes[i]);
  (void)close(connections[i]);
}

_Noreturn void start_program(const struct start *start) {
  if (start->is_daemon && setenv(DAEMON_VARIABLE, "1", 1) < 0) _exit(2);
  (void)raise(SIGUSR1);
  for (int i = 0; i < CHILDREN; i++) start_one(start, i);
  for (int i = 0; i < CHILDREN; i++) give_task(i);
  for (int i = 0; i < CHILDREN; i++) await_reply(i);
  for (int i = 0; i < CHILDREN; i++) await_end(i);
  (void)raise(SIGUSR1);
  if (__atomic_load_n(&record->killed, __ATOMIC_SEQ_CST)) {
    start_one(start, CHILDREN);
    give_task(CHILDREN);
    await_reply(CHILDREN);
    await_end(CHILDREN);
  }
  record->open = open_count();
  __atomic_store_n(&record->finished, 1, __ATOMIC_SEQ_CST);
  _exit(0);
}

static const struct start spawn = {SPAWN, false, 0};
static const struct start spawn_daemon = {SPAWN, true, 0};
static const struct start server = {FORK_SERVER, false, 0};
static const struct start server_daemon = {FORK_SERVER, true, 0};
// The child that the server has ready.
static const struct start server_next = {FORK_SERVER, false, 1};
static const struct start forks = {FORK, false, 0};
static const struct start forks_daemon = {FORK, true, 0};

#define ENDS .death = WHENEVER, .commit = WHENEVER
#define OF_TWO (IN(PARENT) | IN(CHILD) | IN(PARENT_AT_CHILD) | IN(CHILD_AT_PARENT))
#define OF_THREE \
  (OF_TWO | IN(SERVER) | IN(PARENT_AT_SERVER) | IN(SERVER_AT_PARENT) | IN(SERVER_AT_CHILD) | \
   IN(CHILD_AT_SERVER))
#define OF_PARENT (IN(PARENT) | IN(PARENT_AT_CHILD))

static const struct operation starts[] = {
    {.name = "start.spawn", .states = OF_TWO, .start = &spawn, ENDS},
    {.name = "start.spawn-daemon", .states = OF_PARENT, .start = &spawn_daemon, ENDS},
    {.name = "start.server", .states = OF_THREE, .start = &server, ENDS},
    {.name = "start.server-next",
     .states = IN(CHILD) | IN(PARENT_AT_CHILD) | IN(SERVER_AT_CHILD) | IN(CHILD_AT_PARENT) |
               IN(CHILD_AT_SERVER),
     .start = &server_next,
     ENDS},
    {.name = "start.server-daemon",
     .states = OF_PARENT | IN(PARENT_AT_SERVER),
     .start = &server_daemon,
     ENDS},
    {.name = "start.fork", .states = OF_TWO, .start = &forks, ENDS},
    {.name = "start.fork-daemon", .states = OF_PARENT, .start = &forks_daemon, ENDS},
};
REGISTER(starts)
