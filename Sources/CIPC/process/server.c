/* SPDX-License-Identifier: Apache-2.0 */
// The fork server: a child of this program, with one thread and nothing in its memory, that forks
// itself on request. Its socket is this process's alone, so that its end is the end of the server.
//
// A request is a frame with descriptors: the socket to answer on, the caller's directory, and then
// what the child gets, in the order of its numbers. The answer is the child's pid with its pidfd,
// and later, on the same socket, how the child ended.
//
// Once a request has been answered the server forks the child of the next one, the *spare*. It has
// the kernel map what its task will need, then sleeps in a read from a socket that the server alone
// has the other end of, and ends when that closes. A request goes to the spare where there is one
// and it takes it at once; else the server forks as if there had never been one. So the fork and
// most page faults are done while the caller does something else; where there is one processor for
// both, there is no spare.
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fork_hooks.h"
#include "base/interrupt.h"
#include "cipc/frame.h"
#include "process/start.h"
#include "stream/frame.h"

extern char **environ;

#define NAME "cipc-server"
#define SPARE_NAME "cipc-spare"
// Has the dynamic linker bind all functions of the server at once: what is bound there is bound in
// its children, and each of them would spend a third of its time on some dozens.
#define BIND_NOW "LD_BIND_NOW=1"
#define REQUEST_MAX (UINT64_C(64) << 20)
// In front of what the child gets.
#define OWN_DESCRIPTORS 2
// P_PIDFD, which older libc headers lack.
#define WAIT_PIDFD 3
/// What goes to a spare, as one packet. A larger environment is worth a fork.
#define SPARE_REQUEST_MAX ((size_t)64 << 10)
/// As much as most requests are.
#define SPARE_REQUEST_USUAL ((size_t)8 << 10)
#define SPARE_DESCRIPTORS_MAX 250

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
  pid_t pid;
  int pidfd;
  /// Of a spare: none, -1.
  int report;
  struct served *next, *previous;
} served_t;

/// Those that run.
static served_t *all_served;

/// The child of the next request; NULL where there is none.
static served_t *spare;
/// Our end of its socket, and of its lifeline, of which we keep the spare's end as well: so a spare
/// that is stopped, and reads no end of file, dies with its server all the same. One that is to
/// have a request must not.
static int spare_socket = -1, spare_line = -1, spare_line_end = -1;

void (*cipc_server_warm_up)(int is_spare);

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

static bool is_environment(const uint8_t *bytes, size_t size, size_t count) {
  for (; count > 0; count--) {
    const uint8_t *end = memchr(bytes, '\0', size);
    if (end == NULL) return false;
    size -= (size_t)(end - bytes) + 1;
    bytes = end + 1;
  }
  return true;
}

/// The environment of a request that has been checked, made in place; the child's for ever.
static char **environment_make(request_t *request) {
  size_t count = request->environment_count;
  char **list = malloc((count + 1) * sizeof *list);
  if (list == NULL) _exit(CIPC_PROCESS_NO_ENTRY);
  char *next = (char *)request + sizeof *request;
  for (size_t i = 0; i < count; i++) {
    list[i] = next;
    next += strlen(next) + 1;
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

/// In the forked child, with the directory and the sources; does not return. What it cannot be
/// given, it must not run without.
static void serve_child(request_t *request, const int *descriptors, size_t count) {
  if (fchdir(descriptors[0]) < 0 || cipc_start_place(descriptors + 1, count - 1) < 0) {
    _exit(CIPC_PROCESS_NO_ENTRY);
  }
  (void)umask((mode_t)request->file_mask);
  if (request->new_group) (void)setpgid(0, 0);
  for (size_t i = 0; i < TERMINAL_SIGNALS; i++) {
    int is_ignored = (request->ignored_signals & (1u << i)) != 0;
    (void)signal(terminal_signals[i], is_ignored ? SIG_IGN : SIG_DFL);
  }
  environ = environment_make(request);
  limits_apply(request);
  schedule_apply(request);
  request->greeting.name[sizeof request->greeting.name - 1] = '\0';
  cipc_child_begin(&request->greeting, CIPC_PROCESS_CONNECTION);
  cipc_child_become(&request->greeting, CIPC_PROCESS_CONNECTION);
  cipc_child_run();
  _exit(CIPC_PROCESS_NO_ENTRY);
}

/// Forks, and watches the child: NULL and an errno, or the child; in the child itself `*in_child`.
static served_t *child_fork(int set, bool *in_child) {
  *in_child = false;
  served_t *served = malloc(sizeof *served);
  if (served == NULL) return NULL;
  pid_t pid = fork();
  if (pid == 0) *in_child = true;
  if (pid <= 0) {
    int error = errno;
    free(served);
    errno = error;
    return NULL;
  }
  *served = (served_t){pid, cipc_pidfd_open(pid), -1, all_served, NULL};
  struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = served}};
  if (served->pidfd < 0 || epoll_ctl(set, EPOLL_CTL_ADD, served->pidfd, &event) < 0) {
    int error = served->pidfd < 0 ? -served->pidfd : errno;
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (served->pidfd >= 0) close(served->pidfd);
    free(served);
    errno = error;
    return NULL;
  }
  if (all_served != NULL) all_served->previous = served;
  all_served = served;
  return served;
}

// MARK: Its spare

static void spare_forget(void) {
  close(spare_socket);
  close(spare_line);
  close(spare_line_end);
  spare = NULL;
  spare_socket = spare_line = spare_line_end = -1;
}

static void spare_drop(void) {
  if (spare == NULL) return;
  (void)syscall(SYS_pidfd_send_signal, spare->pidfd, SIGKILL, NULL, 0);
  spare_forget();
}

/// In the spare; does not return.
static void spare_main(int socket) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(SPARE_DESCRIPTORS_MAX * sizeof(int))];
  } control;
  uint8_t *bytes = malloc(SPARE_REQUEST_MAX);
  if (bytes == NULL) _exit(1);
  (void)prctl(PR_SET_NAME, SPARE_NAME, 0, 0, 0);
  memset(bytes, 0, SPARE_REQUEST_USUAL);
  if (cipc_server_warm_up != NULL) cipc_server_warm_up(1);
  cipc_image_touch_ends();
  struct iovec space = {bytes, SPARE_REQUEST_MAX};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &space;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  ssize_t size;
  do {
    size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  // The server has gone, or has no use for a spare.
  if (size <= 0) _exit(0);
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || header == NULL) {
    _exit(CIPC_PROCESS_NO_ENTRY);
  }
  size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  int descriptors[SPARE_DESCRIPTORS_MAX];
  memcpy(descriptors, CMSG_DATA(header), count * sizeof *descriptors);
  serve_child((request_t *)(void *)bytes, descriptors, count);
}

static bool has_several_processors(void) {
  uint8_t set[CIPC_START_AFFINITY_MAX];
  long size = syscall(SYS_sched_getaffinity, 0, sizeof set, set);
  int count = 0;
  for (long i = 0; i < size; i++) count += __builtin_popcount(set[i]);
  return count > 1;
}

/// Forks one. Where that fails, the next request will say why.
static void spare_fork(int set) {
  int ends[2], line[2];
  if (spare != NULL || !has_several_processors() ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
    return;
  if (pipe2(line, O_CLOEXEC) < 0) {
    close(ends[0]);
    close(ends[1]);
    return;
  }
  // The spare must not have it, also where it is stopped before it runs.
  close(line[1]);
  bool in_child;
  served_t *made = child_fork(set, &in_child);
  if (in_child) {
    // Nothing of the server's stays open here while it may be killed, and this one be stopped.
    const int kept[] = {0, 1, 2, ends[1], line[0]};
    if (cipc_start_place(kept, 5) < 0) _exit(1);
    spare_main(3);
  }
  close(ends[1]);
  spare = made;
  spare_socket = ends[0];
  spare_line_end = line[0];
  spare_line = made != NULL ? cipc_lifeline_writer(line[0]) : -1;
  if (made == NULL) {
    spare_forget();
  } else if (spare_line < 0 || cipc_lifeline_arm(line[0], made->pid, -1) < 0) {
    spare_drop();
  }
}

/// The reading end of a daemon's lifeline, or -1, of a request that has been checked. The
/// descriptors are the directory and what the child gets.
static int lifeline_of(const request_t *request, const int *descriptors) {
  uint32_t number = request->greeting.lifeline;
  return number == 0 ? -1 : descriptors[1 + number];
}

/// Makes the spare the child of a request: the child, or NULL where it cannot take it now.
static served_t *spare_take(const uint8_t *bytes, size_t length, const int *descriptors,
                            size_t count) {
  if (spare == NULL || length > SPARE_REQUEST_MAX || count > SPARE_DESCRIPTORS_MAX) return NULL;
  siginfo_t info;
  memset(&info, 0, sizeof info);
  if (waitid((idtype_t)WAIT_PIDFD, (id_t)spare->pidfd, &info,
             WEXITED | WSTOPPED | WNOHANG | WNOWAIT) < 0 ||
      info.si_pid != 0) {
    spare_drop();
    return NULL;
  }
  int line = lifeline_of((const request_t *)(const void *)bytes, descriptors);
  if (line >= 0 && cipc_lifeline_arm(line, spare->pid, -1) < 0) {
    spare_drop();
    return NULL;
  }
  // From here on it ends by itself where we do before it has the request, or, a daemon, with its
  // starter.
  cipc_lifeline_disarm(spare_line_end);
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(SPARE_DESCRIPTORS_MAX * sizeof(int))];
  } control;
  struct iovec content = {(void *)(uintptr_t)bytes, length};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &content;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = (socklen_t)CMSG_SPACE(count * sizeof *descriptors);
  memset(&control, 0, message.msg_controllen);
  control.header.cmsg_level = SOL_SOCKET;
  control.header.cmsg_type = SCM_RIGHTS;
  control.header.cmsg_len = (socklen_t)CMSG_LEN(count * sizeof *descriptors);
  memcpy(CMSG_DATA(&control.header), descriptors, count * sizeof *descriptors);
  // A packet is sent whole or not at all.
  if (sendmsg(spare_socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)length) {
    spare_drop();
    return NULL;
  }
  served_t *taken = spare;
  spare_forget();
  return taken;
}

// MARK: Its work

static bool is_request(const request_t *request, size_t length, size_t descriptor_count) {
  return descriptor_count > OWN_DESCRIPTORS + CIPC_PROCESS_CONNECTION &&
         length >= sizeof *request && request->affinity_size <= sizeof request->affinity &&
         descriptor_count - OWN_DESCRIPTORS ==
             CIPC_PROCESS_CONNECTION + (size_t)request->greeting.count &&
         request->greeting.lifeline < descriptor_count - OWN_DESCRIPTORS &&
         is_environment((const uint8_t *)(request + 1), length - sizeof *request,
                        request->environment_count);
}

/// Makes the child of a request, and answers. Takes the descriptors over.
static void serve(int set, uint8_t *bytes, size_t length, int *descriptors, size_t count) {
  request_t *request = (request_t *)(void *)bytes;
  int answering = count > 0 ? descriptors[0] : -1;
  answer_t answer = {CIPC_EINVAL, 0};
  served_t *served = NULL;
  if (is_request(request, length, count)) {
    // The socket to answer on stays here.
    served = spare_take(bytes, length, descriptors + 1, count - 1);
    if (served == NULL) {
      bool in_child;
      served = child_fork(set, &in_child);
      if (in_child) serve_child(request, descriptors + 1, count - 1);
      if (served == NULL) answer.status = -errno;
      // Before the answer, since nobody else can know of it by then; the spare's is armed already.
      int line = served != NULL ? lifeline_of(request, descriptors + 1) : -1;
      int armed = line >= 0 ? cipc_lifeline_arm(line, served->pid, -1) : CIPC_OK;
      if (armed < 0) {
        (void)syscall(SYS_pidfd_send_signal, served->pidfd, SIGKILL, NULL, 0);
        served = NULL;
        answer.status = armed;
      }
    }
  }
  // Before the answer: whoever has that may rely on the child having the only copies.
  if (count > 0) close_all(descriptors + 1, count - 1);
  int pidfd = -1;
  if (served != NULL) {
    if (request->new_group) (void)setpgid(served->pid, served->pid);
    answer = (answer_t){CIPC_OK, served->pid};
    served->report = answering;
    pidfd = served->pidfd;
  }
  // Fails only when the caller has gone; then the end of our socket comes next.
  if (answering >= 0) (void)answer_send(answering, answer, pidfd);
  if (served == NULL && answering >= 0) close(answering);
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
  if (served == spare) spare_forget();
  uint64_t ended = cipc_ended_word(
      info.si_code == CLD_EXITED ? CIPC_PROCESS_EXITED : CIPC_PROCESS_SIGNALLED, info.si_status);
  if (served->report >= 0) {
    (void)send(served->report, &ended, sizeof ended, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(served->report);
  }
  // Not left to close: a child that was just forked may have a copy still.
  (void)epoll_ctl(set, EPOLL_CTL_DEL, served->pidfd, NULL);
  close(served->pidfd);
  if (served->next != NULL) served->next->previous = served->previous;
  if (served->previous != NULL) {
    served->previous->next = served->next;
  } else {
    all_served = served->next;
  }
  free(served);
}

static int server_main(int connection) {
  // Nobody sees it in /proc/PID/environ of its children; what they execute has their own.
  if (environ != NULL && environ[0] != NULL && strcmp(environ[0], BIND_NOW) == 0) {
    memset(environ[0], 0, sizeof BIND_NOW);
    environ++;
  }
  // A Ctrl-C is for the program; the server ends when that does. A Ctrl-Z as well: a program that
  // does not stop shall not find its server stopped. Each child gets what the caller has.
  for (size_t i = 0; i < TERMINAL_SIGNALS; i++) (void)signal(terminal_signals[i], SIG_IGN);
  for (int i = 0; i < CIPC_START_LIMITS; i++) (void)!limit(i, NULL, own_limits[i]);
  // Two descriptors for each child; children get the caller's limit.
  uint64_t *files = own_limits[RLIMIT_NOFILE];
  files[0] = files[1];
  (void)!limit(RLIMIT_NOFILE, files, NULL);
  int set = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = NULL}};
  if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, connection, &event) < 0) _exit(1);
  bool is_warm = false;
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
    // Not sooner: the first child is waited for.
    if (!is_warm && cipc_server_warm_up != NULL) cipc_server_warm_up(0);
    is_warm = true;
    spare_fork(set);
  }
}

// MARK: - Its parent

/// Never held while anybody waits for the server, so that one that does not take its requests holds
/// up no fork.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
/// Under the guard: whether a thread has the turn to write to the server. Others wait for it to be
/// passed on, by the monotonic clock, as long as their deadline says.
static bool is_taken;
static pthread_cond_t passed;
static pthread_once_t passed_once = PTHREAD_ONCE_INIT;
/// Under the guard.
static cipc_process_t *server;
static int server_socket = -1;
/// How many servers there were, so that two threads that find one dead replace it once.
static uint64_t generation;
/// Whether a server has answered, and whether they bind lazily: since one died that had never
/// answered, as it does where a library lacks a function that nobody calls.
static bool has_answered, is_lazy;

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
  static char bind_now[] = BIND_NOW;
  size_t count = 0;
  while (environ != NULL && environ[count] != NULL) count++;
  char **environment = malloc((count + 2) * sizeof *environment);
  if (environment == NULL) return CIPC_ENOMEM;
  size_t kept = 0;
  // In front: the dynamic linker goes by the last one, which is the user's.
  if (!is_lazy) environment[kept++] = bind_now;
  // Read once: a thread that takes a variable away may have shortened the list.
  for (size_t i = 0; i < count && (environment[kept] = environ[i]) != NULL; i++) kept++;
  environment[kept] = NULL;
  options.environment = environment;
  int status = cipc_process_spawn(&server, &server_socket, server_main, &options);
  free(environment);
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
  cipc_process_status_t ended = {.end = CIPC_PROCESS_RUNNING};
  (void)!cipc_process_wait(server, cipc_clock_deadline(DROP_NANOSECONDS), &ended);
  cipc_process_release(server);
  server = NULL;
  server_socket = -1;
  bool had_entry = ended.end != CIPC_PROCESS_EXITED || ended.value != CIPC_PROCESS_NO_ENTRY;
  return had_entry ? CIPC_EPEERCLOSED : CIPC_EBOOTSTRAP;
}

/// With the guard.
static int server_failed(void) {
  if (!__atomic_load_n(&has_answered, __ATOMIC_RELAXED)) is_lazy = true;
  return server_drop();
}

static void passed_make(void) {
  pthread_condattr_t attributes;
  (void)pthread_condattr_init(&attributes);
  (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  (void)pthread_cond_init(&passed, &attributes);
  (void)pthread_condattr_destroy(&attributes);
}

/// Takes the guard and the turn. CIPC_ETIMEDOUT, CIPC_EINTR: neither.
static int turn_take(cipc_deadline_t deadline) {
  (void)pthread_once(&passed_once, passed_make);
  (void)pthread_mutex_lock(&guard);
  int status = CIPC_OK;
  while (is_taken && status == CIPC_OK) {
    status = cipc_interrupt_check();
    if (status < 0) break;
    struct timespec until = cipc_clock_timespec(cipc_clock_slice(deadline));
    if (pthread_cond_timedwait(&passed, &guard, &until) != ETIMEDOUT || !is_taken) continue;
    bool is_over = deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= deadline;
    status = is_over ? CIPC_ETIMEDOUT : cipc_interrupt_slice_ended();
  }
  if (status == CIPC_OK) {
    is_taken = true;
  } else {
    (void)pthread_mutex_unlock(&guard);
  }
  return status;
}

/// Gives both up.
static void turn_pass(void) {
  is_taken = false;
  (void)pthread_cond_signal(&passed);
  (void)pthread_mutex_unlock(&guard);
}

/// With the guard: whether the server of a generation is there and stopped, by a signal. Not by
/// waitid: whoever waits for all children of this process may have taken that away.
static bool is_stopped(uint64_t asked) {
  if (server == NULL || generation != asked) return false;
  char text[512];
  (void)snprintf(text, sizeof text, "/proc/%d/stat", (int)server->pid);
  int file = open(text, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  text[size > 0 ? size : 0] = '\0';
  const char *state = strrchr(text, ')');
  return state != NULL && strncmp(state, ") T", 3) == 0;
}

/// Waits for a descriptor on which the server of a generation is to do something, without the
/// guard. CIPC_ETIMEDOUT; CIPC_EPEERCLOSED: the server is stopped, and was at the look before, a
/// slice ago: so it is not one that was stopped together with this process and goes on as well.
static int server_await(int descriptor, short events, uint64_t asked, cipc_deadline_t deadline) {
  bool was_stopped = false;
  for (;;) {
    int status = cipc_frame_wait(descriptor, events, cipc_clock_slice(deadline));
    if (status != CIPC_ETIMEDOUT) return status;
    if (deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= deadline) return CIPC_ETIMEDOUT;
    (void)pthread_mutex_lock(&guard);
    bool is_now = is_stopped(asked);
    (void)pthread_mutex_unlock(&guard);
    if (is_now && was_stopped) return CIPC_EPEERCLOSED;
    was_stopped = is_now;
  }
}

/// After a start that gave up sooner than its second look: the next one shall not wait as well.
static void server_drop_stopped(uint64_t asked) {
  if (turn_take(CIPC_IMMEDIATELY) < 0) return;
  if (is_stopped(asked)) (void)server_failed();
  turn_pass();
}

static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }
/// A copy of the socket would keep the server alive when the parent dies.
static void fork_child(void) {
  if (server != NULL) {
    close(server_socket);
    // Not reaped: it is the parent's. Its lifeline is closed already.
    cipc_process_free(server);
    server = NULL;
    server_socket = -1;
  }
  // Whoever had it is a thread of the parent's; and so is whoever waits for it.
  if (is_taken) {
    is_taken = false;
    passed_make();
  }
  (void)pthread_mutex_unlock(&guard);
}
CIPC_FORK_ROOM(CIPC_FORK_RANK_SERVER, fork_prepare, fork_parent, fork_child)

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

/// Writes a request, with the turn and without the guard. CIPC_EPEERCLOSED: the server died over
/// this, or is stopped. `*is_part` is whether some of it may be with the server.
static int request_write(int socket, const uint8_t *bytes, size_t length, const int *descriptors,
                         size_t count, uint64_t asked, cipc_deadline_t deadline, bool *is_part) {
  cipc_frame_writer_t writer;
  int status =
      cipc_frame_writer_init(&writer, CIPC_FRAME_UNIX, bytes, length, descriptors, count, 0);
  while (status == CIPC_OK) {
    status = cipc_frame_writer_step(&writer, socket, CIPC_FRAME_UNIX);
    // What is begun is written to its end, or the server is of no use any more.
    if (!*is_part && writer.sent > 0) {
      *is_part = true;
      cipc_interrupt_pause();
    }
    if (status == CIPC_OK) break;
    if (status == CIPC_EAGAIN) {
      status = server_await(socket, POLLOUT, asked, deadline);
    } else if (status == -ETOOMANYREFS) {
      // Of all processes of this user; nothing tells when that changes.
      status = deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= deadline ? CIPC_ETIMEDOUT : 0;
      if (status == CIPC_OK) (void)poll(NULL, 0, 1);
      if (status == CIPC_OK) status = cipc_interrupt_check();
    }
  }
  if (*is_part) cipc_interrupt_resume();
  return status;
}

/// CIPC_EPEERCLOSED: the server died over this, or was stopped and has been killed.
static int start_once(cipc_start_t *start, int *answering) {
  int descriptors[OWN_DESCRIPTORS + CIPC_START_SOURCES_MAX];
  descriptors[0] = *answering;
  descriptors[1] = start->directory;
  memcpy(descriptors + OWN_DESCRIPTORS, start->sources, start->count * sizeof *start->sources);
  size_t length;
  uint8_t *bytes = request_make(start, &length);
  if (bytes == NULL) return CIPC_ENOMEM;

  int status = turn_take(start->deadline);
  if (status < 0) {
    free(bytes);
    return status;
  }
  status = server_get();
  uint64_t asked = generation;
  int socket = server_socket;
  if (status == CIPC_OK) {
    bool is_part = false;
    // The socket stays open: only the thread that has the turn drops a server.
    (void)pthread_mutex_unlock(&guard);
    status = request_write(socket, bytes, length, descriptors, OWN_DESCRIPTORS + start->count,
                           asked, start->deadline, &is_part);
    (void)pthread_mutex_lock(&guard);
    // With a part of a frame in it the stream is of no use.
    bool is_lost = status == CIPC_EPEERCLOSED || (status < 0 && is_part);
    if (is_lost || (status == CIPC_ETIMEDOUT && is_stopped(asked))) {
      int dropped = server_failed();
      if (status == CIPC_EPEERCLOSED) status = dropped;
    }
  }
  turn_pass();
  free(bytes);
  close(*answering);
  *answering = -1;
  if (status < 0) return status;

  answer_t answer;
  status = server_await(start->made->report, POLLIN, asked, start->deadline);
  // The child that still comes of it finds nobody at the other end, and does not run its task.
  if (status == CIPC_ETIMEDOUT) {
    server_drop_stopped(asked);
    return status;
  }
  if (status == CIPC_OK) {
    status = answer_receive(start->made->report, &answer, &start->made->pidfd);
  }
  if (status == CIPC_EINTR) return status;
  if (status != CIPC_EPEERCLOSED) {
    __atomic_store_n(&has_answered, true, __ATOMIC_RELAXED);
  } else {
    // With the turn, since somebody may be writing to it.
    int turn = turn_take(start->deadline);
    if (turn < 0) return turn;
    if (generation == asked) status = server_failed();
    turn_pass();
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
