/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "process/start.h"
#include "segment/participants.h"

#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 34)
#define HAS_CLOSEFROM 1
#endif
#if __GLIBC_PREREQ(2, 29)
#define HAS_FCHDIR 1
#endif
#else
#define HAS_FCHDIR 1
#endif
#if !defined(HAS_CLOSEFROM)
#include <dirent.h>
#endif

extern char **environ;

#define VARIABLE "CIPC_BOOTSTRAP"
// P_PIDFD, which older libc headers lack.
#define WAIT_PIDFD 3
#define OWN_FILE "/proc/self/exe"

// MARK: - What the program said about itself

static struct {
  int done;
  char **arguments;
  cipc_process_entry_t default_entry;
} program;

/// Atomic: a later call of `cipc_process_bootstrap` may come from a thread beside others that
/// start.
static char **program_arguments(void) {
  return __atomic_load_n(&program.arguments, __ATOMIC_RELAXED);
}

static cipc_process_entry_t program_entry(void) {
  return __atomic_load_n(&program.default_entry, __ATOMIC_RELAXED);
}

// MARK: - In the child

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

/// The descriptor that the environment names, or -1. Takes the variable away.
static int variable_take(char **value_bytes) {
  *value_bytes = NULL;
  char *value = getenv(VARIABLE);
  if (value == NULL) return -1;
  int descriptor = -1;
  size_t digits = strspn(value, "0123456789");
  if (digits > 0 && digits <= 6 && value[digits] == '\0') descriptor = atoi(value);
  *value_bytes = value;
  unsetenv(VARIABLE);
  return getauxval(AT_SECURE) != 0 ? -1 : descriptor;
}

/// Whether the descriptor is a child's end that our parent made, or made before it
/// died: its child must not run the program a second time for that.
static int is_from_parent(int descriptor) {
  int domain = 0;
  socklen_t size = sizeof domain;
  if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0) return 0;
  if (domain != AF_UNIX) return 0;
  struct ucred peer = {0, 0, 0};
  size = sizeof peer;
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return 0;
  if (peer.pid <= 0 || peer.uid != geteuid()) return 0;
  if (peer.pid == getppid()) return 1;
  if (kill(peer.pid, 0) < 0 && errno == ESRCH) return 1;
  // The number may name another process by now; a dead parent's end is closed in any case.
  struct pollfd end = {descriptor, POLLIN, 0};
  return poll(&end, 1, 0) > 0 && (end.revents & POLLHUP) != 0;
}

/// 1 and a greeting for a child, 0 for any other process.
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
  memset(value - sizeof VARIABLE, 0, sizeof VARIABLE + strlen(value));
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
  /// Who started this process: the process that called, not the fork server.
  cipc_participant_t starter;
} child;

/// The statuses of the system calls.
static int settings_apply(const cipc_settings_t *settings) {
  for (int i = 0; i < CIPC_START_LIMITS; i++) {
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
  return CIPC_OK;
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
  char **arguments = program_arguments();
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
  return CIPC_OK;
}

// MARK: - Ends

int cipc_pidfd_open(pid_t pid) {
  long descriptor = syscall(SYS_pidfd_open, pid, 0);
  return descriptor < 0 ? -errno : (int)descriptor;
}

/// The beginning of the kernel's struct pidfd_info, in which the exit status
/// arrived with Linux 6.15; libc headers are older.
struct pidfd_info {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t ids[11];
  int32_t exit_code;
};
_Static_assert(sizeof(struct pidfd_info) == 64, "PIDFD_INFO_SIZE_VER0");
#define PIDFD_INFO_EXIT_MASK UINT64_C(8)
#if defined(__GLIBC__)
#define PIDFD_GET_INFO_REQUEST _IOWR(0xFF, 11, struct pidfd_info)
#else
// ioctl of musl takes an int; the kernel looks at 32 bits.
#define PIDFD_GET_INFO_REQUEST ((int)_IOWR(0xFF, 11, struct pidfd_info))
#endif

uint64_t cipc_ended_of_status(int status) {
  if (WIFEXITED(status)) return cipc_ended_word(CIPC_PROCESS_EXITED, WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return cipc_ended_word(CIPC_PROCESS_SIGNALLED, WTERMSIG(status));
  return cipc_ended_word(CIPC_PROCESS_UNKNOWN, 0);
}

/// How a child ended whose status somebody else took.
static uint64_t ended_after_reaping(int pidfd) {
  struct pidfd_info info;
  memset(&info, 0, sizeof info);
  info.mask = PIDFD_INFO_EXIT_MASK;
  if (ioctl(pidfd, PIDFD_GET_INFO_REQUEST, &info) == 0 && (info.mask & PIDFD_INFO_EXIT_MASK) != 0) {
    return cipc_ended_of_status(info.exit_code);
  }
  return cipc_ended_word(CIPC_PROCESS_UNKNOWN, 0);
}

static void ended_store(cipc_process_t *process, uint64_t ended) {
  // Before anybody can know that it ended.
  cipc_participants_process_ended(process->pid);
  uint64_t running = 0;
  __atomic_compare_exchange_n(&process->ended, &running, ended, 0, __ATOMIC_ACQ_REL,
                              __ATOMIC_ACQUIRE);
}

// proc(5): exit_code is the 52nd field of /proc/PID/stat, the 50th behind the program's name.
#define EXIT_CODE_FIELD_BEHIND_NAME 50

/// How a child ended that is a zombie, of whichever parent.
static uint64_t ended_of_zombie(const cipc_process_t *process) {
  uint64_t unknown = cipc_ended_word(CIPC_PROCESS_UNKNOWN, 0);
  char text[1024];
  (void)snprintf(text, sizeof text, "/proc/%d/stat", (int)process->pid);
  int file = open(text, O_RDONLY | O_CLOEXEC);
  if (file < 0) return unknown;
  ssize_t length = read(file, text, sizeof text - 1);
  close(file);
  text[length > 0 ? length : 0] = '\0';
  const char *field = strrchr(text, ')');
  if (field == NULL || strncmp(field, ") Z", 3) != 0) return unknown;
  for (int i = 0; field != NULL && i < EXIT_CODE_FIELD_BEHIND_NAME; i++) {
    field = strchr(field + 1, ' ');
  }
  // A zombie keeps its number: while ours is one, what was read is about ours.
  if (field == NULL || syscall(SYS_pidfd_send_signal, process->pidfd, 0, NULL, 0) < 0) {
    return unknown;
  }
  return cipc_ended_of_status((int)strtol(field + 1, NULL, 10));
}

// How long the status of a child may take that has ended, and whose fork server is gone: the kernel
// may tell it only once another process has reaped the child.
#define PATIENCE_MILLISECONDS 200

static uint64_t ended_without_report(const cipc_process_t *process) {
  for (int i = 0;; i++) {
    uint64_t ended = ended_of_zombie(process);
    if (ended >> 32 == CIPC_PROCESS_UNKNOWN) ended = ended_after_reaping(process->pidfd);
    if (ended >> 32 != CIPC_PROCESS_UNKNOWN || i == PATIENCE_MILLISECONDS) return ended;
    (void)poll(NULL, 0, 1);
  }
}

/// The same as cipc_process_try_reap for a child of the fork server.
static int try_report(cipc_process_t *process) {
  if (!__atomic_load_n(&process->is_report_lost, __ATOMIC_ACQUIRE)) {
    uint64_t ended;
    // Left in the socket, for other threads.
    ssize_t size = recv(process->report, &ended, sizeof ended, MSG_PEEK | MSG_DONTWAIT);
    if (size == (ssize_t)sizeof ended && ended != 0) {
      ended_store(process, ended);
      return 1;
    }
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    __atomic_store_n(&process->is_report_lost, 1, __ATOMIC_RELEASE);
  }
  struct pollfd end = {process->pidfd, POLLIN, 0};
  if (poll(&end, 1, 0) == 0) return 0;
  ended_store(process, ended_without_report(process));
  return 1;
}

int cipc_process_try_reap(cipc_process_t *process) {
  if (__atomic_load_n(&process->ended, __ATOMIC_ACQUIRE) != 0) return 1;
  if (process->report >= 0) return try_report(process);
  siginfo_t info;
  memset(&info, 0, sizeof info);
  // Looked at first and reaped after it was written down, so that a thread that
  // finds the child reaped by another one finds the status too.
  int result;
  do {
    result = waitid((idtype_t)WAIT_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG | WNOWAIT);
  } while (result < 0 && errno == EINTR);
  uint64_t ended;
  if (result == 0) {
    if (info.si_pid == 0) return 0;
    ended = info.si_code == CLD_EXITED ? cipc_ended_word(CIPC_PROCESS_EXITED, info.si_status)
                                       : cipc_ended_word(CIPC_PROCESS_SIGNALLED, info.si_status);
  } else {
    // Not our child: somebody took the status, or this is a fork of its parent.
    struct pollfd end = {process->pidfd, POLLIN, 0};
    if (poll(&end, 1, 0) == 0) return 0;
    ended = ended_after_reaping(process->pidfd);
  }
  ended_store(process, ended);
  if (result == 0) {
    (void)waitid((idtype_t)WAIT_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG);
  }
  return 1;
}

int cipc_process_wait(cipc_process_t *process, cipc_deadline_t deadline,
                      cipc_process_status_t *status) {
  if (process == NULL || status == NULL) return CIPC_EINVAL;
  status->end = CIPC_PROCESS_RUNNING;
  status->value = 0;
  while (!cipc_process_try_reap(process)) {
    if (cipc_clock_poll_timeout(deadline) == 0) return CIPC_ETIMEDOUT;
    struct pollfd end = {cipc_process_descriptor(process), POLLIN, 0};
    int count = cipc_interrupt_poll(&end, 1, deadline);
    if (count < 0) return count;
    if (count > 0 && !cipc_process_try_reap(process)) {
      // Ended, and a tracer has not let it go yet; the pidfd cannot tell when it does.
      (void)poll(NULL, 0, 1);
    }
  }
  uint64_t ended = __atomic_load_n(&process->ended, __ATOMIC_ACQUIRE);
  status->end = (cipc_process_end_t)(ended >> 32);
  status->value = (int)(uint32_t)ended;
  return CIPC_OK;
}

int cipc_process_signal(cipc_process_t *process, int signal) {
  if (process == NULL) return CIPC_EINVAL;
  // The kernel takes a signal for a zombie; a child that has ended gets none.
  if (cipc_process_try_reap(process)) return CIPC_ESRCH;
  return syscall(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0) < 0 ? -errno : CIPC_OK;
}

pid_t cipc_process_pid(const cipc_process_t *process) { return process->pid; }

int cipc_process_descriptor(const cipc_process_t *process) {
  // The report comes a little after the pidfd is readable, and waiting for it must not spin.
  if (process->report < 0) return process->pidfd;
  int is_lost = __atomic_load_n(&process->is_report_lost, __ATOMIC_ACQUIRE);
  return is_lost ? process->pidfd : process->report;
}

int cipc_process_pidfd(const cipc_process_t *process) {
  if (process == NULL) return CIPC_EINVAL;
  int copy = fcntl(process->pidfd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? -errno : copy;
}

void cipc_process_free(cipc_process_t *process) {
  cipc_lifeline_delist(process);
  if (process->report >= 0) close(process->report);
  if (process->pidfd >= 0) close(process->pidfd);
  free(process);
}

// MARK: - Spawn

/// Whether starting the executable would run a program that was not diverted.
static int would_run_again(const char *executable) {
  if (__atomic_load_n(&program.done, __ATOMIC_ACQUIRE)) return 0;
  struct stat named, own;
  if (executable == NULL || stat(OWN_FILE, &own) < 0) return 1;
  return stat(executable, &named) == 0 && named.st_dev == own.st_dev && named.st_ino == own.st_ino;
}

int cipc_process_can_start(cipc_process_entry_t entry, const char *executable) {
  if (would_run_again(executable)) return CIPC_ENOBOOTSTRAP;
  if (entry == NULL && program_entry() == NULL && executable == NULL) return CIPC_EINVAL;
  return CIPC_OK;
}

/// The environment with the variable in it; to be freed. The strings are borrowed.
static char **environment_make(char *const *environment, char *variable) {
  size_t count = 0;
  while (environment != NULL && environment[count] != NULL) count++;
  char **copy = malloc((count + 2) * sizeof *copy);
  if (copy == NULL) return NULL;
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    // Read once: a thread that takes a variable away may have shortened the list.
    char *entry = environment[i];
    if (entry == NULL) break;
    if (strncmp(entry, VARIABLE "=", sizeof VARIABLE) != 0) copy[kept++] = entry;
  }
  copy[kept++] = variable;
  copy[kept] = NULL;
  return copy;
}

#if !defined(HAS_CLOSEFROM)
/// Closes, in the child, what is open here from `first` on and not close-on-exec.
/// A descriptor that another thread opens meanwhile slips through; with glibc the
/// child closes them itself.
static int actions_close_from(posix_spawn_file_actions_t *actions, int first) {
  DIR *directory = opendir("/proc/self/fd");
  if (directory == NULL) return errno;
  int status = 0;
  struct dirent *entry;
  while (status == 0 && (entry = readdir(directory)) != NULL) {
    int descriptor = atoi(entry->d_name);
    int flags = descriptor >= first ? fcntl(descriptor, F_GETFD) : -1;
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) {
      status = posix_spawn_file_actions_addclose(actions, descriptor);
    }
  }
  closedir(directory);
  return status;
}
#else
static int actions_close_from(posix_spawn_file_actions_t *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}
#endif

/// Says what becomes of the descriptors in the child. The sources are above all the numbers that
/// they get there, or are the number already.
static int actions_make(posix_spawn_file_actions_t *actions, const cipc_start_t *start) {
  int status = 0;
  if (start->directory >= 0) {
#if defined(HAS_FCHDIR)
    status = posix_spawn_file_actions_addfchdir_np(actions, start->directory);
#else
    status = ENOSYS;
#endif
  }
  for (size_t i = 0; status == 0 && i < start->count; i++) {
    // Onto the same number, too, this clears close-on-exec, in the child alone.
    status = posix_spawn_file_actions_adddup2(actions, start->sources[i], (int)i);
  }
  if (status == 0) status = actions_close_from(actions, (int)start->count);
  return status;
}

static int attributes_make(posix_spawnattr_t *attributes, int new_group) {
  static const int kept[] = {SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
  sigset_t none, defaults;
  sigemptyset(&none);
  sigfillset(&defaults);
  // An ignored one of these stays ignored; one with a handler gets its default by execve.
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) sigdelset(&defaults, kept[i]);
  int status = posix_spawnattr_setsigmask(attributes, &none);
  if (status == 0) status = posix_spawnattr_setsigdefault(attributes, &defaults);
  if (status == 0) {
    int flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (new_group) flags |= POSIX_SPAWN_SETPGROUP;
    status = posix_spawnattr_setflags(attributes, (short)flags);
  }
  return status;
}

static int spawn_file(cipc_start_t *start) {
  const cipc_process_options_t *options = start->options;
  static char variable[] = VARIABLE "=3";
  _Static_assert(CIPC_PROCESS_CONNECTION == 3, "the variable spells it");
  static char no_name[] = "cipc";
  static char *no_arguments[] = {no_name, NULL};
  char *const *arguments = options->arguments != NULL ? options->arguments : program_arguments();
  if (arguments == NULL) arguments = no_arguments;
  char **environment =
      environment_make(options->environment != NULL ? options->environment : environ, variable);
  if (environment == NULL) return CIPC_ENOMEM;

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int status = posix_spawn_file_actions_init(&actions);
  if (status != 0) goto out_environment;
  status = posix_spawnattr_init(&attributes);
  if (status != 0) goto out_actions;
  status = actions_make(&actions, start);
  if (status == 0) status = attributes_make(&attributes, options->new_group);
  if (status == 0) {
    status =
        posix_spawn(&start->made->pid, options->executable != NULL ? options->executable : OWN_FILE,
                    &actions, &attributes, arguments, environment);
  }
  (void)posix_spawnattr_destroy(&attributes);
out_actions:
  (void)posix_spawn_file_actions_destroy(&actions);
out_environment:
  free(environment);
  return -status;
}

int cipc_process_spawn(cipc_process_t **process, int *connection, cipc_process_entry_t entry,
                       const cipc_process_options_t *options) {
  static const cipc_process_options_t no_options;
  if (options == NULL) options = &no_options;
  if (process == NULL) return CIPC_EINVAL;
  int status = cipc_process_can_start(entry, options->executable);
  if (status < 0) return status;
  cipc_start_t start;
  status = cipc_start_prepare(&start, entry, options);
  if (status == CIPC_OK) status = cipc_start_separate(&start);
  if (status == CIPC_OK) {
    ssize_t size =
        send(start.connection, &start.greeting, sizeof start.greeting, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size != (ssize_t)sizeof start.greeting) status = size < 0 ? -errno : CIPC_EAGAIN;
  }
  if (status == CIPC_OK) status = spawn_file(&start);
  if (status == CIPC_OK) status = cipc_start_adopt(&start);
  return cipc_start_finish(&start, status, process, connection);
}
