/* SPDX-License-Identifier: Apache-2.0 */
#include "process/start.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/pidfd.h"
#include "process/lifeline.h"
#include "process/reaper.h"

// MARK: Preparing

static int greeting_make(cipc_greeting_t *greeting, cipc_process_entry_t entry, const char *name) {
  memset(greeting, 0, sizeof *greeting);
  memcpy(greeting->magic, CIPC_GREETING_MAGIC, sizeof greeting->magic);
  greeting->version = CIPC_GREETING_VERSION;
  greeting->starter = cipc_participant_self();
  if (name != NULL) memcpy(greeting->name, name, strnlen(name, sizeof greeting->name - 1));
  if (entry == NULL) return 0;
  greeting->has_entry = 1;
  const void *address;
  memcpy(&address, &entry, sizeof address);
  return cipc_image_locate(address, &greeting->entry);
}

static int settings_make(cipc_settings_t *settings, const cipc_process_options_t *options) {
  for (size_t i = 0; i < options->limit_count; i++) {
    const cipc_process_limit_t *limit = &options->limits[i];
    if (limit->resource < 0 || limit->resource >= CIPC_GREETING_LIMITS) return CIPC_EINVAL;
    settings->limits[limit->resource][0] = limit->soft;
    settings->limits[limit->resource][1] = limit->hard;
    settings->limits_given |= 1u << limit->resource;
    settings->is_given = 1;
  }
  if (options->affinity != NULL) {
    if (options->affinity_size == 0) return CIPC_EINVAL;
    // Of a longer set the kernel ignores the end as well.
    size_t size = options->affinity_size < CIPC_GREETING_AFFINITY_MAX ? options->affinity_size
                                                                      : CIPC_GREETING_AFFINITY_MAX;
    memcpy(settings->affinity, options->affinity, size);
    settings->affinity_size = (uint32_t)size;
    settings->is_given = 1;
  }
  if (options->nice != NULL) {
    settings->nice = *options->nice;
    settings->nice_given = settings->is_given = 1;
  }
  return 0;
}

static void source_add(cipc_start_t *start, int descriptor, bool is_owned) {
  start->sources[start->count] = descriptor;
  start->is_owned[start->count] = is_owned;
  start->count++;
}

static int stream_add(cipc_start_t *start, const cipc_process_stream_t *stream, bool is_open) {
  int number = (int)start->count;
  cipc_process_stream_kind_t kind = stream->kind;
  if (kind == CIPC_PROCESS_INHERIT && !is_open) kind = CIPC_PROCESS_NULL;
  switch (kind) {
    case CIPC_PROCESS_INHERIT:
      source_add(start, number, false);
      return 0;
    case CIPC_PROCESS_DESCRIPTOR:
      if (fcntl(stream->descriptor, F_GETFD) < 0) return -errno;
      source_add(start, stream->descriptor, false);
      return 0;
    case CIPC_PROCESS_NULL: {
      int null = open("/dev/null", O_RDWR | O_CLOEXEC);
      if (null < 0) return -errno;
      source_add(start, null, true);
      return 0;
    }
    default:
      return CIPC_EINVAL;
  }
}

int cipc_start_prepare(cipc_start_t *start, cipc_process_entry_t entry,
                       const cipc_process_options_t *options) {
  start->options = options;
  start->deadline = options->deadline != NULL ? *options->deadline : CIPC_NO_DEADLINE;
  start->made = NULL;
  start->connection = start->directory = -1;
  start->count = 0;
  if (options->descriptor_count > CIPC_CHILD_DESCRIPTORS_MAX ||
      (options->descriptors == NULL && options->descriptor_count > 0) ||
      (options->limits == NULL && options->limit_count > 0)) {
    return CIPC_EINVAL;
  }
  int status = greeting_make(&start->greeting, entry, options->name);
  // Another program does not know how to.
  if (status == 0 && options->executable == NULL) {
    status = settings_make(&start->greeting.settings, options);
  }
  if (status < 0) return status;
  cipc_process_sweep();

  // Before anything is opened, since that might get one of these numbers.
  bool is_open[3];
  for (int i = 0; i < 3; i++) is_open[i] = fcntl(i, F_GETFD) >= 0;
  start->made = cipc_process_make();
  if (start->made == NULL) return CIPC_ENOMEM;
  for (int i = 0; i < 3; i++) {
    status = stream_add(start, &options->streams[i], is_open[i]);
    if (status < 0) return status;
  }
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -errno;
  start->connection = ends[0];
  source_add(start, ends[1], true);
  for (size_t i = 0; i < options->descriptor_count; i++) {
    if (fcntl(options->descriptors[i], F_GETFD) < 0) return -errno;
    source_add(start, options->descriptors[i], false);
  }
  if (options->is_daemon) {
    status = cipc_lifeline_open(&start->made->lifeline, &ends[0]);
    if (status < 0) return status;
    start->greeting.lifeline = (uint32_t)start->count;
    source_add(start, ends[0], true);
  }
  start->greeting.count = (uint32_t)start->count - CIPC_PROCESS_CONNECTION;
  if (options->directory != NULL) {
    start->directory = open(options->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (start->directory < 0) return -errno;
  }
  return 0;
}

int cipc_start_separate(cipc_start_t *start) {
  for (size_t i = 0; i < start->count; i++) {
    int source = start->sources[i];
    if (source >= (int)start->count || source == (int)i) continue;
    int copy = fcntl(source, F_DUPFD_CLOEXEC, (int)start->count);
    if (copy < 0) return -errno;
    if (start->is_owned[i]) (void)close(source);
    start->sources[i] = copy;
    start->is_owned[i] = true;
  }
  return 0;
}

int cipc_process_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0; }

// MARK: Taking over

// For an executable of the options: sets from outside what a child of ours sets in itself.
static int settings_impose(pid_t pid, const cipc_process_options_t *options) {
  for (size_t i = 0; i < options->limit_count; i++) {
    uint64_t values[2] = {options->limits[i].soft, options->limits[i].hard};
    if (syscall(SYS_prlimit64, pid, options->limits[i].resource, values, NULL) < 0) return -errno;
  }
  if (options->affinity != NULL &&
      sched_setaffinity(pid, options->affinity_size, options->affinity) < 0) {
    return -errno;
  }
  if (options->nice != NULL && setpriority(PRIO_PROCESS, (id_t)pid, *options->nice) < 0) {
    return -errno;
  }
  return 0;
}

// What the child says of its settings; CIPC_ESRCH when it died before, CIPC_ETIMEDOUT.
static int settings_await(const cipc_start_t *start) {
  for (;;) {
    struct pollfd ready[2] = {{start->connection, POLLIN, 0}, {start->made->pidfd, POLLIN, 0}};
    // A deadline that has passed still looks once.
    bool is_over = start->deadline != CIPC_NO_DEADLINE && cipc_clock_now() >= start->deadline;
    int count = cipc_interrupt_poll(ready, 2, start->deadline);
    if (count < 0) return count;
    int32_t status;
    ssize_t size = recv(start->connection, &status, sizeof status, MSG_DONTWAIT);
    if (size == (ssize_t)sizeof status) return status;
    // This process has the other end open as well, so that its close does not show.
    if (ready[1].revents != 0) return CIPC_ESRCH;
    if (is_over) return CIPC_ETIMEDOUT;
  }
}

// Ties a daemon to this process: from here on the kernel ends it, also while it is stopped. Before
// it is let go on, so that no daemon ever runs untied.
static int lifeline_tie(const cipc_start_t *start) {
  cipc_process_t *process = start->made;
  if (start->greeting.lifeline == 0) return 0;
  int reader = start->sources[start->greeting.lifeline];
  if (process->lifeline.writer < 0) {
    int status = cipc_lifeline_reopen(&process->lifeline, reader);
    if (status < 0) return status;
  }
  // The fork server has done it, and may have reaped the child by now.
  if (process->report >= 0) return 0;
  return cipc_lifeline_arm(reader, process->pid, process->pidfd);
}

int cipc_start_adopt(cipc_start_t *start) {
  cipc_process_t *process = start->made;
  if (process->pidfd < 0) process->pidfd = cipc_pidfd_open(process->pid);
  if (process->pidfd == CIPC_ESRCH) {
    // Another program that was quick, and whose status somebody else took already.
    process->ended = cipc_ended_word(CIPC_PROCESS_UNKNOWN, 0);
    process->pidfd = eventfd(1, EFD_CLOEXEC);  // readable, as a pidfd is then
    return process->pidfd < 0 ? -errno : 0;
  }
  int status = process->pidfd;
  if (status >= 0) {
    status = lifeline_tie(start);
    if (status == 0 && start->greeting.settings.is_given) status = settings_await(start);
    if (status == 0 && start->options->executable != NULL) {
      status = settings_impose(process->pid, start->options);
    }
  }
  // Killed by somebody: its status says so, as it does without settings.
  if (status == CIPC_ESRCH) status = 0;
  if (status < 0) {
    // By the number only where it is ours to reap: the fork server may have reaped its own.
    if (process->pidfd >= 0) {
      (void)cipc_pidfd_signal(process->pidfd, SIGKILL);
    } else {
      (void)kill(process->pid, SIGKILL);
    }
    if (process->report < 0) {
      while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR) {
      }
    }
    return status;
  }
  // Fails only when the child has died, which its status will say.
  (void)send(start->connection, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  return 0;
}

int cipc_start_finish(cipc_start_t *start, int status, cipc_process_t **process, int *connection) {
  for (size_t i = 0; i < start->count; i++) {
    if (start->is_owned[i]) (void)close(start->sources[i]);
  }
  if (start->directory >= 0) (void)close(start->directory);
  if (start->connection >= 0) {
    if (status < 0 || connection == NULL) {
      (void)close(start->connection);
    } else {
      *connection = start->connection;
    }
  }
  if (start->made != NULL) {
    if (status < 0) {
      cipc_process_free(start->made);
    } else {
      *process = start->made;
    }
  }
  return status;
}
