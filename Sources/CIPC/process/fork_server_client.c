/* SPDX-License-Identifier: Apache-2.0 */
// The parent of the fork server: starts it, asks it for children, and replaces it when it is gone.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fork_hooks.h"
#include "base/interrupt.h"
#include "base/procfs.h"
#include "base/thread.h"
#include "process/child.h"
#include "process/fork_server.h"
#include "process/start.h"
#include "stream/frame.h"
#include "stream/rights.h"

extern char **environ;

static const int terminal_signals[] = CIPC_FORK_SERVER_SIGNALS;

// Never held while anybody waits for the server, so that one that does not take its requests holds
// up no fork.
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
// Under the guard: whether a thread has the turn to write to the server. Others wait for it to be
// passed on, by the monotonic clock, as long as their deadline says.
static bool is_taken;
static pthread_cond_t passed;
static pthread_once_t passed_once = PTHREAD_ONCE_INIT;
// Under the guard.
static cipc_process_t *server;
static int server_socket = -1;
// How many servers there were, so that two threads that find one dead replace it once.
static uint64_t generation;
// Whether a server has answered, and whether they bind lazily: since one died that had never
// answered, as it does where a library lacks a function that nobody calls.
static bool has_answered, is_lazy;

// With the guard.
static int server_get(void) {
  if (server != NULL) return 0;
  cipc_process_options_t options;
  memset(&options, 0, sizeof options);
  options.name = "cipc-server";
  // It would keep pipes open, and directories busy, that the program is done with.
  for (int i = 0; i < 3; i++) options.streams[i].kind = CIPC_PROCESS_NULL;
  options.directory = "/";
  options.is_daemon = 1;
  static char bind_now[] = CIPC_FORK_SERVER_BIND_NOW;
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
  int status = cipc_process_spawn(&server, &server_socket, cipc_fork_server_main, &options);
  free(environment);
  if (status == 0) generation++;
  return status;
}

// For a server that was killed to be gone; only what it was killed for could take longer.
#define DROP_NANOSECONDS INT64_C(1000000000)

// With the guard. CIPC_EPEERCLOSED, or CIPC_EBOOTSTRAP where it could not be given its entry: then
// the next one cannot either.
static int server_drop(void) {
  if (server == NULL) return CIPC_EPEERCLOSED;
  (void)close(server_socket);
  (void)!cipc_process_signal(server, SIGKILL);
  cipc_process_status_t ended = {.end = CIPC_PROCESS_RUNNING};
  (void)!cipc_process_wait(server, cipc_clock_deadline(DROP_NANOSECONDS), &ended);
  cipc_process_release(server);
  server = NULL;
  server_socket = -1;
  bool had_entry = ended.end != CIPC_PROCESS_EXITED || ended.value != CIPC_PROCESS_NO_ENTRY;
  return had_entry ? CIPC_EPEERCLOSED : CIPC_EBOOTSTRAP;
}

// With the guard.
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

// Takes the guard and the turn. CIPC_ETIMEDOUT, CIPC_EINTR: neither.
static int turn_take(cipc_deadline_t deadline) {
  (void)pthread_once(&passed_once, passed_make);
  (void)pthread_mutex_lock(&guard);
  int status = 0;
  while (is_taken && status == 0) {
    status = cipc_interrupt_check();
    if (status < 0) break;
    struct timespec until = cipc_clock_timespec(cipc_clock_slice(deadline));
    if (pthread_cond_timedwait(&passed, &guard, &until) != ETIMEDOUT || !is_taken) continue;
    bool is_over = deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= deadline;
    status = is_over ? CIPC_ETIMEDOUT : cipc_interrupt_slice_ended();
  }
  if (status == 0) {
    is_taken = true;
  } else {
    (void)pthread_mutex_unlock(&guard);
  }
  return status;
}

// Gives both up.
static void turn_pass(void) {
  is_taken = false;
  (void)pthread_cond_signal(&passed);
  (void)pthread_mutex_unlock(&guard);
}

// With the guard: whether the server of a generation is there and stopped, by a signal. Not by
// waitid: whoever waits for all children of this process may have taken that away.
static bool is_stopped(uint64_t asked) {
  if (server == NULL || generation != asked) return false;
  cipc_procfs_task_t task;
  return cipc_procfs_task_of(server->pid, &task) == 0 && task.state == 'T';
}

// Waits for a descriptor on which the server of a generation is to do something, without the
// guard. CIPC_ETIMEDOUT; CIPC_EPEERCLOSED: the server is stopped, and was at the look before, a
// slice ago: so it is not one that was stopped together with this process and goes on as well.
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

// After a start that gave up sooner than its second look: the next one shall not wait as well.
static void server_drop_stopped(uint64_t asked) {
  if (turn_take(CIPC_IMMEDIATELY) < 0) return;
  if (is_stopped(asked)) (void)server_failed();
  turn_pass();
}

static void fork_prepare(void) { (void)pthread_mutex_lock(&guard); }
static void fork_parent(void) { (void)pthread_mutex_unlock(&guard); }
// A copy of the socket would keep the server alive when the parent dies.
static void fork_child(void) {
  if (server != NULL) {
    (void)close(server_socket);
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

// The mask of this process. Not by umask(2) where there are other threads, which would create
// files under the wrong one meanwhile, as a signal handler would; where there are none it is a
// hundred times as fast.
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
  if (cipc_procfs_read("/proc/self/status", text, sizeof text) < 0) return mask;
  // The program's name stands in front of it, in the first line; a line feed in it is escaped.
  const char *line = strstr(text, "\nUmask:");
  if (line != NULL) mask = (uint32_t)strtoul(line + sizeof "\nUmask:" - 1, NULL, 8);
  return mask & 0777;
}

// The request; to be freed.
static uint8_t *request_make(const cipc_start_t *start, size_t *length) {
  char *const *environment =
      start->options->environment != NULL ? start->options->environment : environ;
  size_t count = 0, size = sizeof(cipc_fork_server_request_t);
  for (; environment != NULL && environment[count] != NULL; count++) {
    size += strlen(environment[count]) + 1;
  }
  uint8_t *bytes = calloc(1, size);
  if (bytes == NULL) return NULL;
  cipc_fork_server_request_t *request = (cipc_fork_server_request_t *)(void *)bytes;
  request->greeting = start->greeting;
  for (int i = 0; i < CIPC_GREETING_LIMITS; i++)
    (void)!cipc_fork_server_limit(i, NULL, request->limits[i]);
  long affinity_size =
      syscall(SYS_sched_getaffinity, 0, sizeof request->affinity, request->affinity);
  if (affinity_size > 0) request->affinity_size = (uint32_t)affinity_size;
  request->nice = getpriority(PRIO_PROCESS, 0);
  for (size_t i = 0; i < CIPC_FORK_SERVER_SIGNAL_COUNT; i++) {
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

static int answer_receive(int report, cipc_fork_server_answer_t *answer, int *pidfd) {
  const struct iovec bytes = {answer, sizeof *answer};
  cipc_rights_t rights;
  ssize_t size = cipc_rights_receive(report, &bytes, 1, &rights, 0, NULL);
  if (size == 0 || size == -ECONNRESET) return CIPC_EPEERCLOSED;
  if (size < 0) return (int)size;
  if (rights.count > 0) *pidfd = rights.descriptors[0];
  for (size_t i = 1; i < rights.count; i++) (void)close(rights.descriptors[i]);
  if (size != (ssize_t)sizeof *answer) return CIPC_EBOOTSTRAP;
  if (answer->status < 0) return answer->status;
  if (*pidfd < 0) return rights.status < 0 ? CIPC_EMFILE : CIPC_EBOOTSTRAP;
  return 0;
}

// Writes a request, with the turn and without the guard. CIPC_EPEERCLOSED: the server died over
// this, or is stopped. `*is_part` is whether some of it may be with the server.
static int request_write(int socket, const uint8_t *bytes, size_t length, const int *descriptors,
                         size_t count, uint64_t asked, cipc_deadline_t deadline, bool *is_part) {
  cipc_frame_writer_t writer;
  cipc_wait_t wait = {0};
  int status =
      cipc_frame_writer_init(&writer, CIPC_FRAME_UNIX, bytes, length, descriptors, count, 0);
  while (status == 0) {
    status = cipc_frame_writer_step(&writer, socket, CIPC_FRAME_UNIX, &wait);
    // What is begun is written to its end, or the server is of no use any more.
    if (!*is_part && writer.sent > 0) {
      *is_part = true;
      cipc_interrupt_pause();
    }
    if (status == 0) break;
    if (status == CIPC_EAGAIN) {
      status = wait.kind == CIPC_WAIT_PAUSE ? cipc_wait_sleep(&wait, deadline)
                                            : server_await(socket, POLLOUT, asked, deadline);
    }
  }
  if (*is_part) cipc_interrupt_resume();
  return status;
}

// CIPC_EPEERCLOSED: the server died over this, or was stopped and has been killed.
static int start_once(cipc_start_t *start, int *answering) {
  int descriptors[CIPC_FORK_SERVER_DESCRIPTORS + CIPC_CHILD_SOURCES_MAX];
  descriptors[0] = *answering;
  descriptors[1] = start->directory;
  memcpy(descriptors + CIPC_FORK_SERVER_DESCRIPTORS, start->sources,
         start->count * sizeof *start->sources);
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
  if (status == 0) {
    bool is_part = false;
    // The socket stays open: only the thread that has the turn drops a server.
    (void)pthread_mutex_unlock(&guard);
    status = request_write(socket, bytes, length, descriptors,
                           CIPC_FORK_SERVER_DESCRIPTORS + start->count, asked, start->deadline,
                           &is_part);
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
  (void)close(*answering);
  *answering = -1;
  if (status < 0) return status;

  cipc_fork_server_answer_t answer;
  status = server_await(start->made->report, POLLIN, asked, start->deadline);
  // The child that still comes of it finds nobody at the other end, and does not run its task.
  if (status == CIPC_ETIMEDOUT) {
    server_drop_stopped(asked);
    return status;
  }
  if (status == 0) {
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
  if (status == 0) start->made->pid = answer.pid;
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
    if (status == 0 && start.directory < 0) {
      start.directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
      if (start.directory < 0) status = -errno;
    }
    if (status == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, answering) < 0) {
      status = -errno;
    }
    if (status == 0) {
      start.made->report = answering[0];
      status = start_once(&start, &answering[1]);
      if (answering[1] >= 0) (void)close(answering[1]);
    }
    if (status == 0) status = cipc_start_adopt(&start);
    status = cipc_start_finish(&start, status, process, connection);
    if (status != CIPC_EPEERCLOSED || tries > 0) return status;
  }
}
