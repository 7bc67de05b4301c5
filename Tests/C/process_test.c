/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/thread.h"
#include "check.h"
#include "cipc.h"

extern char **environ;

// MARK: - What children run

static cipc_process_status_t finish(cipc_process_t *process);

static int child_nothing(int connection) {
  (void)connection;
  return 0;
}

static int child_code(int connection) {
  unsigned char code = 0;
  if (read(connection, &code, 1) != 1) return 99;
  return code;
}

/// Blocks until its parent closes the connection.
static int child_until_closed(int connection) {
  char byte = 'r';
  if (write(connection, &byte, 1) != 1) return 99;
  return (int)read(connection, &byte, 1);
}

static int child_abort(int connection) {
  (void)connection;
  struct rlimit none = {0, 0};
  (void)setrlimit(RLIMIT_CORE, &none);
  abort();
}

static int child_ends_by_return_flushes(int connection) {
  (void)dup2(connection, 1);
  (void)fputs("buffered", stdout);
  return 0;
}

/// Answers one byte per question, 1 for yes.
static int child_surroundings(int connection) {
  unsigned char answer[8] = {0};
  sigset_t mask;
  (void)sigprocmask(SIG_BLOCK, NULL, &mask);
  answer[0] = 1;
  for (int i = 1; i < 32; i++) {
    if (sigismember(&mask, i)) answer[0] = 0;
  }
  struct sigaction action;
  (void)sigaction(SIGPIPE, NULL, &action);
  answer[1] = action.sa_handler == SIG_DFL;
  (void)sigaction(SIGHUP, NULL, &action);
  answer[2] = action.sa_handler == SIG_IGN;
  (void)sigaction(SIGCHLD, NULL, &action);
  answer[3] = action.sa_handler == SIG_DFL;
  answer[4] = getenv("CIPC_BOOTSTRAP") == NULL;
  char bytes[65536];
  int file = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
  ssize_t size = read(file, bytes, sizeof bytes);
  (void)close(file);
  answer[5] = size > 0 && memmem(bytes, (size_t)size, "CIPC_BOOTSTRAP", 14) == NULL;
  answer[6] = fcntl(connection, F_GETFD) == FD_CLOEXEC && connection == CIPC_PROCESS_CONNECTION;
  answer[7] = (unsigned char)cipc_process_is_child();
  return write(connection, answer, sizeof answer) == (ssize_t)sizeof answer ? 0 : 99;
}

/// The open descriptors as text, and the kernel's name for this process.
static int child_descriptors(int connection) {
  DIR *directory = opendir("/proc/self/fd");
  char text[4096] = "";
  struct dirent *entry;
  while (directory != NULL && (entry = readdir(directory)) != NULL) {
    if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory)) continue;
    (void)strcat(strcat(text, entry->d_name), " ");
  }
  (void)closedir(directory);
  size_t length = strlen(text);
  int file = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
  ssize_t size = read(file, text + length, sizeof text - length);
  (void)close(file);
  return size > 0 && write(connection, text, length + (size_t)size) > 0 ? 0 : 99;
}

static int child_handed(int connection) {
  (void)connection;
  return write(4, "four", 4) == 4 && write(5, "five", 4) == 4 ? 0 : 99;
}

static int child_of_child(int connection) {
  cipc_process_t *child;
  int to_child;
  if (cipc_process_spawn(&child, &to_child, child_code, NULL) < 0) return 98;
  unsigned char code = 23;
  if (write(to_child, &code, 1) != 1) return 97;
  cipc_process_status_t status;
  if (cipc_process_wait(child, CIPC_NO_DEADLINE, &status) < 0) return 96;
  cipc_process_release(child);
  (void)connection;
  return status.value;
}

/// Starts a child that waits, hands its pid on, and is killed before it can wait for it.
static int child_leaves_an_orphan(int connection) {
  cipc_process_options_t options = {0};
  options.descriptors = &connection;
  options.descriptor_count = 1;
  cipc_process_t *child;
  int to_child;
  if (cipc_process_spawn(&child, &to_child, child_until_closed, &options) < 0) return 98;
  char byte;
  if (read(to_child, &byte, 1) != 1) return 97;
  (void)raise(SIGKILL);
  return 0;
}

static int child_says_entry(int connection) {
  (void)connection;
  return write(1, "entry\n", 6) == 6 ? 0 : 99;
}

/// Starts a shell that executes this program once its parent, this child, is gone.
static int child_leaves_a_start_behind(int connection) {
  int gone[2];
  char own[4096];
  ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);
  if (size < 0 || pipe2(gone, O_CLOEXEC) < 0 || dup2(connection, 1) < 0) return 98;
  own[size] = '\0';
  char shell[] = "sh", command[] = "-c", word[] = "environment";
  char script[] = "read nothing <&4; exec \"$0\" \"$1\"";
  char *arguments[] = {shell, command, script, own, word, NULL};
  cipc_process_options_t options = {0};
  options.executable = "/bin/sh";
  options.arguments = arguments;
  options.descriptors = &gone[0];
  options.descriptor_count = 1;
  cipc_process_t *child;
  int to_child;
  if (cipc_process_spawn(&child, &to_child, child_says_entry, &options) < 0) return 97;
  (void)raise(SIGKILL);
  return 0;
}

/// Starts a shell that starts this program: a process whose parent made no start.
static int child_starts_behind_a_shell(int connection) {
  char own[4096];
  ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);
  if (size < 0 || dup2(connection, 1) < 0) return 98;
  own[size] = '\0';
  char shell[] = "sh", command[] = "-c", word[] = "environment";
  char script[] = "\"$0\" \"$1\"; exit 0";
  char *arguments[] = {shell, command, script, own, word, NULL};
  cipc_process_options_t options = {0};
  options.executable = "/bin/sh";
  options.arguments = arguments;
  cipc_process_t *child;
  int to_child;
  if (cipc_process_spawn(&child, &to_child, child_says_entry, &options) < 0) return 97;
  cipc_process_status_t status = finish(child);
  (void)close(to_child);
  return status.value;
}

static int child_executes(int connection) {
  (void)dup2(connection, 1);
  (void)execl("/proc/self/exe", "process_test", "environment", (char *)NULL);
  return 99;
}

static int child_default(int connection) {
  char byte = 'd';
  return write(connection, &byte, 1) == 1 ? 0 : 99;
}

// MARK: - Helpers

static cipc_process_t *start(int *connection, cipc_process_entry_t entry) {
  cipc_process_t *process = NULL;
  CHECK_EQUAL(cipc_process_spawn(&process, connection, entry, NULL), CIPC_OK);
  return process;
}

static cipc_process_status_t finish(cipc_process_t *process) {
  cipc_process_status_t status;
  CHECK_EQUAL(cipc_process_wait(process, CIPC_NO_DEADLINE, &status), CIPC_OK);
  cipc_process_release(process);
  return status;
}

static void finish_well(cipc_process_t *process) {
  cipc_process_status_t status = finish(process);
  CHECK_EQUAL(status.end, CIPC_PROCESS_EXITED);
  CHECK_EQUAL(status.value, 0);
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

static int open_descriptors(void) {
  int count = 0;
  DIR *directory = opendir("/proc/self/fd");
  while (readdir(directory) != NULL) count++;
  (void)closedir(directory);
  return count;
}

// MARK: - Tests

static void a_child_runs_its_entry_and_returns_its_code(void) {
  int connection;
  cipc_process_t *process = start(&connection, child_code);
  unsigned char code = 42;
  CHECK(write(connection, &code, 1) == 1);
  cipc_process_status_t status;
  CHECK_EQUAL(cipc_process_wait(process, CIPC_NO_DEADLINE, &status), CIPC_OK);
  CHECK_EQUAL(status.end, CIPC_PROCESS_EXITED);
  CHECK_EQUAL(status.value, 42);
  // The status stays.
  CHECK_EQUAL(cipc_process_wait(process, CIPC_IMMEDIATELY, &status), CIPC_OK);
  CHECK_EQUAL(status.value, 42);
  CHECK_EQUAL(cipc_process_signal(process, SIGKILL), CIPC_ESRCH);
  cipc_process_release(process);
  (void)close(connection);
}

static void the_default_entry_serves_a_start_that_names_none(void) {
  int connection;
  cipc_process_t *process = start(&connection, NULL);
  char byte;
  CHECK(read(connection, &byte, 1) == 1 && byte == 'd');
  finish_well(process);
  (void)close(connection);
}

static void signals_reach_the_child_and_its_status_says_so(void) {
  const int signals[] = {SIGKILL, SIGTERM, SIGINT};
  for (size_t i = 0; i < 3; i++) {
    int connection;
    cipc_process_t *process = start(&connection, child_until_closed);
    CHECK_EQUAL(cipc_process_signal(process, 4711), CIPC_EINVAL);
    CHECK_EQUAL(cipc_process_signal(process, signals[i]), CIPC_OK);
    cipc_process_status_t status = finish(process);
    CHECK_EQUAL(status.end, CIPC_PROCESS_SIGNALLED);
    CHECK_EQUAL(status.value, signals[i]);
    (void)close(connection);
  }
  cipc_process_t *process = start(NULL, child_abort);
  cipc_process_status_t status = finish(process);
  CHECK_EQUAL(status.end, CIPC_PROCESS_SIGNALLED);
  CHECK_EQUAL(status.value, SIGABRT);
}

static void a_wait_ends_at_its_deadline(void) {
  int connection;
  cipc_process_t *process = start(&connection, child_until_closed);
  char byte;
  CHECK(read(connection, &byte, 1) == 1);
  cipc_process_status_t status;
  CHECK_EQUAL(cipc_process_wait(process, CIPC_IMMEDIATELY, &status), CIPC_ETIMEDOUT);
  CHECK_EQUAL(status.end, CIPC_PROCESS_RUNNING);
  cipc_deadline_t before = cipc_clock_now();
  CHECK_EQUAL(cipc_process_wait(process, cipc_clock_deadline(20000000), &status), CIPC_ETIMEDOUT);
  CHECK(cipc_clock_now() - before >= 20000000);
  struct pollfd end = {cipc_process_descriptor(process), POLLIN, 0};
  CHECK_EQUAL(poll(&end, 1, 0), 0);
  (void)close(connection);
  CHECK_EQUAL(poll(&end, 1, -1), 1);
  finish_well(process);
}

static void what_it_printed_is_flushed(void) {
  int connection;
  cipc_process_t *process = start(&connection, child_ends_by_return_flushes);
  char text[64];
  (void)read_all(connection, text, sizeof text);
  CHECK(strcmp(text, "buffered") == 0);
  finish_well(process);
  (void)close(connection);
}

static void *start_with_all_blocked(void *context) {
  sigset_t all;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
  int *connection = context;
  return start(connection, child_surroundings);
}

static void a_child_starts_clean_whatever_thread_started_it(void) {
  (void)signal(SIGPIPE, SIG_IGN);
  (void)signal(SIGCHLD, SIG_IGN);
  (void)signal(SIGHUP, SIG_IGN);
  pthread_t thread;
  int connection;
  void *process;
  CHECK(pthread_create(&thread, NULL, start_with_all_blocked, &connection) == 0);
  CHECK(pthread_join(thread, &process) == 0);
  unsigned char answer[8] = {0};
  CHECK(recv(connection, answer, sizeof answer, MSG_WAITALL) == (ssize_t)sizeof answer);
  for (size_t i = 0; i < sizeof answer; i++) CHECK_EQUAL(answer[i] ? (long)i : -1, (long)i);
  (void)finish(process);
  (void)close(connection);
  (void)signal(SIGPIPE, SIG_DFL);
  (void)signal(SIGCHLD, SIG_DFL);
  (void)signal(SIGHUP, SIG_DFL);
}

static void a_child_has_the_descriptors_it_was_given_and_no_other(void) {
  int stray = open("/dev/null", O_RDONLY);  // not close-on-exec, on purpose
  CHECK(stray > 2);
  cipc_process_options_t options = {0};
  options.name = "a-name-longer-than-fifteen";
  options.descriptors = &stray;
  options.descriptor_count = 1;
  cipc_process_t *process;
  int connection;
  CHECK_EQUAL(cipc_process_spawn(&process, &connection, child_descriptors, &options), CIPC_OK);
  char text[4096];
  (void)read_all(connection, text, sizeof text);
  CHECK(strcmp(text, "0 1 2 3 4 a-name-longer-t\n") == 0);
  finish_well(process);
  (void)close(connection);
  process = start(&connection, child_descriptors);
  (void)read_all(connection, text, sizeof text);
  CHECK(strncmp(text, "0 1 2 3 process_test", 20) == 0);
  finish_well(process);
  (void)close(connection);
  (void)close(stray);
}

static void descriptors_are_handed_in_order_also_crosswise(void) {
  // Here they have the numbers that they get in the child, the other way round.
  int first[2], second[2];
  CHECK(pipe2(first, O_CLOEXEC) == 0 && pipe2(second, O_CLOEXEC) == 0);
  int *ends[] = {&first[0], &first[1], &second[0], &second[1]};
  for (size_t i = 0; i < 4; i++) {
    int moved = fcntl(*ends[i], F_DUPFD_CLOEXEC, 20);
    CHECK(moved >= 20);
    (void)close(*ends[i]);
    *ends[i] = moved;
  }
  int at_five = dup3(first[1], 5, O_CLOEXEC);
  int at_four = dup3(second[1], 4, O_CLOEXEC);
  CHECK(at_five == 5 && at_four == 4);
  const int handed[] = {at_five, at_four};
  cipc_process_options_t options = {0};
  options.descriptors = handed;
  options.descriptor_count = 2;
  cipc_process_t *process;
  CHECK_EQUAL(cipc_process_spawn(&process, NULL, child_handed, &options), CIPC_OK);
  finish_well(process);
  char bytes[4];
  CHECK(read(first[0], bytes, 4) == 4 && memcmp(bytes, "four", 4) == 0);
  CHECK(read(second[0], bytes, 4) == 4 && memcmp(bytes, "five", 4) == 0);
  int all[] = {first[0], first[1], second[0], second[1], at_four, at_five};
  for (size_t i = 0; i < 6; i++) (void)close(all[i]);
}

static void a_closed_standard_stream_is_null_in_the_child(void) {
  int saved = fcntl(0, F_DUPFD_CLOEXEC, 10);
  (void)close(0);
  int connection;
  cipc_process_t *process = start(&connection, child_descriptors);
  char text[4096];
  (void)read_all(connection, text, sizeof text);
  CHECK(strncmp(text, "0 1 2 3 process", 15) == 0);
  finish_well(process);
  (void)close(connection);
  CHECK(dup2(saved, 0) == 0);
  (void)close(saved);
}

static void children_start_children(void) {
  cipc_process_status_t status = finish(start(NULL, child_of_child));
  CHECK_EQUAL(status.end, CIPC_PROCESS_EXITED);
  CHECK_EQUAL(status.value, 23);
}

static void an_orphan_sees_its_parent_go(void) {
  int connection;
  cipc_process_t *process = start(&connection, child_leaves_an_orphan);
  cipc_process_status_t status = finish(process);
  CHECK_EQUAL(status.value, SIGKILL);
  // The grandchild holds the other end until it, too, has ended.
  char byte;
  CHECK_EQUAL(read(connection, &byte, 1), 0);
  (void)close(connection);
}

static void a_child_whose_parent_died_before_it_began_runs_its_entry_and_not_the_program(void) {
  int connection;
  cipc_process_t *process = start(&connection, child_leaves_a_start_behind);
  cipc_process_status_t status = finish(process);
  CHECK_EQUAL(status.value, SIGKILL);
  char text[64];
  (void)read_all(connection, text, sizeof text);
  CHECK(strcmp(text, "entry\n") == 0);
  (void)close(connection);
}

static void what_a_child_executes_is_not_diverted(void) {
  int connection;
  cipc_process_t *process = start(&connection, child_executes);
  char text[64];
  (void)read_all(connection, text, sizeof text);
  CHECK(strcmp(text, "none\n") == 0);
  finish_well(process);
  (void)close(connection);
}

/// Runs this program's `main` with the variable set by hand; what it says.
static void forged(const char *value, int descriptor, char *text, size_t room) {
  int output[2];
  CHECK(pipe2(output, O_CLOEXEC) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    (void)setenv("CIPC_BOOTSTRAP", value, 1);
    (void)dup2(output[1], 1);
    if (descriptor >= 0) (void)dup2(descriptor, 9);
    (void)execl("/proc/self/exe", "process_test", "environment", (char *)NULL);
    _exit(99);
  }
  (void)close(output[1]);
  (void)read_all(output[0], text, room);
  (void)close(output[0]);
  CHECK(waitpid(pid, NULL, 0) == pid);
}

static void a_variable_that_is_no_start_is_ignored(void) {
  char text[64];
  const char *values[] = {"9", "", "-1", "0", "99999999999", "1x", "9"};
  int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int ends[2];
  CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    forged(values[i], i == 0 ? file : ends[1], text, sizeof text);
    CHECK(strcmp(text, "none\n") == 0);
  }
  // A socket of the parent's, and other bytes in it.
  char other[256] = "something else";
  CHECK(write(ends[0], other, sizeof other) == (ssize_t)sizeof other);
  forged("9", ends[1], text, sizeof text);
  CHECK(strcmp(text, "none\n") == 0);
  (void)close(file);
  (void)close(ends[0]);
  (void)close(ends[1]);
}

static void a_start_of_somebody_elses_is_ignored(void) {
  int connection;
  cipc_process_t *process = start(&connection, child_starts_behind_a_shell);
  char text[64];
  (void)read_all(connection, text, sizeof text);
  CHECK(strcmp(text, "none\n") == 0);
  finish_well(process);
  (void)close(connection);
}

static void a_program_without_bootstrap_is_refused(void) {
  pid_t pid = fork();
  if (pid == 0) {
    (void)execl("/proc/self/exe", "process_test", "refused", (char *)NULL);
    _exit(99);
  }
  int status;
  CHECK(waitpid(pid, &status, 0) == pid);
  CHECK(WIFEXITED(status));
  CHECK_EQUAL(WEXITSTATUS(status), 0);
}

static void bad_arguments_are_errors(void) {
  cipc_process_t *process;
  int connection;
  cipc_process_options_t options = {0};
  CHECK_EQUAL(cipc_process_spawn(NULL, &connection, child_nothing, NULL), CIPC_EINVAL);
  options.descriptor_count = 1;
  CHECK_EQUAL(cipc_process_spawn(&process, &connection, child_nothing, &options), CIPC_EINVAL);
  int closed = -1;
  options.descriptors = &closed;
  int before = open_descriptors();
  CHECK_EQUAL(cipc_process_spawn(&process, &connection, child_nothing, &options), CIPC_EBADF);
  options.descriptor_count = 0;
  options.executable = "/nonexistent";
  CHECK_EQUAL(cipc_process_spawn(&process, &connection, child_nothing, &options), CIPC_ENOENT);
  CHECK_EQUAL(open_descriptors(), before);
  char on_stack = 0;
  cipc_image_location_t location;
  CHECK_EQUAL(cipc_image_locate(&on_stack, &location), CIPC_ENOENT);
  CHECK_EQUAL(cipc_image_locate(NULL, &location), CIPC_EINVAL);
  static int variable;
  static const char *const text = "constant";
  CHECK_EQUAL(cipc_image_is_constant((const void *)(uintptr_t)cipc_image_locate), 1);
  CHECK_EQUAL(cipc_image_is_constant(&text), 1);
  CHECK_EQUAL(cipc_image_is_constant(text), 1);
  CHECK_EQUAL(cipc_image_is_constant(&variable), 0);
  CHECK_EQUAL(cipc_image_is_constant(&on_stack), CIPC_ENOENT);
  CHECK_EQUAL(cipc_image_is_constant(NULL), CIPC_EINVAL);
}

static void an_entry_of_another_version_is_not_run(void) {
  const void *address;
  cipc_process_entry_t entry = child_nothing;
  memcpy(&address, &entry, sizeof address);
  cipc_image_location_t location;
  CHECK_EQUAL(cipc_image_locate(address, &location), CIPC_OK);
  CHECK(location.id_size > 0);
  CHECK_EQUAL(location.is_program, 1);
  const void *found = NULL;
  CHECK_EQUAL(cipc_image_resolve(&location, &found), CIPC_OK);
  CHECK(found == address);
  cipc_image_location_t other = location;
  other.id[0] ^= 1;
  CHECK_EQUAL(cipc_image_resolve(&other, &found), CIPC_ENOENT);
  other = location;
  other.offset = UINT64_MAX;
  CHECK_EQUAL(cipc_image_resolve(&other, &found), CIPC_ENOENT);
  other = location;
  other.id_size = 1000;
  CHECK_EQUAL(cipc_image_resolve(&other, &found), CIPC_EINVAL);
  // A function of the C library is found there, and is not taken for the program's.
  int (*of_libc)(const char *) = puts;
  memcpy(&address, &of_libc, sizeof address);
  CHECK_EQUAL(cipc_image_locate(address, &location), CIPC_OK);
  CHECK_EQUAL(cipc_image_resolve(&location, &found), CIPC_OK);
  CHECK(found == address);
}

static void images_have_names(void) {
  char name[64] = "?";
  const void *address;
  cipc_process_entry_t entry = child_nothing;
  memcpy(&address, &entry, sizeof address);
  CHECK_EQUAL(cipc_image_name(address, name, sizeof name), CIPC_OK);
  CHECK(strcmp(name, "") == 0);
  // Here the library is in the program.
  CHECK_EQUAL(cipc_image_name(NULL, name, sizeof name), CIPC_OK);
  CHECK(strcmp(name, "") == 0);
  int (*of_libc)(const char *) = puts;
  memcpy(&address, &of_libc, sizeof address);
  CHECK_EQUAL(cipc_image_name(address, name, sizeof name), CIPC_OK);
  CHECK(strchr(name, '/') == NULL);
  CHECK_EQUAL(cipc_image_name(address, name, 2), CIPC_OK);
  CHECK(strlen(name) <= 1);
  CHECK_EQUAL(cipc_image_name(name, name, sizeof name), CIPC_ENOENT);
  CHECK_EQUAL(cipc_image_name(address, name, 0), CIPC_EINVAL);
}

static void a_released_child_is_reaped(void) {
  int connection;
  cipc_process_t *process = start(&connection, child_until_closed);
  pid_t pid = cipc_process_pid(process);
  int watch = fcntl(cipc_process_descriptor(process), F_DUPFD_CLOEXEC, 3);
  cipc_process_release(process);
  CHECK_EQUAL(kill(pid, 0), 0);
  (void)close(connection);
  struct pollfd end = {watch, POLLIN, 0};
  CHECK_EQUAL(poll(&end, 1, -1), 1);
  if (cipc_thread_count() == 1) {
    CHECK_EQUAL(kill(pid, 0), 0);  // a zombie now
    finish_well(start(NULL, child_nothing));
  } else {
    // ThreadSanitizer has a thread, and where there are threads another one reaps when it likes.
    while (kill(pid, 0) == 0) (void)sched_yield();
  }
  CHECK(kill(pid, 0) < 0 && errno == ESRCH);
  (void)close(watch);
}

static void a_status_taken_elsewhere_is_found_or_unknown(void) {
  int connection, status;
  cipc_process_t *process = start(&connection, child_code);
  unsigned char code = 42;
  CHECK(write(connection, &code, 1) == 1);
  CHECK(waitpid(cipc_process_pid(process), &status, 0) == cipc_process_pid(process));
  (void)close(connection);
  cipc_process_status_t found = finish(process);
  CHECK(found.end == CIPC_PROCESS_UNKNOWN || found.end == CIPC_PROCESS_EXITED);
  CHECK_EQUAL(found.value, found.end == CIPC_PROCESS_EXITED ? 42 : 0);
  (void)printf("  status after reaping: %s\n",
               found.end == CIPC_PROCESS_UNKNOWN ? "unknown" : "told by the kernel");
}

static void a_pidfd_tells_the_end_and_outlives_the_process(void) {
  int connection;
  cipc_process_t *process = start(&connection, child_until_closed);
  int pidfd = cipc_process_pidfd(process);
  CHECK(pidfd >= 0);
  CHECK_EQUAL(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
  struct pollfd end = {pidfd, POLLIN, 0};
  CHECK_EQUAL(poll(&end, 1, 0), 0);
  CHECK_EQUAL(cipc_process_signal(process, SIGKILL), CIPC_OK);
  CHECK_EQUAL(poll(&end, 1, -1), 1);
  (void)finish(process);
  CHECK_EQUAL(poll(&end, 1, 0), 1);
  CHECK_EQUAL(cipc_process_pidfd(NULL), CIPC_EINVAL);
  (void)close(pidfd);
  (void)close(connection);
}

static void *wait_for(void *process) {
  cipc_process_status_t status;
  if (cipc_process_wait(process, CIPC_NO_DEADLINE, &status) < 0) return NULL;
  return status.end == CIPC_PROCESS_EXITED && status.value == 0 ? process : NULL;
}

static void many_threads_wait_for_the_same_child(void) {
  for (int round = 0; round < 20; round++) {
    int connection;
    cipc_process_t *process = start(&connection, child_until_closed);
    char byte;
    CHECK(read(connection, &byte, 1) == 1);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, wait_for, process) == 0);
    (void)close(connection);
    for (int i = 0; i < 4; i++) {
      void *result;
      CHECK(pthread_join(threads[i], &result) == 0);
      CHECK(result == process);
    }
    cipc_process_release(process);
  }
}

static void nothing_is_left_open_here(void) {
  int before = open_descriptors();
  for (int i = 0; i < 50; i++) {
    int connection;
    cipc_process_t *process = start(&connection, child_nothing);
    finish_well(process);
    (void)close(connection);
  }
  CHECK_EQUAL(open_descriptors(), before);
}

// MARK: - As another program

static int say_environment(void) {
  return puts(getenv("CIPC_BOOTSTRAP") == NULL ? "none" : "still there") < 0;
}

static int be_refused(void) {
  cipc_process_t *process;
  int status = cipc_process_spawn(&process, NULL, child_nothing, NULL);
  if (status != CIPC_ENOBOOTSTRAP) return 1;
  cipc_process_options_t options = {0};
  char own[4096];
  ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);
  own[size > 0 ? size : 0] = '\0';
  options.executable = own;
  if (cipc_process_spawn(&process, NULL, child_nothing, &options) != CIPC_ENOBOOTSTRAP) return 2;
  options.executable = "/bin/true";
  if (cipc_process_spawn(&process, NULL, child_nothing, &options) != CIPC_OK) return 3;
  cipc_process_status_t ended;
  if (cipc_process_wait(process, CIPC_NO_DEADLINE, &ended) != CIPC_OK) return 4;
  cipc_process_release(process);
  return ended.end == CIPC_PROCESS_EXITED && ended.value == 0 ? 0 : 5;
}

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "refused") == 0) return be_refused();
  CHECK_EQUAL(cipc_process_bootstrap(argc, argv, child_default), CIPC_OK);
  if (argc > 1 && strcmp(argv[1], "environment") == 0) return say_environment();
  TEST(a_child_runs_its_entry_and_returns_its_code);
  TEST(the_default_entry_serves_a_start_that_names_none);
  TEST(signals_reach_the_child_and_its_status_says_so);
  TEST(a_wait_ends_at_its_deadline);
  TEST(what_it_printed_is_flushed);
  TEST(a_child_starts_clean_whatever_thread_started_it);
  TEST(a_child_has_the_descriptors_it_was_given_and_no_other);
  TEST(descriptors_are_handed_in_order_also_crosswise);
  TEST(a_closed_standard_stream_is_null_in_the_child);
  TEST(children_start_children);
  TEST(an_orphan_sees_its_parent_go);
  TEST(a_child_whose_parent_died_before_it_began_runs_its_entry_and_not_the_program);
  TEST(what_a_child_executes_is_not_diverted);
  TEST(a_variable_that_is_no_start_is_ignored);
  TEST(a_start_of_somebody_elses_is_ignored);
  TEST(a_program_without_bootstrap_is_refused);
  TEST(bad_arguments_are_errors);
  TEST(an_entry_of_another_version_is_not_run);
  TEST(images_have_names);
  TEST(a_released_child_is_reaped);
  TEST(a_status_taken_elsewhere_is_found_or_unknown);
  TEST(a_pidfd_tells_the_end_and_outlives_the_process);
  TEST(many_threads_wait_for_the_same_child);
  TEST(nothing_is_left_open_here);
  return check_finish();
}
