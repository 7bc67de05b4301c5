/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/death.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/pidfd.h"
#include "base/procfs.h"

// MARK: A limit of memory

// By which a process ends that gets no memory: by abort, by a trap, or by using what it did not
// get.
static const int fatal_signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
#define FATAL_SIGNALS (sizeof fatal_signals / sizeof *fatal_signals)

static struct {
  struct sigaction before[FATAL_SIGNALS];
  uint64_t limit;
  uint64_t page;
  size_t size;
  int socket;
  int is_told;
  uint8_t word[CIPC_DEATH_WORD_MAX];
} watch;

// The memory that the limit is for; 0 where /proc cannot tell. Async-signal-safe.
static uint64_t memory_in_use(void) {
  char text[256];
  if (cipc_procfs_read("/proc/self/statm", text, sizeof text) < 0) return 0;
  // proc(5): the sixth number is that of pages of data and stack.
  const char *next = text;
  for (int i = 0; i < 5 && *next != '\0'; next++) i += *next == ' ';
  uint64_t pages = 0;
  for (; *next >= '0' && *next <= '9'; next++) pages = pages * 10 + (uint64_t)(*next - '0');
  return pages * watch.page;
}

// Whether a process that has this errno was refused memory. errno stays where nobody has it set
// since: neither abort nor a trap does.
static bool was_refused(int error) {
  if (error == ENOMEM) return true;
  uint64_t used = memory_in_use(), near = watch.limit / 16 + ((uint64_t)1 << 20);
  return used >= watch.limit || watch.limit - used < near;
}

static void on_fatal_signal(int number, siginfo_t *info, void *context) {
  int error = errno;
  // By one thread alone.
  if (!__atomic_exchange_n(&watch.is_told, 1, __ATOMIC_RELAXED) && was_refused(error)) {
    (void)!send(watch.socket, watch.word, watch.size, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  errno = error;
  size_t place = 0;
  while (place < FATAL_SIGNALS && fatal_signals[place] != number) place++;
  if (place == FATAL_SIGNALS) return;
  struct sigaction *before = &watch.before[place];
  (void)sigaction(number, before, NULL);
  if ((before->sa_flags & SA_SIGINFO) != 0) {
    before->sa_sigaction(number, info, context);
  } else if (before->sa_handler == SIG_DFL || before->sa_handler == SIG_IGN) {
    // Here and now: behind some traps the program would go on. It was not blocked.
    (void)raise(number);
  } else {
    before->sa_handler(number);
  }
}

int cipc_death_watch_memory(int socket, const void *word, size_t size) {
  if (word == NULL || size == 0 || size > sizeof watch.word) return CIPC_EINVAL;
  uint64_t limits[2];
  // By number and in 64 bits, since its type differs between libcs.
  if (syscall(SYS_prlimit64, 0, RLIMIT_DATA, NULL, limits) < 0) return -errno;
  if (limits[0] == UINT64_MAX) return CIPC_ENOENT;
  watch.limit = limits[0];
  watch.page = (uint64_t)sysconf(_SC_PAGESIZE);
  watch.socket = socket;
  watch.size = size;
  memcpy(watch.word, word, size);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_fatal_signal;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < FATAL_SIGNALS; i++) {
    // Before the handler can run.
    if (sigaction(fatal_signals[i], NULL, &watch.before[i]) < 0 ||
        sigaction(fatal_signals[i], &action, NULL) < 0) {
      return -errno;
    }
  }
  return 0;
}

// MARK: A backtrace

// Kills it if it is one.
static void end_backtracer(pid_t pid, pid_t parent) {
  int pidfd = cipc_pidfd_open(pid);
  if (pidfd < 0) return;
  // Read behind the pidfd, so that they are about the same process: the name of both editions, cut
  // by the kernel, and whose child it is.
  cipc_procfs_task_t task;
  if (cipc_procfs_task_of(pid, &task) == 0 && strcmp(task.name, "swift-backtrace") == 0 &&
      task.parent == parent) {
    (void)cipc_pidfd_signal(pidfd, SIGKILL);
  }
  (void)close(pidfd);
}

void cipc_death_end_backtrace(pid_t child) {
  char path[64], text[1024];
  (void)snprintf(path, sizeof path, "/proc/%d/task", (int)child);
  DIR *tasks = opendir(path);
  if (tasks == NULL) return;
  // The thread that crashed has it as its child.
  struct dirent *entry;
  while ((entry = readdir(tasks)) != NULL) {
    int thread = atoi(entry->d_name);
    if (thread <= 0) continue;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)child, thread);
    (void)cipc_procfs_read(path, text, sizeof text);
    char *next = text;
    for (;;) {
      char *end;
      long pid = strtol(next, &end, 10);
      if (end == next) break;
      if (pid > 0) end_backtracer((pid_t)pid, child);
      next = end;
    }
  }
  (void)closedir(tasks);
}

// MARK: Last words

int cipc_death_unread(int pipe, void *buffer, size_t room, size_t *length) {
  if (buffer == NULL || length == NULL) return CIPC_EINVAL;
  *length = 0;
  int capacity = fcntl(pipe, F_GETPIPE_SZ);
  if (capacity < 0) return CIPC_EINVAL;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
  // Where that is not to be had, the beginning has to do.
  (void)fcntl(ends[1], F_SETPIPE_SZ, capacity);
  ssize_t copied = tee(pipe, ends[1], (size_t)capacity, SPLICE_F_NONBLOCK);
  int status = copied < 0 && errno != EAGAIN ? -errno : 0;
  char *bytes = copied > 0 ? malloc((size_t)copied) : NULL;
  if (copied > 0 && bytes == NULL) status = CIPC_ENOMEM;
  size_t size = 0;
  while (bytes != NULL && size < (size_t)copied) {
    ssize_t more = read(ends[0], bytes + size, (size_t)copied - size);
    if (more <= 0) break;
    size += (size_t)more;
  }
  if (size > 0) {
    *length = size < room ? size : room;
    memcpy(buffer, bytes + size - *length, *length);
  }
  free(bytes);
  (void)close(ends[0]);
  (void)close(ends[1]);
  return status;
}
