/* SPDX-License-Identifier: Apache-2.0 */
// The three ways of starting a child, beside each other: what spawn alone does is in
// process_test.c.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "child.h"
#include "cipc.h"

// ThreadSanitizer has a thread of its own, with which a process cannot be forked.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_THREAD 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define HAS_THREAD 1
#endif
#if !defined(HAS_THREAD)
#define HAS_THREAD 0
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEPS_MEMORY 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define KEEPS_MEMORY 1
#endif
#if !defined(KEEPS_MEMORY)
#define KEEPS_MEMORY HAS_THREAD
#endif

typedef enum method { SPAWN, FORK_SERVER, FORK } method_t;
#define METHODS (HAS_THREAD ? FORK : FORK + 1)

static const char *const method_names[] = {"spawn", "fork server", "fork"};

// MARK: - Helpers

/// The child that fork makes leaves from here.
static int try_start(method_t method, cipc_process_t **process, int *connection,
                     cipc_process_entry_t entry, const cipc_process_options_t *options) {
  if (method == SPAWN) return cipc_process_spawn(process, connection, entry, options);
  if (method == FORK_SERVER) return cipc_process_fork_server(process, connection, entry, options);
  int mine = -1;
  int status = cipc_process_fork(process, &mine, options);
  if (status == CIPC_PROCESS_IN_CHILD) cipc_process_leave(entry(mine));
  if (status < 0) return status;
  if (connection != NULL) {
    *connection = mine;
  } else {
    (void)close(mine);
  }
  return status;
}

static cipc_process_t *start(method_t method, int *connection, cipc_process_entry_t entry,
                             const cipc_process_options_t *options) {
  cipc_process_t *process = NULL;
  CHECK_EQUAL(try_start(method, &process, connection, entry, options), CIPC_OK);
  return process;
}

static cipc_process_status_t finish(cipc_process_t *process) {
  cipc_process_status_t status;
  CHECK_EQUAL(cipc_process_wait(process, cipc_clock_deadline(CHILD_PATIENCE), &status), CIPC_OK);
  cipc_process_release(process);
  return status;
}

static void finish_with(cipc_process_t *process, int code) {
  cipc_process_status_t status = finish(process);
  CHECK_EQUAL(status.end, CIPC_PROCESS_EXITED);
  CHECK_EQUAL(status.value, code);
}

static size_t read_all(int descriptor, char *bytes, size_t room) {
  size_t size = 0;
  ssize_t more;
  while (size < room - 1 && (more = read(descriptor, bytes + size, room - 1 - size)) > 0) {
    size += (size_t)more;
  }
  bytes[size] = '\0';
  return size;
}

static int pidfd_of(pid_t pid) {
  int descriptor = (int)syscall(SYS_pidfd_open, pid, 0);
  CHECK(descriptor >= 0);
  return descriptor;
}

static void await_end(int pidfd) {
  struct pollfd end = {pidfd, POLLIN, 0};
  CHECK_EQUAL(poll(&end, 1, (int)(CHILD_PATIENCE / 1000000)), 1);
  (void)close(pidfd);
}

/// The fork server of this process.
static int child_tells_its_parent(int connection) {
  pid_t parent = getppid();
  return write(connection, &parent, sizeof parent) == (ssize_t)sizeof parent ? 0 : 99;
}

static pid_t server_pid(void) {
  int connection;
  pid_t pid = 0;
  cipc_process_t *process = start(FORK_SERVER, &connection, child_tells_its_parent, NULL);
  CHECK(read(connection, &pid, sizeof pid) == (ssize_t)sizeof pid);
  finish_with(process, 0);
  (void)close(connection);
  return pid;
}

static bool has_name(pid_t pid, const char *name) {
  char path[64], text[32] = "";
  (void)snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t size = read(file, text, sizeof text - 1);
  (void)close(file);
  return size > 1 && strncmp(text, name, (size_t)size - 1) == 0;
}

/// The state in a /proc/…/stat.
static char state_in(const char *path) {
  char text[256] = "";
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 'X';
  (void)!read(file, text, sizeof text - 1);
  (void)close(file);
  const char *end = strrchr(text, ')');
  return end != NULL ? end[2] : 'X';
}

static char state_of(pid_t pid) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  return state_in(path);
}

/// A process has stopped once its last thread has: a sanitizer's thread may go on for a while after
/// the first shows as stopped, and waitid(2) tells nothing until then.
static bool has_stopped(pid_t pid) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
  DIR *directory = opendir(path);
  CHECK(directory != NULL);
  bool stopped = true;
  struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    char stat[sizeof path + sizeof entry->d_name + 8];
    (void)snprintf(stat, sizeof stat, "%s/%s/stat", path, entry->d_name);
    if (entry->d_name[0] != '.' && state_in(stat) != 'T') stopped = false;
  }
  (void)closedir(directory);
  return stopped;
}

static void stop(pid_t pid) {
  CHECK(kill(pid, SIGSTOP) == 0);
  while (!has_stopped(pid)) (void)poll(NULL, 0, 1);
}

/// The next child of a server, once both are asleep; 0 where the server has none.
static pid_t preforked_of(pid_t server) {
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
  if (CPU_COUNT(&set) < 2) return 0;
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)server, (int)server);
  // It is made behind the answer, and nothing tells when; the test's alarm ends this.
  for (;;) {
    FILE *file = fopen(path, "re");
    CHECK(file != NULL);
    int pid = 0, found = 0;
    while (found == 0 && fscanf(file, "%d", &pid) == 1) {
      if (has_name(pid, "cipc-preforked") && state_of(pid) == 'S') found = pid;
    }
    (void)fclose(file);
    if (found != 0 && state_of(server) == 'S') return found;
    (void)poll(NULL, 0, 1);
  }
}

static pid_t preforked_or_skip(pid_t server) {
  pid_t preforked = preforked_of(server);
  if (preforked == 0) check_skip("one processor: no child is made ready");
  return preforked;
}

// MARK: - What children run

static int child_code(int connection) {
  unsigned char code = 0;
  return read(connection, &code, 1) == 1 ? code : 99;
}

static int child_nothing(int connection) {
  (void)connection;
  return 0;
}

/// Blocks until its parent closes the connection.
static int child_until_closed(int connection) {
  char byte = 'r';
  if (write(connection, &byte, 1) != 1) return 99;
  return (int)read(connection, &byte, 1);
}

static int child_for_ever(int connection) {
  char byte = 'r';
  if (write(connection, &byte, 1) != 1) return 99;
  child_hang();
}

static int child_tells_descriptors(int connection) {
  DIR *directory = opendir("/proc/self/fd");
  char text[4096] = "";
  struct dirent *entry;
  while (directory != NULL && (entry = readdir(directory)) != NULL) {
    if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory)) continue;
    (void)strcat(strcat(text, entry->d_name), " ");
  }
  (void)closedir(directory);
  return write(connection, text, strlen(text)) > 0 ? 0 : 99;
}

static int child_handed(int connection) {
  (void)connection;
  return write(4, "four", 4) == 4 && write(5, "five", 4) == 4 ? 0 : 99;
}

/// The surroundings as the test left them: one line each.
static int child_tells_surroundings(int connection) {
  char directory[256] = "";
  (void)!getcwd(directory, sizeof directory);
  mode_t mask = umask(0);
  struct rlimit files;
  (void)getrlimit(RLIMIT_NOFILE, &files);
  struct sigaction quit, hup;
  (void)sigaction(SIGQUIT, NULL, &quit);
  (void)sigaction(SIGHUP, NULL, &hup);
  const char *variable = getenv("START_TEST");
  char text[512];
  int size = snprintf(text, sizeof text, "%s %o %lu %d %d %s", directory, (unsigned)mask,
                      (unsigned long)files.rlim_cur, quit.sa_handler == SIG_IGN,
                      hup.sa_handler == SIG_IGN, variable != NULL ? variable : "none");
  return write(connection, text, (size_t)size) == size ? 0 : 99;
}

static int child_tells_settings(int connection) {
  struct rlimit data, processor, files;
  (void)getrlimit(RLIMIT_DATA, &data);
  (void)getrlimit(RLIMIT_CPU, &processor);
  (void)getrlimit(RLIMIT_NOFILE, &files);
  cpu_set_t set;
  CPU_ZERO(&set);
  (void)sched_getaffinity(0, sizeof set, &set);
  char directory[256] = "";
  (void)!getcwd(directory, sizeof directory);
  char text[512];
  int size =
      snprintf(text, sizeof text, "%lu %lu %lu %d %d %d %s", (unsigned long)data.rlim_cur,
               (unsigned long)processor.rlim_cur, (unsigned long)files.rlim_cur, CPU_COUNT(&set),
               getpriority(PRIO_PROCESS, 0), getpgrp() == getpid(), directory);
  return write(connection, text, (size_t)size) == size ? 0 : 99;
}

static int child_uses_streams(int connection) {
  (void)connection;
  char text[16] = "";
  if (read(0, text, sizeof text - 1) < 0) return 98;
  (void)printf("out:%s", text);
  (void)fprintf(stderr, "err");
  return fflush(stdout);
}

static int child_tells_starter(int connection) {
  cipc_participant_t starter = cipc_process_starter();
  return write(connection, &starter, sizeof starter) == (ssize_t)sizeof starter ? 0 : 99;
}

// MARK: - All methods

static void a_child_returns_its_code_and_gets_signals(void) {
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    (void)printf("  %s\n", method_names[method]);
    int connection;
    cipc_process_t *process = start(method, &connection, child_code, NULL);
    unsigned char code = 42;
    CHECK(write(connection, &code, 1) == 1);
    finish_with(process, 42);
    (void)close(connection);
    process = start(method, &connection, child_for_ever, NULL);
    char byte;
    CHECK(read(connection, &byte, 1) == 1);
    cipc_process_status_t status;
    CHECK_EQUAL(cipc_process_wait(process, CIPC_IMMEDIATELY, &status), CIPC_ETIMEDOUT);
    CHECK_EQUAL(cipc_process_signal(process, SIGTERM), CIPC_OK);
    CHECK_EQUAL(cipc_process_wait(process, CIPC_NO_DEADLINE, &status), CIPC_OK);
    CHECK_EQUAL(status.end, CIPC_PROCESS_SIGNALLED);
    CHECK_EQUAL(status.value, SIGTERM);
    CHECK_EQUAL(cipc_process_signal(process, SIGTERM), CIPC_ESRCH);
    cipc_process_release(process);
    (void)close(connection);
  }
}

static void the_starter_is_this_process(void) {
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    int connection;
    cipc_process_t *process = start(method, &connection, child_tells_starter, NULL);
    cipc_participant_t starter = 0;
    CHECK(read(connection, &starter, sizeof starter) == (ssize_t)sizeof starter);
    CHECK(starter == cipc_participant_self());
    finish_with(process, 0);
    (void)close(connection);
  }
  CHECK(cipc_process_starter() == 0);
}

static void settings_are_in_force_when_the_entry_begins(void) {
  const cipc_process_limit_t limits[] = {{RLIMIT_DATA, UINT64_C(1) << 50, UINT64_C(1) << 50},
                                         {RLIMIT_CPU, 60, 61},
                                         {RLIMIT_NOFILE, 99, 100}};
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  const int nice = 7;
  cipc_process_options_t options = {0};
  options.limits = limits;
  options.limit_count = 3;
  options.affinity = &one;
  options.affinity_size = sizeof one;
  options.nice = &nice;
  options.new_group = 1;
  options.directory = "/usr";
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    int connection;
    cipc_process_t *process = start(method, &connection, child_tells_settings, &options);
    char text[512];
    (void)read_all(connection, text, sizeof text);
    (void)printf("  %s: %s\n", method_names[method], text);
    CHECK(strcmp(text, "1125899906842624 60 99 1 7 1 /usr") == 0);
    finish_with(process, 0);
    (void)close(connection);
    // The group is there when the start returns.
    process = start(method, &connection, child_code, &options);
    CHECK_EQUAL(getpgid(cipc_process_pid(process)), cipc_process_pid(process));
    unsigned char code = 0;
    CHECK(write(connection, &code, 1) == 1);
    finish_with(process, 0);
    (void)close(connection);
  }
}

static void settings_that_cannot_be_had_are_errors_and_leave_nothing(void) {
  (void)server_pid();
  int before = child_descriptors();
  cipc_process_t *process;
  int connection;
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    cipc_process_options_t options = {0};
    options.directory = "/nonexistent";
    CHECK_EQUAL(try_start(method, &process, &connection, child_nothing, &options), CIPC_ENOENT);
    options.directory = "/etc/passwd";
    CHECK_EQUAL(try_start(method, &process, &connection, child_nothing, &options), -ENOTDIR);
    options.directory = NULL;
    cpu_set_t none;
    CPU_ZERO(&none);
    options.affinity = &none;
    options.affinity_size = sizeof none;
    CHECK_EQUAL(try_start(method, &process, &connection, child_nothing, &options), CIPC_EINVAL);
    options.affinity = NULL;
    const cipc_process_limit_t limit = {RLIMIT_CPU, 2, 1};
    options.limits = &limit;
    options.limit_count = 1;
    CHECK_EQUAL(try_start(method, &process, &connection, child_nothing, &options), CIPC_EINVAL);
    options.limit_count = 0;
    options.streams[1].kind = CIPC_PROCESS_DESCRIPTOR;
    options.streams[1].descriptor = 999;
    CHECK_EQUAL(try_start(method, &process, &connection, child_nothing, &options), CIPC_EBADF);
  }
  CHECK_EQUAL(child_descriptors(), before);
}

/// Of a program that may not raise its limits, not even as root.
static void program_that_may_not(void *context) {
  (void)context;
  // The kernel's struct __user_cap_header_struct and struct __user_cap_data_struct, version 3.
  struct {
    uint32_t version;
    int pid;
  } header = {0x20080522, 0};
  uint32_t sets[2][3];
  const uint32_t resource = UINT32_C(1) << 24;
  CHECK(syscall(SYS_capget, &header, sets) == 0);
  if ((sets[0][0] & resource) != 0) {
    CHECK(prctl(PR_CAPBSET_DROP, 24, 0, 0, 0) == 0);
    for (int i = 0; i < 3; i++) sets[0][i] &= ~resource;
    CHECK(syscall(SYS_capset, &header, sets) == 0);
  }
  struct rlimit core = {0, 10};
  CHECK(setrlimit(RLIMIT_CORE, &core) == 0);
  (void)server_pid();
  int before = child_descriptors();
  const cipc_process_limit_t most = {RLIMIT_CORE, 10, 10}, more = {RLIMIT_CORE, 10, 11};
  cipc_process_options_t options = {0};
  options.limit_count = 1;
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    cipc_process_t *process = NULL;
    options.limits = &more;
    CHECK_EQUAL(try_start(method, &process, NULL, child_nothing, &options), CIPC_EPERM);
    CHECK(process == NULL);
    options.limits = &most;
    finish_with(start(method, NULL, child_nothing, &options), 0);
  }
  CHECK_EQUAL(child_descriptors(), before);
  _exit(0);
}

static void a_limit_that_the_child_may_not_raise_is_an_error(void) {
  CHECK_EQUAL(child_join(child_start(program_that_may_not, NULL)), 0);
}

static void settings_that_mean_nothing_are_errors(void) {
  cipc_process_t *process = NULL;
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    cipc_process_options_t options = {0};
    const cipc_process_limit_t limits[] = {{-1, 1, 1}, {16, 1, 1}};
    options.limit_count = 1;
    for (int i = 0; i < 2; i++) {
      options.limits = &limits[i];
      CHECK_EQUAL(try_start(method, &process, NULL, child_nothing, &options), CIPC_EINVAL);
    }
    options.limit_count = 0;
    unsigned char processors[4096] = {0};
    options.affinity = processors;
    CHECK_EQUAL(try_start(method, &process, NULL, child_nothing, &options), CIPC_EINVAL);
    // Longer than any kernel's, with the one that is there at the beginning, or with none.
    options.affinity_size = sizeof processors;
    processors[sizeof processors - 1] = 0xff;
    CHECK_EQUAL(try_start(method, &process, NULL, child_nothing, &options), CIPC_EINVAL);
    processors[0] = 1;
    finish_with(start(method, NULL, child_nothing, &options), 0);
  }
}

static void another_program_has_settings_too(void) {
  const cipc_process_limit_t files = {RLIMIT_NOFILE, 77, 77};
  int output[2];
  CHECK(pipe2(output, O_CLOEXEC) == 0);
  cipc_process_options_t options = {0};
  char name[] = "sh", flag[] = "-c", script[] = "read go; ulimit -n";
  char *arguments[] = {name, flag, script, NULL};
  options.executable = "/bin/sh";
  options.arguments = arguments;
  options.limits = &files;
  options.limit_count = 1;
  options.streams[0] = (cipc_process_stream_t){CIPC_PROCESS_DESCRIPTOR, output[0]};
  int answer[2];
  CHECK(pipe2(answer, O_CLOEXEC) == 0);
  options.streams[1] = (cipc_process_stream_t){CIPC_PROCESS_DESCRIPTOR, answer[1]};
  cipc_process_t *process = start(SPAWN, NULL, NULL, &options);
  CHECK(write(output[1], "\n", 1) == 1);
  (void)close(answer[1]);
  char text[16];
  (void)read_all(answer[0], text, sizeof text);
  CHECK(strcmp(text, "77\n") == 0);
  finish_with(process, 0);
  (void)close(answer[0]);
  (void)close(output[0]);
  (void)close(output[1]);
}

static void streams_are_inherited_null_or_a_pipe(void) {
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    int input[2], output[2];
    CHECK(pipe2(input, O_CLOEXEC) == 0 && pipe2(output, O_CLOEXEC) == 0);
    CHECK(write(input[1], "hello", 5) == 5);
    (void)close(input[1]);
    cipc_process_options_t options = {0};
    options.streams[0] = (cipc_process_stream_t){CIPC_PROCESS_DESCRIPTOR, input[0]};
    options.streams[1] = (cipc_process_stream_t){CIPC_PROCESS_DESCRIPTOR, output[1]};
    options.streams[2] = (cipc_process_stream_t){CIPC_PROCESS_NULL, 0};
    cipc_process_t *process = start(method, NULL, child_uses_streams, &options);
    (void)close(input[0]);
    (void)close(output[1]);
    char text[64];
    (void)read_all(output[0], text, sizeof text);
    CHECK(strcmp(text, "out:hello") == 0);
    finish_with(process, 0);
    (void)close(output[0]);
    // Both to the same pipe, and nothing to read.
    CHECK(pipe2(output, O_CLOEXEC) == 0);
    options.streams[0] = (cipc_process_stream_t){CIPC_PROCESS_NULL, 0};
    options.streams[1] = options.streams[2] =
        (cipc_process_stream_t){CIPC_PROCESS_DESCRIPTOR, output[1]};
    process = start(method, NULL, child_uses_streams, &options);
    (void)close(output[1]);
    (void)read_all(output[0], text, sizeof text);
    CHECK(strcmp(text, "out:err") == 0 || strcmp(text, "errout:") == 0);
    finish_with(process, 0);
    (void)close(output[0]);
  }
}

static void two_streams_can_be_exchanged(void) {
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    // In a child of its own, whose streams are this test's to change.
    int first[2], second[2];
    CHECK(pipe2(first, O_CLOEXEC) == 0 && pipe2(second, O_CLOEXEC) == 0);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
      (void)dup2(first[1], 1);
      (void)dup2(second[1], 2);
      cipc_process_options_t options = {0};
      options.streams[0].kind = CIPC_PROCESS_NULL;
      options.streams[1] = (cipc_process_stream_t){CIPC_PROCESS_DESCRIPTOR, 2};
      options.streams[2] = (cipc_process_stream_t){CIPC_PROCESS_DESCRIPTOR, 1};
      finish_with(start(method, NULL, child_uses_streams, &options), 0);
      _exit(0);
    }
    (void)close(first[1]);
    (void)close(second[1]);
    char text[64];
    (void)read_all(first[0], text, sizeof text);
    (void)printf("  %s: %s\n", method_names[method], text);
    CHECK(strcmp(text, "err") == 0);
    (void)read_all(second[0], text, sizeof text);
    CHECK(strcmp(text, "out:") == 0);
    CHECK_EQUAL(child_join(pid), 0);
    (void)close(first[0]);
    (void)close(second[0]);
  }
}

// MARK: - Daemons and parents that die

typedef struct scene {
  method_t method;
  int output[2];
} scene_t;

/// Starts a daemon that holds the pipe's writing end and is ready, and gets killed.
static void parent_of_a_daemon(void *context) {
  scene_t *scene = context;
  (void)close(scene->output[0]);
  cipc_process_options_t options = {0};
  options.is_daemon = 1;
  if (scene->method != FORK) {
    options.descriptors = &scene->output[1];
    options.descriptor_count = 1;
  }
  int connection;
  cipc_process_t *process = start(scene->method, &connection, child_for_ever, &options);
  char byte;
  CHECK(read(connection, &byte, 1) == 1);
  // A forked child of the parent must not keep the daemon alive.
  pid_t other = fork();
  if (other == 0) {
    (void)close(scene->output[1]);
    child_hang();
  }
  CHECK(write(scene->output[1], &other, sizeof other) == (ssize_t)sizeof other);
  (void)process;
  (void)raise(SIGKILL);
}

static void a_daemon_dies_with_its_parent_whatever_kills_that(void) {
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    scene_t scene = {.method = method};
    CHECK(pipe2(scene.output, O_CLOEXEC) == 0);
    pid_t parent = child_start(parent_of_a_daemon, &scene);
    (void)close(scene.output[1]);
    pid_t other = 0;
    CHECK(read(scene.output[0], &other, sizeof other) == (ssize_t)sizeof other);
    CHECK_EQUAL(child_join(parent), -SIGKILL);
    // The daemon held the pipe's other end until it, too, was dead.
    char byte;
    CHECK_EQUAL(read(scene.output[0], &byte, 1), 0);
    CHECK_EQUAL(kill(other, SIGKILL), 0);
    (void)close(scene.output[0]);
  }
}

static void a_daemon_that_is_released_goes_on(void) {
  int connection;
  cipc_process_options_t options = {0};
  options.is_daemon = 1;
  cipc_process_t *process = start(SPAWN, &connection, child_until_closed, &options);
  char byte;
  CHECK(read(connection, &byte, 1) == 1);
  int pidfd = pidfd_of(cipc_process_pid(process));
  cipc_process_release(process);
  struct pollfd end = {pidfd, POLLIN, 0};
  CHECK_EQUAL(poll(&end, 1, 0), 0);
  (void)close(connection);
  await_end(pidfd);
}

// MARK: - Children that are stopped before they have run

/// Which children stop at once: "main" those that are executed, before their bootstrap; "fork"
/// those that are forked, before anything else runs in them, also in the fork server.
#define STOP_VARIABLE "START_TEST_STOP"

static void stop_where(const char *place) {
  const char *wanted = getenv(STOP_VARIABLE);
  if (wanted != NULL && strcmp(wanted, place) == 0) (void)raise(SIGSTOP);
}

static void stop_in_fork(void) { stop_where("fork"); }

/// Before the library's own, which come from constructors too: so that the child of a fork stops
/// with all descriptors that it was born with.
__attribute__((constructor(101))) static void watch_forks(void) {
  if (pthread_atfork(NULL, NULL, stop_in_fork) != 0) abort();
}

/// The children of a process that are stopped.
static int stopped_children(pid_t parent, pid_t *pids, int room) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
  FILE *file = fopen(path, "re");
  CHECK(file != NULL);
  int pid = 0, count = 0;
  while (count < room && fscanf(file, "%d", &pid) == 1) {
    if (state_of(pid) == 'T') pids[count++] = pid;
  }
  (void)fclose(file);
  return count;
}

static bool has_several_processors(void) {
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
  return CPU_COUNT(&set) > 1;
}

static pid_t parent_of(pid_t pid) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
  FILE *file = fopen(path, "re");
  CHECK(file != NULL);
  char line[256];
  int parent = 0;
  while (parent == 0 && fgets(line, sizeof line, file) != NULL) {
    (void)sscanf(line, "PPid: %d", &parent);
  }
  (void)fclose(file);
  return parent;
}

#define STOPPED_MAX 2

/// Starts a daemon that stops before it has run, tells which processes are stopped, and waits to be
/// killed. Of the fork server that is the next child, too.
static void parent_of_a_stopped_daemon(void *context) {
  scene_t *scene = context;
  (void)close(scene->output[0]);
  CHECK(setenv(STOP_VARIABLE, scene->method == SPAWN ? "main" : "fork", 1) == 0);
  cipc_process_options_t options = {0};
  options.is_daemon = 1;
  int connection;
  cipc_process_t *process = start(scene->method, &connection, child_until_closed, &options);
  while (!has_stopped(cipc_process_pid(process))) (void)poll(NULL, 0, 1);
  pid_t stopped[STOPPED_MAX] = {cipc_process_pid(process)};
  if (scene->method == FORK_SERVER && has_several_processors()) {
    pid_t server = parent_of(stopped[0]);
    while (stopped_children(server, stopped, 2) < 2 || state_of(server) != 'S') {
      (void)poll(NULL, 0, 1);
    }
  }
  CHECK(write(scene->output[1], stopped, sizeof stopped) == (ssize_t)sizeof stopped);
  child_hang();
}

static void a_daemon_that_is_stopped_at_once_dies_with_its_parent(void) {
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    scene_t scene = {.method = method};
    CHECK(pipe2(scene.output, O_CLOEXEC) == 0);
    pid_t parent = child_start(parent_of_a_stopped_daemon, &scene);
    (void)close(scene.output[1]);
    pid_t stopped[STOPPED_MAX];
    CHECK(read(scene.output[0], stopped, sizeof stopped) == (ssize_t)sizeof stopped);
    int pidfds[STOPPED_MAX];
    for (int i = 0; i < STOPPED_MAX; i++) pidfds[i] = stopped[i] > 0 ? pidfd_of(stopped[i]) : -1;
    child_kill(parent);
    for (int i = 0; i < STOPPED_MAX; i++) {
      if (pidfds[i] < 0) continue;
      struct pollfd end = {pidfds[i], POLLIN, 0};
      bool has_ended = poll(&end, 1, (int)(CHILD_PATIENCE / 1000000)) == 1;
      if (!has_ended) (void)kill(stopped[i], SIGKILL);
      (void)printf("  %s: process %d %s\n", method_names[method], i,
                   has_ended ? "ended" : "outlived its parent");
      CHECK(has_ended);
      (void)close(pidfds[i]);
    }
    (void)close(scene.output[0]);
  }
}

// MARK: - Deadlines

#define A_MOMENT INT64_C(50000000)

static int children_count(void) {
  FILE *file = fopen("/proc/thread-self/children", "re");
  CHECK(file != NULL);
  int pid, count = 0;
  while (fscanf(file, "%d", &pid) == 1) count++;
  (void)fclose(file);
  return count;
}

/// The child says that it has its settings, which one that is stopped does not.
static void program_whose_children_stop(void *context) {
  (void)context;
  static const int nice = 1;
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    CHECK(setenv(STOP_VARIABLE, method == SPAWN ? "main" : "fork", 1) == 0);
    cipc_deadline_t deadline = cipc_clock_deadline(A_MOMENT);
    cipc_process_options_t options = {0};
    options.nice = &nice;
    options.deadline = &deadline;
    cipc_process_t *process;
    int connection;
    CHECK_EQUAL(try_start(method, &process, &connection, child_nothing, &options), CIPC_ETIMEDOUT);
    CHECK(cipc_clock_now() >= deadline);
    // The server stays.
    CHECK_EQUAL(children_count(), method < FORK_SERVER ? 0 : 1);
    CHECK(unsetenv(STOP_VARIABLE) == 0);
  }
}

static void a_start_whose_child_is_stopped_has_a_deadline(void) {
  CHECK_EQUAL(child_join(child_start(program_whose_children_stop, NULL)), 0);
}

static void a_deadline_that_is_kept_does_no_harm(void) {
  static const int nice = 1;
  cipc_deadline_t deadline = cipc_clock_deadline(CHILD_PATIENCE);
  cipc_process_options_t options = {0};
  options.nice = &nice;
  options.deadline = &deadline;
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    finish_with(start(method, NULL, child_nothing, &options), 0);
  }
}

static void a_server_that_is_stopped_is_replaced(void) {
  pid_t server = server_pid();
  int pidfd = pidfd_of(server);
  stop(server);
  // Without a deadline.
  finish_with(start(FORK_SERVER, NULL, child_nothing, NULL), 0);
  await_end(pidfd);
  // With one that is over before it is clear that it stays stopped: the next start need not wait.
  server = server_pid();
  pidfd = pidfd_of(server);
  stop(server);
  cipc_deadline_t deadline = cipc_clock_deadline(A_MOMENT);
  cipc_process_options_t options = {0};
  options.deadline = &deadline;
  cipc_process_t *process;
  CHECK_EQUAL(try_start(FORK_SERVER, &process, NULL, child_nothing, &options), CIPC_ETIMEDOUT);
  await_end(pidfd);
  CHECK(server_pid() != server);
}

static void signals_of_a_terminal_do_not_stop_the_server(void) {
  pid_t server = server_pid();
  const int signals[] = {SIGTSTP, SIGTTIN, SIGTTOU};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
    CHECK(kill(server, signals[i]) == 0);
    CHECK_EQUAL(server_pid(), server);
    // Its children have their default actions.
    int connection;
    cipc_process_t *process = start(FORK_SERVER, &connection, child_until_closed, NULL);
    char byte;
    CHECK(read(connection, &byte, 1) == 1);
    CHECK_EQUAL(cipc_process_signal(process, signals[i]), CIPC_OK);
    while (!has_stopped(cipc_process_pid(process))) (void)poll(NULL, 0, 1);
    CHECK_EQUAL(cipc_process_signal(process, SIGCONT), CIPC_OK);
    (void)close(connection);
    finish_with(process, 0);
  }
}

static bool trace(pid_t pid) {
  if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0) return false;
  CHECK(ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == 0);
  int status;
  CHECK_EQUAL(waitpid(pid, &status, __WALL), pid);
  CHECK(WIFSTOPPED(status));
  return true;
}

/// A request that no socket has room for, and the server has to read.
static void *start_with_a_large_request(void *context) {
  static char large[8 << 20];
  memset(large, 'x', sizeof large - 1);
  char *environment[] = {large, NULL};
  cipc_process_options_t options = {0};
  options.environment = environment;
  options.deadline = context;
  cipc_process_t *process = NULL;
  intptr_t status = try_start(FORK_SERVER, &process, NULL, child_nothing, &options);
  if (status == CIPC_OK) finish_with(process, 0);
  return (void *)status;
}

static void does_nothing(void *context) { (void)context; }

/// A server that a debugger holds is not stopped by a signal: it is not replaced, and starts wait
/// as long as they are told to. One that waits holds up no fork, and no other start beyond its
/// deadline.
static void a_start_whose_server_is_held_has_a_deadline(void) {
  pid_t server = server_pid();
  if (!trace(server)) {
    check_skip("processes cannot be traced");
    return;
  }
  cipc_deadline_t deadline = cipc_clock_deadline(A_MOMENT);
  cipc_process_options_t options = {0};
  options.deadline = &deadline;
  cipc_process_t *process;
  CHECK_EQUAL(try_start(FORK_SERVER, &process, NULL, child_nothing, &options), CIPC_ETIMEDOUT);
  // Waits with a part of its request written.
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, start_with_a_large_request, NULL) == 0);
  int full = 0;
  for (int i = 0; i < 3; i++) {
    deadline = cipc_clock_deadline(A_MOMENT);
    CHECK_EQUAL(try_start(FORK_SERVER, &process, NULL, child_nothing, &options), CIPC_ETIMEDOUT);
    CHECK_EQUAL(child_join(child_start(does_nothing, &full)), 0);
  }
  CHECK(ptrace(PTRACE_DETACH, server, NULL, NULL) == 0);
  void *status = NULL;
  CHECK(pthread_join(thread, &status) == 0);
  CHECK_EQUAL((intptr_t)status, CIPC_OK);
  CHECK_EQUAL(server_pid(), server);
  // One that gives up with a part of its request written has spoiled the stream.
  CHECK(trace(server));
  int pidfd = pidfd_of(server);
  deadline = cipc_clock_deadline(A_MOMENT);
  CHECK_EQUAL((intptr_t)start_with_a_large_request(&deadline), CIPC_ETIMEDOUT);
  await_end(pidfd);
  CHECK(server_pid() != server);
}

// MARK: - Fork

static void a_fork_goes_on_in_both_with_all_it_has(void) {
  if (HAS_THREAD) {
    check_skip("the sanitizer has a thread of its own");
    return;
  }
  int captured = 17;
  int connection = -1;
  cipc_process_t *process = NULL;
  int status = cipc_process_fork(&process, &connection, NULL);
  if (status == CIPC_PROCESS_IN_CHILD) {
    captured++;
    CHECK(process == NULL);
    CHECK(write(connection, &captured, sizeof captured) == (ssize_t)sizeof captured);
    cipc_process_leave(5);
  }
  CHECK_EQUAL(status, CIPC_OK);
  int answer = 0;
  CHECK(read(connection, &answer, sizeof answer) == (ssize_t)sizeof answer);
  CHECK_EQUAL(answer, 18);
  CHECK_EQUAL(captured, 17);
  finish_with(process, 5);
  (void)close(connection);
}

static void *hold(void *gate) {
  gate_wait(gate, 1);
  return NULL;
}

static void a_fork_with_another_thread_is_refused(void) {
  if (HAS_THREAD) {
    check_skip("the sanitizer has a thread of its own");
    return;
  }
  static uint32_t gate;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, hold, &gate) == 0);
  cipc_process_t *process;
  CHECK_EQUAL(cipc_process_fork(&process, NULL, NULL), CIPC_ETHREADS);
  gate_set(&gate, 1);
  CHECK(pthread_join(thread, NULL) == 0);
  // The kernel may count it for a while still.
  for (int i = 0; i < 50; i++) {
    CHECK(pthread_create(&thread, NULL, hold, &gate) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    finish_with(start(FORK, NULL, child_nothing, NULL), 0);
  }
}

static int child_forks_with_output(int connection) {
  (void)dup2(connection, 1);
  (void)printf("once ");
  cipc_process_t *process;
  int status = cipc_process_fork(&process, NULL, NULL);
  if (status == CIPC_PROCESS_IN_CHILD) {
    (void)printf("child ");
    cipc_process_leave(0);
  }
  if (status < 0) return 99;
  finish_with(process, 0);
  (void)printf("parent");
  return 0;
}

static void what_was_printed_before_a_fork_is_printed_once(void) {
  if (HAS_THREAD) {
    check_skip("the sanitizer has a thread of its own");
    return;
  }
  int connection;
  cipc_process_t *process = start(SPAWN, &connection, child_forks_with_output, NULL);
  char text[64];
  (void)read_all(connection, text, sizeof text);
  CHECK(strcmp(text, "once child parent") == 0);
  finish_with(process, 0);
  (void)close(connection);
}

static void a_fork_has_the_environment_of_the_options(void) {
  if (HAS_THREAD) {
    check_skip("the sanitizer has a thread of its own");
    return;
  }
  char variable[] = "START_TEST=forked";
  char *environment[] = {variable, NULL};
  cipc_process_options_t options = {0};
  options.environment = environment;
  int connection;
  cipc_process_t *process = start(FORK, &connection, child_tells_surroundings, &options);
  char text[512];
  (void)read_all(connection, text, sizeof text);
  CHECK(strstr(text, " forked") != NULL);
  finish_with(process, 0);
  (void)close(connection);
}

// MARK: - Fork server

static void the_server_is_started_once_and_is_the_parent(void) {
  pid_t server = server_pid();
  CHECK(server != getpid());
  CHECK_EQUAL(server_pid(), server);
}

static void surroundings_are_those_of_the_moment(void) {
  (void)server_pid();
  struct rlimit before, files;
  CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
  files = before;
  files.rlim_cur = 321;
  mode_t mask = umask(0137);
  char directory[256];
  CHECK(getcwd(directory, sizeof directory) != NULL);
  CHECK(setenv("START_TEST", "of the moment", 1) == 0);
  CHECK(chdir("/usr") == 0);
  CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
  (void)signal(SIGQUIT, SIG_IGN);
  int connection;
  cipc_process_t *process = start(FORK_SERVER, &connection, child_tells_surroundings, NULL);
  char text[512];
  (void)read_all(connection, text, sizeof text);
  CHECK(strcmp(text, "/usr 137 321 1 0 of the moment") == 0);
  finish_with(process, 0);
  (void)close(connection);
  (void)signal(SIGQUIT, SIG_DFL);
  CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(chdir(directory) == 0);
  CHECK(unsetenv("START_TEST") == 0);
  CHECK(umask(mask) == 0137);
}

/// A program whose processors and priority are this test's to change.
static void program_that_changes(void *context) {
  (void)context;
  (void)server_pid();
  cpu_set_t set;
  CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
  size_t last = CPU_SETSIZE - 1;
  while (!CPU_ISSET(last, &set)) last--;
  CPU_ZERO(&set);
  CPU_SET(last, &set);
  CHECK(sched_setaffinity(0, sizeof set, &set) == 0);
  CHECK(setpriority(PRIO_PROCESS, 0, 5) == 0);
  // The second and the third child may be made otherwise than the first.
  for (int i = 0; i < 3; i++) {
    int connection;
    cipc_process_t *process = start(FORK_SERVER, &connection, child_until_closed, NULL);
    cpu_set_t its;
    char byte;
    CHECK(read(connection, &byte, 1) == 1);
    pid_t pid = cipc_process_pid(process);
    CHECK(sched_getaffinity(pid, sizeof its, &its) == 0);
    CHECK(CPU_EQUAL(&its, &set));
    CHECK_EQUAL(getpriority(PRIO_PROCESS, (id_t)pid), 5);
    (void)close(connection);
    finish_with(process, 0);
    // Those of the options are in force when the start returns.
    const int nice = 9;
    cipc_process_options_t options = {0};
    options.nice = &nice;
    process = start(FORK_SERVER, &connection, child_until_closed, &options);
    CHECK_EQUAL(getpriority(PRIO_PROCESS, (id_t)cipc_process_pid(process)), 9);
    (void)close(connection);
    (void)finish(process);
  }
  _exit(0);
}

static void processors_and_priority_are_those_of_the_moment(void) {
  CHECK_EQUAL(child_join(child_start(program_that_changes, NULL)), 0);
}

static volatile sig_atomic_t seen_mask;

static void look_at_mask(int signal) {
  (void)signal;
  mode_t mask = umask(0777);
  (void)umask(mask);
  if (mask != 0777) seen_mask = 1;
}

static void program_with_a_timer(void *context) {
  (void)context;
  (void)server_pid();
  (void)umask(0777);
  struct sigaction action = {0};
  action.sa_handler = look_at_mask;
  action.sa_flags = SA_RESTART;
  CHECK(sigaction(SIGALRM, &action, NULL) == 0);
  const struct itimerval often = {{0, 50}, {0, 50}};
  CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
  for (int i = 0; i < 200; i++) {
    finish_with(start(FORK_SERVER, NULL, child_nothing, NULL), 0);
  }
  _exit(seen_mask);
}

static void a_signal_handler_never_sees_another_mask(void) {
  CHECK_EQUAL(child_join(child_start(program_with_a_timer, NULL)), 0);
}

static void a_child_has_what_it_was_given_and_no_other_descriptor(void) {
  int first[2], second[2], stray[1000];
  CHECK(pipe2(first, O_CLOEXEC) == 0 && pipe2(second, O_CLOEXEC) == 0);
  size_t strays = 0;
  for (; strays < sizeof stray / sizeof *stray; strays++) {
    stray[strays] = open("/dev/null", O_RDONLY);  // not close-on-exec, on purpose
    if (stray[strays] < 0) break;
  }
  (void)printf("  %zu files open\n", strays);
  for (method_t method = SPAWN; method <= FORK_SERVER; method++) {
    // Brothers that live must not show either.
    int kept;
    cipc_process_t *brother = start(method, &kept, child_until_closed, NULL);
    char ready;
    CHECK(read(kept, &ready, 1) == 1);
    int connection;
    cipc_process_t *process = start(method, &connection, child_tells_descriptors, NULL);
    char text[4096];
    (void)read_all(connection, text, sizeof text);
    CHECK(strcmp(text, "0 1 2 3 ") == 0);
    finish_with(process, 0);
    (void)close(connection);
    (void)close(kept);
    finish_with(brother, 0);
    // Handed crosswise: 5's source has the number 4 here, and the other way round.
    int at_four = fcntl(first[1], F_DUPFD_CLOEXEC, 4);
    int at_five = fcntl(second[1], F_DUPFD_CLOEXEC, 4);
    const int handed[] = {at_five, at_four};
    cipc_process_options_t options = {0};
    options.descriptors = handed;
    options.descriptor_count = 2;
    finish_with(start(method, NULL, child_handed, &options), 0);
    char bytes[4];
    CHECK(read(second[0], bytes, 4) == 4 && memcmp(bytes, "four", 4) == 0);
    CHECK(read(first[0], bytes, 4) == 4 && memcmp(bytes, "five", 4) == 0);
    (void)close(at_four);
    (void)close(at_five);
  }
  while (strays > 0) (void)close(stray[--strays]);
  for (int i = 0; i < 2; i++) {
    (void)close(first[i]);
    (void)close(second[i]);
  }
}

static void a_killed_server_is_replaced_and_statuses_are_not_lost(void) {
  int connection;
  cipc_process_t *running = start(FORK_SERVER, &connection, child_code, NULL);
  pid_t server = server_pid();
  int pidfd = pidfd_of(server);
  CHECK(kill(server, SIGKILL) == 0);
  await_end(pidfd);
  cipc_process_status_t status;
  CHECK_EQUAL(cipc_process_wait(running, CIPC_IMMEDIATELY, &status), CIPC_ETIMEDOUT);
  // Neither a wait with a deadline nor one without spins or ends early.
  CHECK_EQUAL(cipc_process_wait(running, cipc_clock_deadline(5000000), &status), CIPC_ETIMEDOUT);
  pid_t next = server_pid();
  CHECK(next != server);
  unsigned char code = 31;
  CHECK(write(connection, &code, 1) == 1);
  status = finish(running);
  CHECK(status.end == CIPC_PROCESS_UNKNOWN || status.end == CIPC_PROCESS_EXITED);
  if (status.end == CIPC_PROCESS_EXITED) CHECK_EQUAL(status.value, 31);
  (void)printf("  status without the server: %s\n",
               status.end == CIPC_PROCESS_UNKNOWN ? "unknown" : "told by the kernel");
  (void)close(connection);
}

static void a_stopped_server_that_is_killed_in_a_start_is_replaced(void) {
  pid_t server = server_pid();
  CHECK(kill(server, SIGSTOP) == 0);
  siginfo_t info;
  CHECK(waitid(P_PID, (id_t)server, &info, WSTOPPED) == 0);
  pid_t killer = fork();
  if (killer == 0) {
    // Until the request is in the server's socket: the server is its only reader.
    (void)poll(NULL, 0, 50);
    (void)kill(server, SIGKILL);
    _exit(0);
  }
  CHECK(server_pid() != server);
  CHECK_EQUAL(child_join(killer), 0);
}

static int child_leaves_a_trace(int connection) {
  (void)connection;
  return write(CIPC_PROCESS_CONNECTION + 1, "", 1) == 1 ? 0 : 99;
}

static void count_signal(int signal) { (void)signal; }

// What was being started does not run, whenever the server comes to it.
static void a_signal_ends_a_start(void) {
  for (int restarts = 0; restarts < 2; restarts++) {
    pid_t server = server_pid();
    int trace[2];
    CHECK(pipe2(trace, O_CLOEXEC) == 0);
    stop(server);
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = restarts ? SA_RESTART : 0};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pid_t parent = getpid();
    pid_t killer = fork();
    CHECK(killer >= 0);
    if (killer == 0) {
      // Until it is killed: one of them comes while its parent waits.
      for (;;) {
        (void)kill(parent, SIGUSR1);
        (void)poll(NULL, 0, 5);
      }
    }
    CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_SIGNALS), CIPC_INTERRUPT_NEVER);
    cipc_process_options_t options = {.descriptors = &trace[1], .descriptor_count = 1};
    cipc_process_t *process = NULL;
    int connection = -1;
    CHECK_EQUAL(try_start(FORK_SERVER, &process, &connection, child_leaves_a_trace, &options),
                CIPC_EINTR);
    CHECK(process == NULL && connection == -1);
    CHECK_EQUAL(cipc_interruptible(CIPC_INTERRUPT_NEVER), CIPC_INTERRUPT_SIGNALS);
    child_kill(killer);
    CHECK(kill(server, SIGCONT) == 0);
    // The same server, which has come past the request before.
    CHECK_EQUAL(server_pid(), server);
    (void)close(trace[1]);
    char byte;
    CHECK_EQUAL(read(trace[0], &byte, 1), 0);
    (void)close(trace[0]);
  }
}

static void parent_with_a_server(void *context) {
  int *output = context;
  (void)close(output[0]);
  pid_t server = server_pid();
  CHECK(server != *(output + 2));
  CHECK(write(output[1], &server, sizeof server) == (ssize_t)sizeof server);
  child_hang();
}

static void the_server_ends_with_its_parent_also_when_stopped(void) {
  for (int stopped = 0; stopped < 2; stopped++) {
    int output[3] = {0, 0, (int)server_pid()};
    CHECK(pipe2(output, O_CLOEXEC) == 0);
    // A forked child has a server of its own.
    pid_t parent = child_start(parent_with_a_server, output);
    (void)close(output[1]);
    pid_t server = 0;
    CHECK(read(output[0], &server, sizeof server) == (ssize_t)sizeof server);
    int pidfd = pidfd_of(server);
    if (stopped) CHECK(kill(server, SIGSTOP) == 0);
    child_kill(parent);
    await_end(pidfd);
    (void)close(output[0]);
  }
}

// MARK: - The child that the server has ready

static void the_next_child_is_there_already(void) {
  pid_t server = server_pid();
  pid_t preforked = preforked_or_skip(server);
  if (preforked == 0) return;
  int connection;
  cipc_process_t *process = start(FORK_SERVER, &connection, child_until_closed, NULL);
  CHECK_EQUAL(cipc_process_pid(process), preforked);
  char byte;
  CHECK(read(connection, &byte, 1) == 1);
  CHECK(preforked_of(server) != preforked);
  // What ends a next child with its server does not end one that runs.
  int pidfd = pidfd_of(server);
  CHECK(kill(server, SIGKILL) == 0);
  await_end(pidfd);
  cipc_process_status_t status;
  CHECK_EQUAL(cipc_process_wait(process, CIPC_IMMEDIATELY, &status), CIPC_ETIMEDOUT);
  (void)close(connection);
  status = finish(process);
  CHECK(status.end == CIPC_PROCESS_UNKNOWN ||
        (status.end == CIPC_PROCESS_EXITED && status.value == 0));
}

static void a_next_child_that_is_killed_or_stopped_is_replaced(void) {
  pid_t server = server_pid();
  const int signals[] = {SIGKILL, SIGTERM, SIGSTOP};
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
    pid_t preforked = preforked_or_skip(server);
    if (preforked == 0) return;
    int pidfd = pidfd_of(preforked);
    if (signals[i] == SIGSTOP) {
      stop(preforked);
    } else {
      CHECK(kill(preforked, signals[i]) == 0);
      struct pollfd end = {pidfd, POLLIN, 0};
      CHECK_EQUAL(poll(&end, 1, (int)(CHILD_PATIENCE / 1000000)), 1);
    }
    int connection;
    cipc_process_t *process = start(FORK_SERVER, &connection, child_code, NULL);
    CHECK(cipc_process_pid(process) != preforked);
    unsigned char code = 12;
    CHECK(write(connection, &code, 1) == 1);
    finish_with(process, 12);
    (void)close(connection);
    await_end(pidfd);
    CHECK_EQUAL(server_pid(), server);
  }
}

static void the_next_child_ends_with_its_server_also_when_stopped(void) {
  for (int stopped = 0; stopped < 2; stopped++) {
    pid_t server = server_pid();
    pid_t preforked = preforked_or_skip(server);
    if (preforked == 0) return;
    int end = pidfd_of(server), preforked_end = pidfd_of(preforked);
    if (stopped) stop(preforked);
    CHECK(kill(server, SIGKILL) == 0);
    await_end(end);
    await_end(preforked_end);
  }
}

static int child_tells_size(int connection) {
  const char *value = getenv("START_TEST");
  size_t size = value != NULL ? strlen(value) : 0;
  return write(connection, &size, sizeof size) == (ssize_t)sizeof size ? 0 : 99;
}

/// The next child takes what fits in a packet; for what does not, the server forks another.
static void large_requests_are_served_as_well(void) {
  (void)server_pid();
  const size_t sizes[] = {50000, 60000, 64000, 70000, 1000000, 10};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    // No length is too long: nothing is executed.
    char *variable = malloc(sizes[i] + sizeof "START_TEST=");
    CHECK(variable != NULL);
    char *end = stpcpy(variable, "START_TEST=");
    memset(end, 'x', sizes[i]);
    end[sizes[i]] = '\0';
    char *environment[] = {variable, NULL};
    cipc_process_options_t options = {0};
    options.environment = environment;
    int connection;
    cipc_process_t *process = start(FORK_SERVER, &connection, child_tells_size, &options);
    size_t size = 0;
    CHECK(read(connection, &size, sizeof size) == (ssize_t)sizeof size);
    CHECK(size == sizes[i]);
    finish_with(process, 0);
    (void)close(connection);
    free(variable);
  }
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  int descriptors[250];
  for (int i = 0; i < 250; i++) descriptors[i] = null;
  for (size_t count = 240; count <= 250; count++) {
    cipc_process_options_t options = {0};
    options.descriptors = descriptors;
    options.descriptor_count = count;
    int connection;
    cipc_process_t *process = start(FORK_SERVER, &connection, child_tells_descriptors, &options);
    char text[4096];
    (void)read_all(connection, text, sizeof text);
    size_t seen = 0;
    for (const char *next = text; (next = strchr(next, ' ')) != NULL; next++) seen++;
    CHECK(seen == 4 + count);
    finish_with(process, 0);
    (void)close(connection);
  }
  (void)close(null);
}

// MARK: - How the server binds

static int child_tells_environment(int connection) {
  const char *value = getenv("LD_BIND_NOW");
  static char text[1 << 16];
  int file = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
  size_t size = read_all(file, text, sizeof text);
  (void)close(file);
  const char *shown = memmem(text, size, "LD_BIND_NOW", 11) != NULL ? "shown" : "hidden";
  char answer[64];
  int length = snprintf(answer, sizeof answer, "%s %s", value != NULL ? value : "none", shown);
  return write(connection, answer, (size_t)length) == length ? 0 : 99;
}

/// Has a server of its own, which it starts without the variable.
static int child_looks_at_environments(int connection) {
  (void)connection;
  if (unsetenv("LD_BIND_NOW") < 0) return 98;
  static const char *const expected[] = {"none hidden", "none hidden", "mine hidden",
                                         "none hidden"};
  for (int i = 0; i < 4; i++) {
    if (i == 2 && setenv("LD_BIND_NOW", "mine", 1) < 0) return 97;
    if (i == 3 && unsetenv("LD_BIND_NOW") < 0) return 96;
    int to_child;
    cipc_process_t *process;
    if (cipc_process_fork_server(&process, &to_child, child_tells_environment, NULL) < 0) return 95;
    char text[64];
    (void)read_all(to_child, text, sizeof text);
    if (strcmp(text, expected[i]) != 0) {
      (void)printf("  %s, not %s\n", text, expected[i]);
      return 94;
    }
    (void)finish(process);
    (void)close(to_child);
  }
  return 0;
}

static void how_the_server_binds_does_not_show_in_its_children(void) {
  finish_with(start(SPAWN, NULL, child_looks_at_environments, NULL), 0);
}

/// As the dynamic linker ends a program that cannot be bound.
__attribute__((constructor)) static void end_where_all_is_bound(void) {
  const char *now = getenv("LD_BIND_NOW");
  if (getenv("START_TEST_LAZY") != NULL && now != NULL && *now != '\0') _exit(127);
}

static int child_cannot_be_bound(int connection) {
  (void)connection;
  if (setenv("START_TEST_LAZY", "1", 1) < 0) return 98;
  for (int i = 0; i < 3; i++) {
    cipc_process_t *process;
    if (cipc_process_fork_server(&process, NULL, child_nothing, NULL) < 0) return 97;
    if (finish(process).value != 0) return 96;
  }
  return 0;
}

static void a_server_that_cannot_bind_at_once_binds_lazily(void) {
  finish_with(start(SPAWN, NULL, child_cannot_be_bound, NULL), 0);
}

// MARK: - Servers of children

static int child_uses_a_server(int connection) {
  (void)connection;
  cipc_process_t *process;
  int to_child;
  if (cipc_process_fork_server(&process, &to_child, child_code, NULL) < 0) return 98;
  unsigned char code = 23;
  if (write(to_child, &code, 1) != 1) return 97;
  return finish(process).value;
}

static void children_of_the_server_have_servers(void) {
  finish_with(start(FORK_SERVER, NULL, child_uses_a_server, NULL), 23);
}

static void *start_many(void *context) {
  (void)context;
  for (int i = 0; i < 25; i++) {
    int connection;
    cipc_process_t *process = start(FORK_SERVER, &connection, child_code, NULL);
    unsigned char code = (unsigned char)i;
    CHECK(write(connection, &code, 1) == 1);
    finish_with(process, i);
    (void)close(connection);
  }
  return NULL;
}

static void several_threads_start_children(void) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, start_many, NULL) == 0);
  for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

static void a_parent_that_ignores_sigchld_has_statuses(void) {
  (void)signal(SIGCHLD, SIG_IGN);
  finish_with(start(FORK_SERVER, NULL, child_nothing, NULL), 0);
  (void)signal(SIGCHLD, SIG_DFL);
}

// MARK: - Many, and too few descriptors

static void two_hundred_at_once(void) {
  for (method_t method = FORK_SERVER; (int)method < METHODS; method++) {
    int before = child_descriptors();
    cipc_process_t *processes[200];
    int connections[200];
    for (int i = 0; i < 200; i++) {
      processes[i] = start(method, &connections[i], child_code, NULL);
    }
    for (int i = 0; i < 200; i++) {
      unsigned char code = (unsigned char)i;
      CHECK(write(connections[i], &code, 1) == 1);
    }
    for (int i = 0; i < 200; i++) {
      finish_with(processes[i], i);
      (void)close(connections[i]);
    }
    CHECK_EQUAL(child_descriptors(), before);
  }
}

/// Resident memory of a process, in pages.
static long pages_of(pid_t pid) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
  FILE *file = fopen(path, "re");
  CHECK(file != NULL);
  long size = 0, resident = 0;
  CHECK_EQUAL(fscanf(file, "%ld %ld", &size, &resident), 2);
  (void)fclose(file);
  return resident;
}

static void starts(int count) {
  for (int i = 0; i < count; i++) {
    finish_with(start(FORK_SERVER, NULL, child_nothing, NULL), 0);
    if (!HAS_THREAD) finish_with(start(FORK, NULL, child_nothing, NULL), 0);
    if (i % 10 == 0) finish_with(start(SPAWN, NULL, child_nothing, NULL), 0);
  }
}

/// `make soak` sets STARTS to 10000.
static void many_starts_leave_nothing(void) {
  pid_t serving = server_pid();
  int before = child_descriptors();
  starts(100);
  long own = pages_of(getpid()), servers = pages_of(serving);
  const char *wanted = getenv("STARTS");
  int count = wanted != NULL ? atoi(wanted) : 1000;
  (void)alarm(600);
  starts(count);
  (void)printf("  %d starts: %ld pages more here, %ld in the server\n", count,
               pages_of(getpid()) - own, pages_of(serving) - servers);
  // Sanitizers keep what was freed.
  CHECK(KEEPS_MEMORY || (pages_of(getpid()) - own < 64 && pages_of(serving) - servers < 64));
  CHECK_EQUAL(child_descriptors(), before);
  // No child is left but the server.
  pid_t server = server_pid();
  siginfo_t info;
  memset(&info, 0, sizeof info);
  CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
  CHECK_EQUAL(info.si_pid, 0);
  // Nor one of the server's. While a child runs, all before it are done with: the server has its
  // streams, its socket, its lifeline, what it waits with, two for that child, and three for the
  // next one.
  int connection;
  cipc_process_t *process = start(FORK_SERVER, &connection, child_until_closed, NULL);
  char byte;
  CHECK(read(connection, &byte, 1) == 1);
  int for_next = preforked_of(server) != 0 ? 4 : 0;
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)server);
  DIR *directory = opendir(path);
  CHECK(directory != NULL);
  int open = 0;
  struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) open += entry->d_name[0] != '.';
  (void)closedir(directory);
  CHECK_EQUAL(open, 3 + 3 + 2 + for_next);
  (void)close(connection);
  finish_with(process, 0);
}

static void a_start_that_runs_out_of_descriptors_leaves_nothing(void) {
  (void)server_pid();
  struct rlimit before;
  CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
  cipc_process_options_t options = {0};
  options.is_daemon = 1;
  options.directory = "/";
  options.streams[1].kind = CIPC_PROCESS_NULL;
  for (method_t method = SPAWN; (int)method < METHODS; method++) {
    int highest = dup(0);
    (void)close(highest);
    int open = child_descriptors();
    int failures = 0;
    for (int room = 0; room < 16; room++) {
      struct rlimit few = before;
      few.rlim_cur = (rlim_t)(highest + room);
      CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
      cipc_process_t *process = NULL;
      int connection = -1;
      int status = try_start(method, &process, &connection, child_nothing, &options);
      CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
      if (status == CIPC_OK) {
        finish_with(process, 0);
        (void)close(connection);
      } else {
        CHECK_EQUAL(status, CIPC_EMFILE);
        failures++;
      }
      CHECK_EQUAL(child_descriptors(), open);
    }
    (void)printf("  %s: %d of 16 failed\n", method_names[method], failures);
    CHECK(failures > 3 && failures < 16);
  }
}

// MARK: - Terminals

typedef struct terminal {
  const char *path;
  int output[2];
} terminal_t;

/// A program on a terminal, with a child of each kind, all with default signals.
static void program_on_a_terminal(void *context) {
  terminal_t *terminal = context;
  (void)close(terminal->output[0]);
  CHECK(setsid() > 0);
  int own = open(terminal->path, O_RDWR);
  CHECK(own >= 0);
  for (int i = 0; i < 3; i++) CHECK(dup2(own, i) == i);
  cipc_process_options_t options = {0};
  options.descriptors = &terminal->output[1];
  options.descriptor_count = 1;
  for (method_t method = SPAWN; method <= FORK_SERVER; method++) {
    int connection;
    cipc_process_t *process = start(method, &connection, child_for_ever, &options);
    char byte;
    CHECK(process != NULL && read(connection, &byte, 1) == 1);
  }
  pid_t server = server_pid();
  CHECK(write(terminal->output[1], &server, sizeof server) == (ssize_t)sizeof server);
  child_hang();
}

static void a_ctrl_c_ends_all_once_and_quietly(void) {
  int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
  terminal_t terminal = {.path = ptsname(master)};
  CHECK(terminal.path != NULL && pipe2(terminal.output, O_CLOEXEC) == 0);
  pid_t program = child_start(program_on_a_terminal, &terminal);
  (void)close(terminal.output[1]);
  pid_t server = 0;
  CHECK(read(terminal.output[0], &server, sizeof server) == (ssize_t)sizeof server);
  int pidfd = pidfd_of(server);
  CHECK(write(master, "\x03", 1) == 1);
  CHECK_EQUAL(child_join(program), -SIGINT);
  // Its children held the other end, and the server ends with the program.
  char byte;
  CHECK_EQUAL(read(terminal.output[0], &byte, 1), 0);
  await_end(pidfd);
  char text[256];
  (void)read_all(master, text, sizeof text);
  CHECK(strcmp(text, "^C") == 0);
  (void)close(terminal.output[0]);
  (void)close(master);
}

static void bad_arguments_are_errors(void) {
  cipc_process_t *process;
  int connection;
  CHECK_EQUAL(cipc_process_fork(NULL, &connection, NULL), CIPC_EINVAL);
  CHECK_EQUAL(cipc_process_fork_server(NULL, &connection, child_nothing, NULL), CIPC_EINVAL);
  cipc_process_options_t options = {0};
  options.executable = "/bin/true";
  CHECK_EQUAL(cipc_process_fork(&process, NULL, &options), CIPC_EINVAL);
  CHECK_EQUAL(cipc_process_fork_server(&process, NULL, child_nothing, &options), CIPC_EINVAL);
  CHECK_EQUAL(cipc_process_fork_server(&process, NULL, NULL, NULL), CIPC_EINVAL);
}

int main(int argc, char **argv) {
  stop_where("main");
  CHECK_EQUAL(cipc_process_bootstrap(argc, argv, NULL), CIPC_OK);
  TEST(a_child_returns_its_code_and_gets_signals);
  TEST(the_starter_is_this_process);
  TEST(settings_are_in_force_when_the_entry_begins);
  TEST(settings_that_cannot_be_had_are_errors_and_leave_nothing);
  TEST(a_limit_that_the_child_may_not_raise_is_an_error);
  TEST(settings_that_mean_nothing_are_errors);
  TEST(another_program_has_settings_too);
  TEST(streams_are_inherited_null_or_a_pipe);
  TEST(two_streams_can_be_exchanged);
  TEST(a_daemon_dies_with_its_parent_whatever_kills_that);
  TEST(a_daemon_that_is_released_goes_on);
  TEST(a_daemon_that_is_stopped_at_once_dies_with_its_parent);
  TEST(a_start_whose_child_is_stopped_has_a_deadline);
  TEST(a_deadline_that_is_kept_does_no_harm);
  TEST(a_server_that_is_stopped_is_replaced);
  TEST(signals_of_a_terminal_do_not_stop_the_server);
  TEST(a_start_whose_server_is_held_has_a_deadline);
  TEST(a_fork_goes_on_in_both_with_all_it_has);
  TEST(a_fork_with_another_thread_is_refused);
  TEST(what_was_printed_before_a_fork_is_printed_once);
  TEST(a_fork_has_the_environment_of_the_options);
  TEST(the_server_is_started_once_and_is_the_parent);
  TEST(surroundings_are_those_of_the_moment);
  TEST(processors_and_priority_are_those_of_the_moment);
  TEST(a_signal_handler_never_sees_another_mask);
  TEST(a_child_has_what_it_was_given_and_no_other_descriptor);
  TEST(a_killed_server_is_replaced_and_statuses_are_not_lost);
  TEST(a_stopped_server_that_is_killed_in_a_start_is_replaced);
  TEST(a_signal_ends_a_start);
  TEST(the_server_ends_with_its_parent_also_when_stopped);
  TEST(the_next_child_is_there_already);
  TEST(a_next_child_that_is_killed_or_stopped_is_replaced);
  TEST(the_next_child_ends_with_its_server_also_when_stopped);
  TEST(large_requests_are_served_as_well);
  TEST(how_the_server_binds_does_not_show_in_its_children);
  TEST(a_server_that_cannot_bind_at_once_binds_lazily);
  TEST(children_of_the_server_have_servers);
  TEST(several_threads_start_children);
  TEST(a_parent_that_ignores_sigchld_has_statuses);
  TEST(two_hundred_at_once);
  TEST(many_starts_leave_nothing);
  TEST(a_start_that_runs_out_of_descriptors_leaves_nothing);
  TEST(a_ctrl_c_ends_all_once_and_quietly);
  TEST(bad_arguments_are_errors);
  return check_finish();
}
