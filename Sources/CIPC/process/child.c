/* SPDX-License-Identifier: Apache-2.0 */
#include "process/child.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

// MARK: What the program said about itself

static struct {
  int done;
  char **arguments;
  cipc_process_entry_t default_entry;
} program;

// Atomic: a later call of `cipc_process_bootstrap` may come from a thread beside others that
// start.
char **cipc_program_arguments(void) {
  return __atomic_load_n(&program.arguments, __ATOMIC_RELAXED);
}

static cipc_process_entry_t program_entry(void) {
  return __atomic_load_n(&program.default_entry, __ATOMIC_RELAXED);
}

// Whether starting the executable would run a program that was not diverted.
static bool would_run_again(const char *executable) {
  if (__atomic_load_n(&program.done, __ATOMIC_ACQUIRE)) return false;
  struct stat named, own;
  if (executable == NULL || stat(CIPC_PROGRAM_FILE, &own) < 0) return true;
  return stat(executable, &named) == 0 && named.st_dev == own.st_dev && named.st_ino == own.st_ino;
}

int cipc_process_can_start(cipc_process_entry_t entry, const char *executable) {
  if (would_run_again(executable)) return CIPC_ENOBOOTSTRAP;
  if (entry == NULL && program_entry() == NULL && executable == NULL) return CIPC_EINVAL;
  return 0;
}

// MARK: In the child

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

// The descriptor that the environment names, or -1. Takes the variable away.
static int variable_take(char **value_bytes) {
  *value_bytes = NULL;
  char *value = getenv(CIPC_GREETING_VARIABLE);
  if (value == NULL) return -1;
  int descriptor = -1;
  size_t digits = strspn(value, "0123456789");
  if (digits > 0 && digits <= 6 && value[digits] == '\0') descriptor = atoi(value);
  *value_bytes = value;
  (void)unsetenv(CIPC_GREETING_VARIABLE);
  return getauxval(AT_SECURE) != 0 ? -1 : descriptor;
}

// Whether the descriptor is a child's end that our parent made, or made before it
// died: its child must not run the program a second time for that.
static bool is_from_parent(int descriptor) {
  int domain = 0;
  socklen_t size = sizeof domain;
  if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0) return false;
  if (domain != AF_UNIX) return false;
  struct ucred peer = {0, 0, 0};
  size = sizeof peer;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return false;
  if (peer.pid <= 0 || peer.uid != geteuid()) return false;
  if (peer.pid == getppid()) return true;
  if (kill(peer.pid, 0) < 0 && errno == ESRCH) return true;
  // The number may name another process by now; a dead parent's end is closed in any case.
  struct pollfd end = {descriptor, POLLIN, 0};
  return poll(&end, 1, 0) > 0 && (end.revents & POLLHUP) != 0;
}

// 1 and a greeting for a child, 0 for any other process.
static int greeting_take(int *connection, cipc_greeting_t *greeting) {
  char *value = NULL;
  int descriptor = variable_take(&value);
  if (descriptor < 0) return 0;
  if (!is_from_parent(descriptor)) return 0;
  ssize_t size = recv(descriptor, greeting, sizeof *greeting, MSG_DONTWAIT);
  if (size != (ssize_t)sizeof *greeting ||
      memcmp(greeting->magic, CIPC_GREETING_MAGIC, sizeof greeting->magic) != 0) {
    return 0;
  }
  if (greeting->version != CIPC_GREETING_VERSION) _exit(CIPC_PROCESS_NO_ENTRY);
  // /proc/self/environ shows these bytes still; they came with execve, so they are ours to write.
  memset(value - sizeof CIPC_GREETING_VARIABLE, 0, sizeof CIPC_GREETING_VARIABLE + strlen(value));
  greeting->name[sizeof greeting->name - 1] = '\0';
  *connection = descriptor;
  return 1;
}

static struct {
  int looked;
  int is_child;
  int is_running;
  int connection;
  cipc_greeting_t greeting;
  // Who started this process: the process that called, not the fork server.
  cipc_participant_t starter;
} child;

// The statuses of the system calls.
static int settings_apply(const cipc_settings_t *settings) {
  for (int i = 0; i < CIPC_GREETING_LIMITS; i++) {
    if ((settings->limits_given & (1u << i)) == 0) continue;
    // By number, since the type of a resource differs between libcs.
    if (syscall(SYS_prlimit64, 0, i, settings->limits[i], NULL) < 0) return -errno;
  }
  if (settings->affinity_size > sizeof settings->affinity) return CIPC_EINVAL;
  if (settings->affinity_size > 0 &&
      syscall(SYS_sched_setaffinity, 0, settings->affinity_size, settings->affinity) < 0) {
    return -errno;
  }
  if (settings->nice_given && setpriority(PRIO_PROCESS, 0, settings->nice) < 0) return -errno;
  return 0;
}

static void close_from(int first) {
#if defined(SYS_close_range)
  if (syscall(SYS_close_range, (unsigned)first, ~0u, 0) == 0) return;
#endif
  DIR *directory = opendir("/proc/self/fd");
  if (directory == NULL) return;
  struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    int descriptor = atoi(entry->d_name);
    if (descriptor >= first && descriptor != dirfd(directory)) (void)close(descriptor);
  }
  (void)closedir(directory);
}

int cipc_child_replace_environment(char *const *environment) {
  size_t count = 0;
  while (environment[count] != NULL) count++;
  char **copy = malloc((count + 1) * sizeof *copy);
  if (copy == NULL) return CIPC_ENOMEM;
  for (size_t i = 0; i < count; i++) {
    copy[i] = strdup(environment[i]);
    if (copy[i] == NULL) return CIPC_ENOMEM;  // the child ends
  }
  copy[count] = NULL;
  environ = copy;
  return 0;
}

int cipc_child_place(const int *sources, size_t count) {
  int moved[CIPC_CHILD_SOURCES_MAX];
  if (count > CIPC_CHILD_SOURCES_MAX) return CIPC_EINVAL;
  for (size_t i = 0; i < count; i++) {
    moved[i] = sources[i];
    if (sources[i] >= (int)count || sources[i] == (int)i) continue;
    moved[i] = fcntl(sources[i], F_DUPFD_CLOEXEC, (int)count);
    if (moved[i] < 0) return -errno;
  }
  for (size_t i = 0; i < count; i++) {
    if (moved[i] == (int)i) {
      if (i < 3) (void)fcntl((int)i, F_SETFD, 0);
    } else if (dup3(moved[i], (int)i, i < 3 ? 0 : O_CLOEXEC) < 0) {
      return -errno;
    }
  }
  close_from((int)count);
  return 0;
}

void cipc_child_begin(const cipc_greeting_t *greeting, int connection) {
  child.starter = greeting->starter;
  // Its end stays open here, since what our starter armed goes with the last copy.
  if (greeting->lifeline > 0) (void)fcntl((int)greeting->lifeline, F_SETFD, FD_CLOEXEC);
  if (greeting->settings.is_given) {
    int32_t status = settings_apply(&greeting->settings);
    (void)send(connection, &status, sizeof status, MSG_NOSIGNAL);
  }
  char go;
  ssize_t size;
  do {
    size = recv(connection, &go, sizeof go, 0);
  } while (size < 0 && errno == EINTR);
  // The end of the stream: the parent died in the middle of the start, or could not finish it.
  if (size != 1) _exit(CIPC_PROCESS_NO_ENTRY);
  (void)fcntl(connection, F_SETFD, FD_CLOEXEC);
}

void cipc_child_become(const cipc_greeting_t *greeting, int connection) {
  child.looked = child.is_child = 1;
  child.connection = connection;
  child.greeting = *greeting;
}

cipc_participant_t cipc_process_starter(void) { return child.starter; }

int cipc_process_is_child(void) {
  if (!child.looked) {
    child.looked = 1;
    child.is_child = greeting_take(&child.connection, &child.greeting);
    if (child.is_child) cipc_child_begin(&child.greeting, child.connection);
  }
  return child.is_child;
}

void cipc_child_run(void) {
  cipc_process_entry_t entry = program_entry();
  if (child.greeting.has_entry) {
    const void *address = NULL;
    if (cipc_image_resolve(&child.greeting.entry, &address) < 0) _exit(CIPC_PROCESS_NO_ENTRY);
    memcpy(&entry, &address, sizeof entry);
  }
  // A later call may bring the entry: the hook of a C program in a Swift package has none.
  if (entry == NULL) return;
  child.is_running = 1;
  const char *name = child.greeting.name;
  char **arguments = cipc_program_arguments();
  if (name[0] == '\0' && arguments[0] != NULL) name = base_name(arguments[0]);
  (void)prctl(PR_SET_NAME, name, 0, 0, 0);
  exit(entry(child.connection));
}

int cipc_process_bootstrap(int argc, char **argv, cipc_process_entry_t default_entry) {
  (void)argc;
  if (argv == NULL) return CIPC_EINVAL;
  __atomic_store_n(&program.arguments, argv, __ATOMIC_RELAXED);
  if (default_entry != NULL) {
    __atomic_store_n(&program.default_entry, default_entry, __ATOMIC_RELAXED);
  }
  __atomic_store_n(&program.done, 1, __ATOMIC_RELEASE);
  if (cipc_process_is_child() && !child.is_running) cipc_child_run();
  return 0;
}
