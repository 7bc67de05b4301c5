/* SPDX-License-Identifier: Apache-2.0 */
#include "process/fork_server.h"

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

#include "base/image.h"
#include "base/list.h"
#include "base/pidfd.h"
#include "cipc/frame.h"
#include "process/child.h"
#include "process/handle.h"
#include "process/lifeline.h"
#include "stream/rights.h"

extern char **environ;

static const int terminal_signals[] = CIPC_FORK_SERVER_SIGNALS;

#define PREFORKED_NAME "cipc-preforked"
#define REQUEST_MAX (UINT64_C(64) << 20)
// What goes to a preforked, as one packet. A larger environment is worth a fork.
#define PREFORKED_REQUEST_MAX ((size_t)64 << 10)
// As much as most requests are.
#define PREFORKED_REQUEST_USUAL ((size_t)8 << 10)

// MARK: The server

typedef struct child {
  pid_t pid;
  int pidfd;
  // Of a preforked one: none, -1.
  int report;
  cipc_list_t node;
} child_t;

// Those that run.
static cipc_list_t children = CIPC_LIST_EMPTY(children);

// The child of the next request; NULL where there is none.
static child_t *preforked;
// Our end of its socket, and of its lifeline, of which we keep the preforked's end as well: so a
// preforked that is stopped, and reads no end of file, dies with its server all the same. One that
// is to have a request must not.
static int preforked_socket = -1, preforked_line = -1, preforked_line_end = -1;

void (*cipc_fork_server_warm_up)(int is_spare);

static void close_all(const int *descriptors, size_t count) {
  for (size_t i = 0; i < count; i++) (void)close(descriptors[i]);
}

// Sends with a descriptor, or with none where that is negative. Fails only when the caller has
// gone.
static void answer_send(int report, cipc_fork_server_answer_t answer, int pidfd) {
  const struct iovec bytes = {&answer, sizeof answer};
  (void)cipc_rights_send(report, &bytes, 1, &pidfd, pidfd >= 0, 0);
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

// The environment of a request that has been checked, made in place; the child's for ever.
static char **environment_make(cipc_fork_server_request_t *request) {
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

// The server's, which its children begin with.
static uint64_t own_limits[CIPC_GREETING_LIMITS][2];

static void limits_apply(const cipc_fork_server_request_t *request) {
  for (int i = 0; i < CIPC_GREETING_LIMITS; i++) {
    const uint64_t *here = own_limits[i];
    uint64_t wanted[2] = {request->limits[i][0], request->limits[i][1]};
    if (here[0] == wanted[0] && here[1] == wanted[1]) continue;
    if (cipc_fork_server_limit(i, wanted, NULL) == 0) continue;
    // The caller may have raised its hard limit, by a right that it alone has.
    if (wanted[1] > here[1]) wanted[1] = here[1];
    if (wanted[0] > here[1]) wanted[0] = here[1];
    (void)!cipc_fork_server_limit(i, wanted, NULL);
  }
}

// The processors and the priority of the caller. It may have got them by a right that it alone
// has.
static void schedule_apply(const cipc_fork_server_request_t *request) {
  if (request->affinity_size > 0) {
    uint8_t here[CIPC_GREETING_AFFINITY_MAX];
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

// In the forked child, with the directory and the sources; does not return. What it cannot be
// given, it must not run without.
static void serve_child(cipc_fork_server_request_t *request, const int *descriptors, size_t count) {
  if (fchdir(descriptors[0]) < 0 || cipc_child_place(descriptors + 1, count - 1) < 0) {
    _exit(CIPC_PROCESS_NO_ENTRY);
  }
  (void)umask((mode_t)request->file_mask);
  if (request->new_group) (void)setpgid(0, 0);
  for (size_t i = 0; i < CIPC_FORK_SERVER_SIGNAL_COUNT; i++) {
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

// Forks, and watches the child: NULL and an errno, or the child; in the child itself `*in_child`.
static child_t *child_fork(int set, bool *in_child) {
  *in_child = false;
  child_t *child = malloc(sizeof *child);
  if (child == NULL) return NULL;
  pid_t pid = fork();
  if (pid == 0) *in_child = true;
  if (pid <= 0) {
    int error = errno;
    free(child);
    errno = error;
    return NULL;
  }
  *child = (child_t){.pid = pid, .pidfd = cipc_pidfd_open(pid), .report = -1};
  struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = child}};
  if (child->pidfd < 0 || epoll_ctl(set, EPOLL_CTL_ADD, child->pidfd, &event) < 0) {
    int error = child->pidfd < 0 ? -child->pidfd : errno;
    (void)kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (child->pidfd >= 0) (void)close(child->pidfd);
    free(child);
    errno = error;
    return NULL;
  }
  cipc_list_insert_first(&children, &child->node);
  return child;
}

// MARK: Its preforked

static void preforked_forget(void) {
  (void)close(preforked_socket);
  (void)close(preforked_line);
  (void)close(preforked_line_end);
  preforked = NULL;
  preforked_socket = preforked_line = preforked_line_end = -1;
}

static void preforked_drop(void) {
  if (preforked == NULL) return;
  (void)cipc_pidfd_signal(preforked->pidfd, SIGKILL);
  preforked_forget();
}

// In the preforked; does not return.
static void preforked_main(int socket) {
  uint8_t *bytes = malloc(PREFORKED_REQUEST_MAX);
  if (bytes == NULL) _exit(1);
  (void)prctl(PR_SET_NAME, PREFORKED_NAME, 0, 0, 0);
  memset(bytes, 0, PREFORKED_REQUEST_USUAL);
  if (cipc_fork_server_warm_up != NULL) cipc_fork_server_warm_up(1);
  cipc_image_touch_ends();
  const struct iovec space = {bytes, PREFORKED_REQUEST_MAX};
  cipc_rights_t rights;
  int flags;
  ssize_t size = cipc_rights_receive(socket, &space, 1, &rights, 0, &flags);
  // The server has gone, or has no use for this child.
  if (size <= 0) _exit(0);
  if ((flags & MSG_TRUNC) != 0 || rights.status < 0 || rights.count == 0) {
    _exit(CIPC_PROCESS_NO_ENTRY);
  }
  serve_child((cipc_fork_server_request_t *)(void *)bytes, rights.descriptors, rights.count);
}

static bool has_several_processors(void) {
  uint8_t set[CIPC_GREETING_AFFINITY_MAX];
  long size = syscall(SYS_sched_getaffinity, 0, sizeof set, set);
  int count = 0;
  for (long i = 0; i < size; i++) count += __builtin_popcount(set[i]);
  return count > 1;
}

// Forks one. Where that fails, the next request will say why.
static void preforked_fork(int set) {
  int ends[2], line[2];
  if (preforked != NULL || !has_several_processors() ||
      socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
    return;
  if (pipe2(line, O_CLOEXEC) < 0) {
    (void)close(ends[0]);
    (void)close(ends[1]);
    return;
  }
  // The preforked must not have it, also where it is stopped before it runs.
  (void)close(line[1]);
  bool in_child;
  child_t *made = child_fork(set, &in_child);
  if (in_child) {
    // Nothing of the server's stays open here while it may be killed, and this one be stopped.
    const int kept[] = {0, 1, 2, ends[1], line[0]};
    if (cipc_child_place(kept, 5) < 0) _exit(1);
    preforked_main(3);
  }
  (void)close(ends[1]);
  preforked = made;
  preforked_socket = ends[0];
  preforked_line_end = line[0];
  preforked_line = made != NULL ? cipc_lifeline_writer(line[0]) : -1;
  if (made == NULL) {
    preforked_forget();
  } else if (preforked_line < 0 || cipc_lifeline_arm(line[0], made->pid, -1) < 0) {
    preforked_drop();
  }
}

// The reading end of a daemon's lifeline, or -1, of a request that has been checked. The
// descriptors are the directory and what the child gets.
static int lifeline_of(const cipc_fork_server_request_t *request, const int *descriptors) {
  uint32_t number = request->greeting.lifeline;
  return number == 0 ? -1 : descriptors[1 + number];
}

// Makes the preforked the child of a request: the child, or NULL where it cannot take it now.
static child_t *preforked_take(const uint8_t *bytes, size_t length, const int *descriptors,
                               size_t count) {
  if (preforked == NULL || length > PREFORKED_REQUEST_MAX || count > CIPC_RIGHTS_OUT_MAX)
    return NULL;
  siginfo_t info;
  memset(&info, 0, sizeof info);
  if (cipc_pidfd_wait(preforked->pidfd, &info, WEXITED | WSTOPPED | WNOHANG | WNOWAIT) < 0 ||
      info.si_pid != 0) {
    preforked_drop();
    return NULL;
  }
  int line = lifeline_of((const cipc_fork_server_request_t *)(const void *)bytes, descriptors);
  if (line >= 0 && cipc_lifeline_arm(line, preforked->pid, -1) < 0) {
    preforked_drop();
    return NULL;
  }
  // From here on it ends by itself where we do before it has the request, or, a daemon, with its
  // starter.
  cipc_lifeline_disarm(preforked_line_end);
  const struct iovec content = {(void *)(uintptr_t)bytes, length};
  // A packet is sent whole or not at all.
  if (cipc_rights_send(preforked_socket, &content, 1, descriptors, count, MSG_DONTWAIT) !=
      (ssize_t)length) {
    preforked_drop();
    return NULL;
  }
  child_t *taken = preforked;
  preforked_forget();
  return taken;
}

// MARK: Its work

static bool is_request(const cipc_fork_server_request_t *request, size_t length,
                       size_t descriptor_count) {
  return descriptor_count > CIPC_FORK_SERVER_DESCRIPTORS + CIPC_PROCESS_CONNECTION &&
         length >= sizeof *request && request->affinity_size <= sizeof request->affinity &&
         descriptor_count - CIPC_FORK_SERVER_DESCRIPTORS ==
             CIPC_PROCESS_CONNECTION + (size_t)request->greeting.count &&
         request->greeting.lifeline < descriptor_count - CIPC_FORK_SERVER_DESCRIPTORS &&
         is_environment((const uint8_t *)(request + 1), length - sizeof *request,
                        request->environment_count);
}

// Makes the child of a request, and answers. Takes the descriptors over.
static void serve(int set, uint8_t *bytes, size_t length, int *descriptors, size_t count) {
  cipc_fork_server_request_t *request = (cipc_fork_server_request_t *)(void *)bytes;
  int answering = count > 0 ? descriptors[0] : -1;
  cipc_fork_server_answer_t answer = {CIPC_EINVAL, 0};
  child_t *child = NULL;
  if (is_request(request, length, count)) {
    // The socket to answer on stays here.
    child = preforked_take(bytes, length, descriptors + 1, count - 1);
    if (child == NULL) {
      bool in_child;
      child = child_fork(set, &in_child);
      if (in_child) serve_child(request, descriptors + 1, count - 1);
      if (child == NULL) answer.status = -errno;
      // Before the answer, since nobody else can know of it by then; the preforked's is armed
      // already.
      int line = child != NULL ? lifeline_of(request, descriptors + 1) : -1;
      int armed = line >= 0 ? cipc_lifeline_arm(line, child->pid, -1) : 0;
      if (armed < 0) {
        (void)cipc_pidfd_signal(child->pidfd, SIGKILL);
        child = NULL;
        answer.status = armed;
      }
    }
  }
  // Before the answer: whoever has that may rely on the child having the only copies.
  if (count > 0) close_all(descriptors + 1, count - 1);
  int pidfd = -1;
  if (child != NULL) {
    if (request->new_group) (void)setpgid(child->pid, child->pid);
    answer = (cipc_fork_server_answer_t){0, child->pid};
    child->report = answering;
    pidfd = child->pidfd;
  }
  // Fails only when the caller has gone; then the end of our socket comes next.
  if (answering >= 0) answer_send(answering, answer, pidfd);
  if (child == NULL && answering >= 0) (void)close(answering);
  free(bytes);
  free(descriptors);
}

static void report(int set, child_t *child) {
  siginfo_t info;
  memset(&info, 0, sizeof info);
  if (cipc_pidfd_wait(child->pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0) {
    return;
  }
  if (child == preforked) preforked_forget();
  uint64_t ended = cipc_ended_word(
      info.si_code == CLD_EXITED ? CIPC_PROCESS_EXITED : CIPC_PROCESS_SIGNALLED, info.si_status);
  if (child->report >= 0) {
    (void)send(child->report, &ended, sizeof ended, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(child->report);
  }
  // Not left to close: a child that was just forked may have a copy still.
  (void)epoll_ctl(set, EPOLL_CTL_DEL, child->pidfd, NULL);
  (void)close(child->pidfd);
  cipc_list_remove(&child->node);
  free(child);
}

int cipc_fork_server_main(int connection) {
  // Nobody sees it in /proc/PID/environ of its children; what they execute has their own.
  if (environ != NULL && environ[0] != NULL && strcmp(environ[0], CIPC_FORK_SERVER_BIND_NOW) == 0) {
    memset(environ[0], 0, sizeof CIPC_FORK_SERVER_BIND_NOW);
    environ++;
  }
  // A Ctrl-C is for the program; the server ends when that does. A Ctrl-Z as well: a program that
  // does not stop shall not find its server stopped. Each child gets what the caller has.
  for (size_t i = 0; i < CIPC_FORK_SERVER_SIGNAL_COUNT; i++)
    (void)signal(terminal_signals[i], SIG_IGN);
  for (int i = 0; i < CIPC_GREETING_LIMITS; i++)
    (void)!cipc_fork_server_limit(i, NULL, own_limits[i]);
  // Two descriptors for each child; children get the caller's limit.
  uint64_t *files = own_limits[RLIMIT_NOFILE];
  files[0] = files[1];
  (void)!cipc_fork_server_limit(RLIMIT_NOFILE, files, NULL);
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
    if (!is_warm && cipc_fork_server_warm_up != NULL) cipc_fork_server_warm_up(0);
    is_warm = true;
    preforked_fork(set);
  }
}
