/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cipc/image.h"
#include "clock.h"

#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 34)
#define HAS_CLOSEFROM 1
#endif
#endif
#if !defined(HAS_CLOSEFROM)
#include <dirent.h>
#endif

extern char **environ;

#define VARIABLE "CIPC_BOOTSTRAP"
#define DESCRIPTORS_MAX 250
// P_PIDFD, which older libc headers lack.
#define WAIT_PIDFD 3
#define OWN_FILE "/proc/self/exe"

/// The first bytes on a child's connection, there before the child is started, so
/// that it can tell at once whether it is one. One byte follows when the parent
/// has the child's pidfd: the child goes on only then, since a child that ends
/// earlier, and whose parent ignores SIGCHLD, is gone without a trace.
typedef struct greeting {
  char magic[8];
  uint32_t version;
  uint32_t has_entry;
  cipc_image_location_t entry;
  char name[16];
} greeting_t;

static const char greeting_magic[8] = {'C', 'I', 'P', 'C', 'b', 'o', 'o', 't'};
#define GREETING_VERSION 1

struct cipc_process {
  pid_t pid;
  int pidfd;
  /// 0 while running, then end << 32 | value; written once.
  uint64_t ended;
  /// In the list of those given up while running.
  cipc_process_t *next;
};

// MARK: - What the program said about itself

static struct {
  int done;
  char **arguments;
  cipc_process_entry_t default_entry;
} program;

static cipc_process_t *given_up;

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
static int greeting_take(int *connection, greeting_t *greeting) {
  char *value = NULL;
  int descriptor = variable_take(&value);
  if (descriptor < 0) return 0;
  if (!is_from_parent(descriptor)) return 0;
  ssize_t size = recv(descriptor, greeting, sizeof *greeting, MSG_DONTWAIT);
  if (size != (ssize_t)sizeof *greeting ||
      memcmp(greeting->magic, greeting_magic, sizeof greeting_magic) != 0) {
    return 0;
  }
  if (greeting->version != GREETING_VERSION) _exit(CIPC_PROCESS_NO_ENTRY);
  char go;
  do {
    size = recv(descriptor, &go, sizeof go, 0);
  } while (size < 0 && errno == EINTR);
  // The end of the stream: the parent died in the middle of the start, or could not finish it.
  if (size != 1) _exit(CIPC_PROCESS_NO_ENTRY);
  // /proc/self/environ shows these bytes still; they came with execve, so they are ours to write.
  memset(value - sizeof VARIABLE, 0, sizeof VARIABLE + strlen(value));
  (void)fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  greeting->name[sizeof greeting->name - 1] = '\0';
  *connection = descriptor;
  return 1;
}

static struct {
  int looked;
  int is_child;
  int is_running;
  int connection;
  greeting_t greeting;
} child;

int cipc_process_is_child(void) {
  if (!child.looked) {
    child.looked = 1;
    child.is_child = greeting_take(&child.connection, &child.greeting);
  }
  return child.is_child;
}

static void child_run(char **argv) {
  cipc_process_entry_t entry = program.default_entry;
  if (child.greeting.has_entry) {
    const void *address = NULL;
    if (cipc_image_resolve(&child.greeting.entry, &address) < 0) _exit(CIPC_PROCESS_NO_ENTRY);
    memcpy(&entry, &address, sizeof entry);
  }
  // A later call may bring the entry: the hook of a C program in a Swift package has none.
  if (entry == NULL) return;
  child.is_running = 1;
  const char *name = child.greeting.name;
  if (name[0] == '\0' && argv[0] != NULL) name = base_name(argv[0]);
  (void)prctl(PR_SET_NAME, name, 0, 0, 0);
  exit(entry(child.connection));
}

int cipc_process_bootstrap(int argc, char **argv, cipc_process_entry_t default_entry) {
  (void)argc;
  if (argv == NULL) return CIPC_EINVAL;
  program.arguments = argv;
  if (default_entry != NULL) program.default_entry = default_entry;
  __atomic_store_n(&program.done, 1, __ATOMIC_RELEASE);
  if (cipc_process_is_child() && !child.is_running) child_run(argv);
  return CIPC_OK;
}

// MARK: - Ends

static int pidfd_open_of(pid_t pid) {
  long descriptor = syscall(SYS_pidfd_open, pid, 0);
  return descriptor < 0 ? -errno : (int)descriptor;
}

/// The beginning of the kernel's struct pidfd_info, in which the exit status
/// arrived with Linux 6.15; libc headers are older.
struct pidfd_info {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t ids[12];
  int32_t exit_code;
};
#define PIDFD_INFO_EXIT_MASK UINT64_C(8)
#if defined(__GLIBC__)
#define PIDFD_GET_INFO_REQUEST _IOWR(0xFF, 11, struct pidfd_info)
#else
// ioctl of musl takes an int; the kernel looks at 32 bits.
#define PIDFD_GET_INFO_REQUEST ((int)_IOWR(0xFF, 11, struct pidfd_info))
#endif

static uint64_t ended_word(int end, int value) {
  return (uint64_t)(uint32_t)end << 32 | (uint32_t)value;
}

/// How a child ended whose status somebody else took.
static uint64_t ended_after_reaping(int pidfd) {
  struct pidfd_info info;
  memset(&info, 0, sizeof info);
  info.mask = PIDFD_INFO_EXIT_MASK;
  if (ioctl(pidfd, PIDFD_GET_INFO_REQUEST, &info) == 0 && (info.mask & PIDFD_INFO_EXIT_MASK) != 0) {
    int status = info.exit_code;
    if (WIFEXITED(status)) return ended_word(CIPC_PROCESS_EXITED, WEXITSTATUS(status));
    if (WIFSIGNALED(status)) return ended_word(CIPC_PROCESS_SIGNALLED, WTERMSIG(status));
  }
  return ended_word(CIPC_PROCESS_UNKNOWN, 0);
}

/// 1 when the child has ended and the word says how, 0 while it runs.
static int try_reap(cipc_process_t *process) {
  if (__atomic_load_n(&process->ended, __ATOMIC_ACQUIRE) != 0) return 1;
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
    ended = info.si_code == CLD_EXITED ? ended_word(CIPC_PROCESS_EXITED, info.si_status)
                                       : ended_word(CIPC_PROCESS_SIGNALLED, info.si_status);
  } else {
    // Not our child: somebody took the status, or this is a fork of its parent.
    struct pollfd end = {process->pidfd, POLLIN, 0};
    if (poll(&end, 1, 0) == 0) return 0;
    ended = ended_after_reaping(process->pidfd);
  }
  uint64_t running = 0;
  __atomic_compare_exchange_n(&process->ended, &running, ended, 0, __ATOMIC_ACQ_REL,
                              __ATOMIC_ACQUIRE);
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
  while (!try_reap(process)) {
    int timeout = cipc_clock_poll_timeout(deadline);
    if (timeout == 0) return CIPC_ETIMEDOUT;
    struct pollfd end = {process->pidfd, POLLIN, 0};
    if (poll(&end, 1, timeout) > 0 && !try_reap(process)) {
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
  if (try_reap(process)) return CIPC_ESRCH;
  return syscall(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0) < 0 ? -errno : CIPC_OK;
}

pid_t cipc_process_pid(const cipc_process_t *process) { return process->pid; }

int cipc_process_descriptor(const cipc_process_t *process) { return process->pidfd; }

int cipc_process_watch(const cipc_process_t *process, int descriptor) {
  if (process == NULL) return CIPC_EINVAL;
  int set = epoll_create1(EPOLL_CLOEXEC);
  if (set < 0) return -errno;
  struct epoll_event event;
  memset(&event, 0, sizeof event);
  event.events = EPOLLIN;
  if (epoll_ctl(set, EPOLL_CTL_ADD, process->pidfd, &event) < 0 ||
      epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event) < 0) {
    int status = -errno;
    close(set);
    return status;
  }
  return set;
}

static void given_up_push(cipc_process_t *process) {
  cipc_process_t *first = __atomic_load_n(&given_up, __ATOMIC_RELAXED);
  do {
    process->next = first;
  } while (!__atomic_compare_exchange_n(&given_up, &first, process, 0, __ATOMIC_RELEASE,
                                        __ATOMIC_RELAXED));
}

static void process_free(cipc_process_t *process) {
  close(process->pidfd);
  free(process);
}

/// Reaps those that have ended since they were given up. The list is taken whole
/// and what still runs is put back, so no two threads walk the same one.
static void given_up_sweep(void) {
  if (__atomic_load_n(&given_up, __ATOMIC_RELAXED) == NULL) return;
  cipc_process_t *process = __atomic_exchange_n(&given_up, NULL, __ATOMIC_ACQUIRE);
  while (process != NULL) {
    cipc_process_t *next = process->next;
    if (try_reap(process)) {
      process_free(process);
    } else {
      given_up_push(process);
    }
    process = next;
  }
}

void cipc_process_release(cipc_process_t *process) {
  given_up_sweep();
  if (process == NULL) return;
  if (try_reap(process)) {
    process_free(process);
  } else {
    given_up_push(process);
  }
}

// MARK: - Spawn

/// Whether starting the executable would run a program that was not diverted.
static int would_run_again(const char *executable) {
  if (__atomic_load_n(&program.done, __ATOMIC_ACQUIRE)) return 0;
  struct stat named, own;
  if (executable == NULL || stat(OWN_FILE, &own) < 0) return 1;
  return stat(executable, &named) == 0 && named.st_dev == own.st_dev && named.st_ino == own.st_ino;
}

static int greeting_make(greeting_t *greeting, cipc_process_entry_t entry, const char *name) {
  memset(greeting, 0, sizeof *greeting);
  memcpy(greeting->magic, greeting_magic, sizeof greeting_magic);
  greeting->version = GREETING_VERSION;
  if (name != NULL) {
    size_t length = strnlen(name, sizeof greeting->name - 1);
    memcpy(greeting->name, name, length);
  }
  if (entry == NULL) return CIPC_OK;
  greeting->has_entry = 1;
  const void *address;
  memcpy(&address, &entry, sizeof address);
  return cipc_image_locate(address, &greeting->entry);
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

/// Says what becomes of the descriptors in the child. `sources` are above all
/// the numbers that they get there, or are the number already.
static int actions_make(posix_spawn_file_actions_t *actions, const int *sources, size_t count,
                        const int *is_open) {
  int status = 0;
  for (size_t i = 0; status == 0 && i < count; i++) {
    // Onto the same number, too, this clears close-on-exec, in the child alone.
    status =
        posix_spawn_file_actions_adddup2(actions, sources[i], CIPC_PROCESS_CONNECTION + (int)i);
  }
  for (int i = 0; status == 0 && i < 3; i++) {
    if (!is_open[i]) {
      status = posix_spawn_file_actions_addopen(actions, i, "/dev/null",
                                                i == 0 ? O_RDONLY : O_WRONLY, 0);
    }
  }
  if (status == 0) status = actions_close_from(actions, CIPC_PROCESS_CONNECTION + (int)count);
  return status;
}

static int attributes_make(posix_spawnattr_t *attributes) {
  static const int kept[] = {SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
  sigset_t none, defaults;
  sigemptyset(&none);
  sigfillset(&defaults);
  // An ignored one of these stays ignored; one with a handler gets its default by execve.
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) sigdelset(&defaults, kept[i]);
  int status = posix_spawnattr_setsigmask(attributes, &none);
  if (status == 0) status = posix_spawnattr_setsigdefault(attributes, &defaults);
  if (status == 0) {
    status = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  }
  return status;
}

static int spawn_file(pid_t *pid, const cipc_process_options_t *options, const int *sources,
                      size_t count, const int *is_open) {
  static char variable[] = VARIABLE "=3";
  _Static_assert(CIPC_PROCESS_CONNECTION == 3, "the variable spells it");
  static char no_name[] = "cipc";
  static char *no_arguments[] = {no_name, NULL};
  char *const *arguments = options->arguments != NULL ? options->arguments : program.arguments;
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
  status = actions_make(&actions, sources, count, is_open);
  if (status == 0) status = attributes_make(&attributes);
  if (status == 0) {
    status = posix_spawn(pid, options->executable != NULL ? options->executable : OWN_FILE,
                         &actions, &attributes, arguments, environment);
  }
  (void)posix_spawnattr_destroy(&attributes);
out_actions:
  (void)posix_spawn_file_actions_destroy(&actions);
out_environment:
  free(environment);
  return -status;
}

/// Watches over the child that was just started and lets it go on, or ends it.
static int adopt(cipc_process_t *process, int connection) {
  process->pidfd = pidfd_open_of(process->pid);
  if (process->pidfd == CIPC_ESRCH) {
    // Another program that was quick, and whose status somebody else took already.
    process->ended = ended_word(CIPC_PROCESS_UNKNOWN, 0);
    process->pidfd = eventfd(1, EFD_CLOEXEC);  // readable, as a pidfd is then
    return process->pidfd < 0 ? -errno : CIPC_OK;
  }
  if (process->pidfd < 0) {
    int status = process->pidfd;
    (void)kill(process->pid, SIGKILL);
    while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return status;
  }
  // Fails only when the child has died, which its status will say.
  (void)send(connection, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  return CIPC_OK;
}

int cipc_process_spawn(cipc_process_t **process, int *connection, cipc_process_entry_t entry,
                       const cipc_process_options_t *options) {
  static const cipc_process_options_t no_options;
  if (options == NULL) options = &no_options;
  if (process == NULL || options->descriptor_count > DESCRIPTORS_MAX ||
      (options->descriptors == NULL && options->descriptor_count > 0)) {
    return CIPC_EINVAL;
  }
  if (would_run_again(options->executable)) return CIPC_ENOBOOTSTRAP;
  if (entry == NULL && program.default_entry == NULL && options->executable == NULL) {
    return CIPC_EINVAL;
  }
  greeting_t greeting;
  int status = greeting_make(&greeting, entry, options->name);
  if (status < 0) return status;
  given_up_sweep();

  int is_open[3];
  for (int i = 0; i < 3; i++) is_open[i] = fcntl(i, F_GETFD) >= 0;
  size_t count = 1 + options->descriptor_count;
  int sources[1 + DESCRIPTORS_MAX];
  size_t copied = 0;
  int ends[2] = {-1, -1};
  cipc_process_t *made = calloc(1, sizeof *made);
  if (made == NULL) return CIPC_ENOMEM;

  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
    status = -errno;
    goto out;
  }
  if (send(ends[0], &greeting, sizeof greeting, MSG_NOSIGNAL | MSG_DONTWAIT) !=
      (ssize_t)sizeof greeting) {
    status = -errno;
    goto out;
  }
  if (count == 1) {
    sources[0] = ends[1];
  } else {
    // Copies above every number of the child's, so that no dup2 there overwrites
    // a descriptor that a later one needs.
    for (; copied < count; copied++) {
      int source = copied == 0 ? ends[1] : options->descriptors[copied - 1];
      sources[copied] = fcntl(source, F_DUPFD_CLOEXEC, CIPC_PROCESS_CONNECTION + (int)count);
      if (sources[copied] < 0) {
        status = -errno;
        goto out;
      }
    }
  }
  status = spawn_file(&made->pid, options, sources, count, is_open);
  if (status == CIPC_OK) status = adopt(made, ends[0]);

out:
  for (size_t i = 0; i < copied; i++) close(sources[i]);
  if (ends[1] >= 0) close(ends[1]);
  if (status < 0 || connection == NULL) {
    if (ends[0] >= 0) close(ends[0]);
  } else {
    *connection = ends[0];
  }
  if (status < 0) {
    free(made);
    return status;
  }
  *process = made;
  return CIPC_OK;
}
