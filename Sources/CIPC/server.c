/* SPDX-License-Identifier: Apache-2.0 */
// The fork server: a child of this program, with one thread and nothing in its memory, that forks
// itself on request. Its socket is this process's alone, so that its end is the end of the server.
//
// A request is a frame with descriptors: the socket to answer on, the caller's directory, and then
// what the child gets, in the order of its numbers. The answer is the child's pid with its pidfd,
// and later, on the same socket, how the child ended.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cipc/frame.h"
#include "start.h"

extern char **environ;

#define NAME "cipc-server"
#define REQUEST_MAX (UINT64_C(64) << 20)
// In front of what the child gets.
#define OWN_DESCRIPTORS 2
// P_PIDFD, which older libc headers lack.
#define WAIT_PIDFD 3

/// Signals of a terminal: the child ignores those that the caller ignores.
static const int terminal_signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
#define TERMINAL_SIGNALS (sizeof terminal_signals / sizeof *terminal_signals)

/// The beginning of a request. The environment follows, each entry with its zero byte.
typedef struct request {
  cipc_greeting_t greeting;
  uint64_t limits[CIPC_START_LIMITS][2];
  uint32_t file_mask;
  uint32_t ignored_signals;
  uint32_t new_group;
  uint32_t environment_count;
  /// Of the caller: its thread's.
  int32_t nice;
  /// In bytes; 0 where the kernel did not tell.
  uint32_t affinity_size;
  uint8_t affinity[CIPC_START_AFFINITY_MAX];
} request_t;

typedef struct answer {
  int32_t status;
  int32_t pid;
} answer_t;

// MARK: - The server

typedef struct served {
  int pidfd;
  int report;
  struct served *next, *previous;
} served_t;

/// Those that run. Only leak checkers in the children look at it: the kernel has the pointers else.
static served_t *all_served;

static void close_all(const int *descriptors, size_t count) {
  for (size_t i = 0; i < count; i++) close(descriptors[i]);
}

/// Sends with a descriptor, or with none where that is negative.
static int answer_send(int report, answer_t answer, int pidfd) {
  struct iovec bytes = {&answer, sizeof answer};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (pidfd >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &pidfd, sizeof pidfd);
  }
  ssize_t size;
  do {
    size = sendmsg(report, &message, MSG_NOSIGNAL);
  } while (size < 0 && errno == EINTR);
  return size < 0 ? -errno : CIPC_OK;
}

/// The request's environment, made in place; the child's for ever. NULL where the bytes are wrong.
static char **environment_parse(char *bytes, size_t size, size_t count) {
  if (count > size) return NULL;
  char **list = malloc((count + 1) * sizeof *list);
  if (list == NULL) return NULL;
  for (size_t i = 0; i < count; i++) {
    char *end = memchr(bytes, '\0', size);
    if (end == NULL) {
      free(list);
      return NULL;
    }
    list[i] = bytes;
    size -= (size_t)(end - bytes) + 1;
    bytes = end + 1;
  }
  list[count] = NULL;
  return list;
}

/// getrlimit and setrlimit in one; by number, since the type of a resource differs between libcs.
static int limit(int resource, const uint64_t *wanted, uint64_t *here) {
  return syscall(SYS_prlimit64, 0, resource, wanted, here) < 0 ? -errno : CIPC_OK;
}

/// The server's, which its children begin with.
static uint64_t own_limits[CIPC_START_LIMITS][2];

static void limits_apply(const request_t *request) {
  for (int i = 0; i < CIPC_START_LIMITS; i++) {
    const uint64_t *here = own_limits[i];
    uint64_t wanted[2] = {request->limits[i][0], request->limits[i][1]};
    if (here[0] == wanted[0] && here[1] == wanted[1]) continue;
    if (limit(i, wanted, NULL) == CIPC_OK) continue;
    // The caller may have raised its hard limit, by a right that it alone has.
    if (wanted[1] > here[1]) wanted[1] = here[1];
    if (wanted[0] > here[1]) wanted[0] = here[1];
    (void)!limit(i, wanted, NULL);
  }
}

/// The processors and the priority of the caller. It may have got them by a right that it alone
/// has.
static void schedule_apply(const request_t *request) {
  if (request->affinity_size > 0) {
    uint8_t here[CIPC_START_AFFINITY_MAX];
    long size = syscall(SYS_sched_getaffinity, 0, sizeof here, here);
    if (size != (long)request->affinity_size ||
        memcmp(here, request->affinity, (size_t)size) != 0) {
      (void)!syscall(SYS_sched_setaffinity, 0, request->affinity_size, request->affinity);
    }
  }
  errno = 0;
  int nice = getpriority(PRIO_PROCESS, 0);
  if (errno == 0 && nice != request->nice) (void)!setpriority(PRIO_PROCESS, 0, request->nice);
}

/// In the forked child; does not return. What it cannot be given, it must not run without.
static void serve_child(request_t *request, char **environment, int *descriptors, size_t count) {
  if (fchdir(descriptors[1]) < 0) _exit(CIPC_PROCESS_NO_ENTRY);
  if (cipc_start_place(descriptors + OWN_DESCRIPTORS, count - OWN_DESCRIPTORS) < 0) {
    _exit(CIPC_PROCESS_NO_ENTRY);
  }
  free(descriptors);
  (void)umask((mode_t)request->file_mask);
  if (request->new_group) (void)setpgid(0, 0);
  for (size_t i = 0; i < TERMINAL_SIGNALS; i++) {
    int is_ignored = (request->ignored_signals & (1u << i)) != 0;
    (void)signal(terminal_signals[i], is_ignored ? SIG_IGN : SIG_DFL);
  }
  environ = environment;
  limits_apply(request);
  schedule_apply(request);
  request->greeting.name[sizeof request->greeting.name - 1] = '\0';
  cipc_child_begin(&request->greeting, CIPC_PROCESS_CONNECTION);
  cipc_child_become(&request->greeting, CIPC_PROCESS_CONNECTION);
  cipc_child_run();
  _exit(CIPC_PROCESS_NO_ENTRY);
}

/// Forks the child of a request, and answers. Takes the descriptors over.
static void serve(int set, uint8_t *bytes, size_t length, int *descriptors, size_t count) {
  request_t *request = (request_t *)(void *)bytes;
  char **environment = NULL;
  answer_t answer = {CIPC_EINVAL, 0};
  if (count > OWN_DESCRIPTORS + CIPC_PROCESS_CONNECTION && length >= sizeof *request &&
      request->affinity_size <= sizeof request->affinity &&
      count - OWN_DESCRIPTORS == CIPC_PROCESS_CONNECTION + (size_t)request->greeting.count) {
    environment = environment_parse((char *)bytes + sizeof *request, length - sizeof *request,
                                    request->environment_count);
  }
  served_t *served = malloc(sizeof *served);
  if (environment == NULL || served == NULL) goto out;
  pid_t pid = fork();
  if (pid == 0) {
    free(served);
    serve_child(request, environment, descriptors, count);
  }
  if (pid < 0) {
    answer.status = -errno;
    goto out;
  }
  if (request->new_group) (void)setpgid(pid, pid);
  answer = (answer_t){CIPC_OK, pid};
  *served = (served_t){cipc_pidfd_open(pid), descriptors[0], all_served, NULL};
  struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = served}};
  if (served->pidfd < 0) {
    answer.status = served->pidfd;
  } else if (epoll_ctl(set, EPOLL_CTL_ADD, served->pidfd, &event) < 0) {
    answer.status = -errno;
  }
  if (answer.status < 0) {
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (served->pidfd >= 0) close(served->pidfd);
    goto out;
  }
  // Fails only when the caller has gone; then the end of our socket comes next.
  (void)answer_send(served->report, answer, served->pidfd);
  if (all_served != NULL) all_served->previous = served;
  all_served = served;
  served = NULL;
out:
  if (answer.status < 0 && count > 0) (void)answer_send(descriptors[0], answer, -1);
  // The socket stays open for the report where there is a child.
  if (answer.status < 0) {
    close_all(descriptors, count);
  } else {
    close_all(descriptors + 1, count - 1);
  }
  free(served);
  free(environment);
  free(bytes);
  free(descriptors);
}

static void report(int set, served_t *served) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  if (waitid((idtype_t)WAIT_PIDFD, (id_t)served->pidfd, &info, WEXITED | WNOHANG) < 0 ||
      info.si_pid == 0) {
    return;
  }
  uint64_t ended = cipc_ended_word(
      info.si_code == CLD_EXITED ? CIPC_PROCESS_EXITED : CIPC_PROCESS_SIGNALLED, info.si_status);
  (void)send(served->report, &ended, sizeof ended, MSG_NOSIGNAL | MSG_DONTWAIT);
  // Not left to close: a child that was just forked may have a copy still.
  (void)epoll_ctl(set, EPOLL_CTL_DEL, served->pidfd, NULL);
  close(served->pidfd);
  close(served->report);
  if (served->next != NULL) served->next->previous = served->previous;
  if (served->previous != NULL) {
    served->previous->next = served->next;
  } else {
    all_served = served->next;
  }
  free(served);
}

static int server_main(int connection) {
  // A Ctrl-C is for the program; the server ends when that does.
  (void)signal(SIGHUP, SIG_IGN);
  (void)signal(SIGINT, SIG_IGN);
  (void)signal(SIGQUIT, SIG_IGN);
  for (int i = 0; i < CIPC_START_LIMITS; i++) (void)!limit(i, NULL, own_limits[i]);
  // Two descriptors for each child; children get the caller's limit.
  uint64_t *files = own_limits[RLIMIT_NOFILE];
  files[0] = files[1];
  (void)!limit(RLIMIT_NOFILE, files, NULL);
  int set = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = NULL}};
  if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, connection, &event) < 0) _exit(1);
  for (;;) {
    struct epoll_event events[64];
    int count = epoll_wait(set, events, 64, -1);
    bool is_asked = false;
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == NULL) {
        is_asked = true;
      } else {
        report(set, events[i].data.ptr);
      }
    }
    if (!is_asked) continue;
    uint8_t *bytes;
    size_t length;
    int *descriptors;
    size_t descriptor_count;
    int status = cipc_frame_read(connection, REQUEST_MAX, &bytes, &length, &descriptors,
                                 &descriptor_count, CIPC_NO_DEADLINE);
    // _exit: what constructors of the program registered is not the server's to run.
    if (status == CIPC_EPEERCLOSED) _exit(0);
    if (status == CIPC_EDESCRIPTORSLOST) _exit(2);
    if (status < 0) _exit(1);
    serve(set, bytes, length, descriptors, descriptor_count);
  }
}

// MARK: - Its parent

/// Under the guard.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static cipc_process_t *server;
static int server_socket = -1;
/// How many servers there were, so that two threads that find one dead replace it once.
static uint64_t generation;

/// With the guard.
static int server_get(void) {
  if (server != NULL) return CIPC_OK;
  cipc_process_options_t options;
  memset(&options, 0, sizeof options);
  options.name = NAME;
  // It would keep pipes open, and directories busy, that the program is done with.
  for (int i = 0; i < 3; i++) options.streams[i].kind = CIPC_PROCESS_NULL;
  options.directory = "/";
  options.is_daemon = 1;
  int status = cipc_process_spawn(&server, &server_socket, server_main, &options);
  if (status == CIPC_OK) generation++;
  return status;
}

// For a server that was killed to be gone; only what it was killed for could take longer.
#define DROP_NANOSECONDS INT64_C(1000000000)

/// With the guard. CIPC_EPEERCLOSED, or CIPC_EBOOTSTRAP where it could not be given its entry: then
/// the next one cannot either.
static int server_drop(void) {
  if (server == NULL) return CIPC_EPEERCLOSED;
  close(server_socket);
  (void)!cipc_process_signal(server, SIGKILL);
  cipc_process_status_t ended;
  (void)!cipc_process_wait(server, cipc_clock_deadline(DROP_NANOSECONDS), &ended);
  cipc_process_release(server);
  server = NULL;
  server_socket = -1;
  bool had_entry = ended.end != CIPC_PROCESS_EXITED || ended.value != CIPC_PROCESS_NO_ENTRY;
  return had_entry ? CIPC_EPEERCLOSED : CIPC_EBOOTSTRAP;
}

void cipc_server_fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
void cipc_server_fork_parent(void) { (void)pthread_mutex_unlock(&guard); }
void cipc_server_fork_child(void) {
  if (server != NULL) {
    close(server_socket);
    // Not reaped: it is the parent's. Its lifeline is closed already.
    cipc_process_free(server);
    server = NULL;
    server_socket = -1;
  }
  (void)pthread_mutex_unlock(&guard);
}

/// The mask of this process. Not by umask(2) where there are other threads, which would create
/// files under the wrong one meanwhile, as a signal handler would; where there are none it is a
/// hundred times as fast.
static uint32_t file_mask(void) {
  if (cipc_thread_count() == 1) {
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    mode_t own = umask(022);
    (void)umask(own);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return (uint32_t)own;
  }
  uint32_t mask = 022;
  char text[512];
  int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (file < 0) return mask;
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  text[size > 0 ? size : 0] = '\0';
  // The program's name stands in front of it, in the first line; a line feed in it is escaped.
  const char *line = strstr(text, "\nUmask:");
  if (line != NULL) mask = (uint32_t)strtoul(line + sizeof "\nUmask:" - 1, NULL, 8);
  return mask & 0777;
}

/// The request; to be freed.
static uint8_t *request_make(const cipc_start_t *start, size_t *length) {
  char *const *environment =
      start->options->environment != NULL ? start->options->environment : environ;
  size_t count = 0, size = sizeof(request_t);
  for (; environment != NULL && environment[count] != NULL; count++) {
    size += strlen(environment[count]) + 1;
  }
  uint8_t *bytes = calloc(1, size);
  if (bytes == NULL) return NULL;
  request_t *request = (request_t *)(void *)bytes;
  request->greeting = start->greeting;
  for (int i = 0; i < CIPC_START_LIMITS; i++) (void)!limit(i, NULL, request->limits[i]);
  long affinity_size =
      syscall(SYS_sched_getaffinity, 0, sizeof request->affinity, request->affinity);
  if (affinity_size > 0) request->affinity_size = (uint32_t)affinity_size;
  request->nice = getpriority(PRIO_PROCESS, 0);
  for (size_t i = 0; i < TERMINAL_SIGNALS; i++) {
    struct sigaction action;
    if (sigaction(terminal_signals[i], NULL, &action) == 0 && action.sa_handler == SIG_IGN) {
      request->ignored_signals |= 1u << i;
    }
  }
  request->file_mask = file_mask();
  request->new_group = start->options->new_group != 0;
  uint8_t *next = bytes + sizeof *request, *end = bytes + size;
  for (size_t i = 0; i < count; i++) {
    // A thread that changes the environment meanwhile must not make us write past the end.
    size_t entry = strlen(environment[i]) + 1;
    if (entry > (size_t)(end - next)) break;
    memcpy(next, environment[i], entry);
    next += entry;
    request->environment_count++;
  }
  *length = (size_t)(next - bytes);
  return bytes;
}

static int answer_receive(int report, answer_t *answer, int *pidfd) {
  struct iovec bytes = {answer, sizeof *answer};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  ssize_t size;
  do {
    size = recvmsg(report, &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size == 0 || (size < 0 && errno == ECONNRESET)) return CIPC_EPEERCLOSED;
  if (size < 0) return -errno;
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
      header->cmsg_len == CMSG_LEN(sizeof(int))) {
    memcpy(pidfd, CMSG_DATA(header), sizeof *pidfd);
  }
  if (size != (ssize_t)sizeof *answer) return CIPC_EBOOTSTRAP;
  if (answer->status < 0) return answer->status;
  if (*pidfd < 0) {
    return (message.msg_flags & MSG_CTRUNC) != 0 ? CIPC_EMFILE : CIPC_EBOOTSTRAP;
  }
  return CIPC_OK;
}

/// CIPC_EPEERCLOSED: the server died over this.
static int start_once(cipc_start_t *start, int *answering) {
  int descriptors[OWN_DESCRIPTORS + CIPC_START_SOURCES_MAX];
  descriptors[0] = *answering;
  descriptors[1] = start->directory;
  memcpy(descriptors + OWN_DESCRIPTORS, start->sources, start->count * sizeof *start->sources);
  size_t length;
  uint8_t *bytes = request_make(start, &length);
  if (bytes == NULL) return CIPC_ENOMEM;

  (void)pthread_mutex_lock(&guard);
  int status = server_get();
  uint64_t asked = generation;
  if (status == CIPC_OK) {
    status = cipc_frame_write(server_socket, bytes, length, descriptors,
                              OWN_DESCRIPTORS + start->count, CIPC_NO_DEADLINE);
    // Part of a frame may be out.
    if (status < 0 && status != CIPC_EBADF) {
      int dropped = server_drop();
      if (status == CIPC_EPEERCLOSED) status = dropped;
    }
  }
  (void)pthread_mutex_unlock(&guard);
  free(bytes);
  close(*answering);
  *answering = -1;
  if (status < 0) return status;

  answer_t answer;
  status = answer_receive(start->made->report, &answer, &start->made->pidfd);
  if (status == CIPC_EPEERCLOSED) {
    (void)pthread_mutex_lock(&guard);
    if (generation == asked) status = server_drop();
    (void)pthread_mutex_unlock(&guard);
  }
  if (status == CIPC_OK) start->made->pid = answer.pid;
  return status;
}

int cipc_process_fork_server(cipc_process_t **process, int *connection, cipc_process_entry_t entry,
                             const cipc_process_options_t *options) {
  static const cipc_process_options_t no_options;
  if (options == NULL) options = &no_options;
  if (process == NULL || options->executable != NULL || options->arguments != NULL) {
    return CIPC_EINVAL;
  }
  int status = cipc_process_can_start(entry, NULL);
  if (status < 0) return status;
  // A server that was killed since the last start is found out by asking it.
  for (int tries = 0;; tries++) {
    cipc_start_t start;
    int answering[2] = {-1, -1};
    status = cipc_start_prepare(&start, entry, options);
    if (status == CIPC_OK && start.directory < 0) {
      start.directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
      if (start.directory < 0) status = -errno;
    }
    if (status == CIPC_OK && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, answering) < 0) {
      status = -errno;
    }
    if (status == CIPC_OK) {
      start.made->report = answering[0];
      status = start_once(&start, &answering[1]);
      if (answering[1] >= 0) close(answering[1]);
    }
    if (status == CIPC_OK) status = cipc_start_adopt(&start);
    status = cipc_start_finish(&start, status, process, connection);
    if (status != CIPC_EPEERCLOSED || tries > 0) return status;
  }
}
