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

#include "process/start.h"

// MARK: - A limit of memory

/// By which a process ends that gets no memory: by abort, by a trap, or by using what it did not
/// get.
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

/// The memory that the limit is for; 0 where /proc cannot tell. Async-signal-safe.
static uint64_t memory_in_use(void) {
  char text[256];
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t size = read(file, text, sizeof text - 1);
  close(file);
  text[size > 0 ? size : 0] = '\0';
  // proc(5): the sixth number is that of pages of data and stack.
  const char *next = text;
  for (int i = 0; i < 5 && *next != '\0'; next++) i += *next == ' ';
  uint64_t pages = 0;
  for (; *next >= '0' && *next <= '9'; next++) pages = pages * 10 + (uint64_t)(*next - '0');
  return pages * watch.page;
}

/// Whether a process that has this errno was refused memory. errno stays where nobody has it set
/// since: neither abort nor a trap does.
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
  return CIPC_OK;
}

// MARK: - A backtrace

/// A file of /proc as text; empty where there is none.
static void read_text(const char *path, char *text, size_t room) {
  text[0] = '\0';
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  ssize_t size = read(file, text, room - 1);
  close(file);
  text[size > 0 ? size : 0] = '\0';
}

/// Kills it if it is one.
static void end_backtracer(pid_t pid, pid_t parent) {
  int pidfd = cipc_pidfd_open(pid);
  if (pidfd < 0) return;
  char path[64], text[256];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  read_text(path, text, sizeof text);
  // Read behind the pidfd, so that they are about the same process: the names of both editions, cut
  // by the kernel, and whose child it is.
  static const char wanted[] = "(swift-backtrace) ";
  const char *name = strchr(text, '(');
  int its_parent = 0;
  if (name != NULL && strncmp(name, wanted, sizeof wanted - 1) == 0 &&
      sscanf(name + sizeof wanted - 1, "%*c %d", &its_parent) == 1 && its_parent == (int)parent) {
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
  }
  close(pidfd);
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
    read_text(path, text, sizeof text);
    char *next = text;
    for (;;) {
      char *end;
      long pid = strtol(next, &end, 10);
      if (end == next) break;
      if (pid > 0) end_backtracer((pid_t)pid, child);
      next = end;
    }
  }
  closedir(tasks);
}

// MARK: - Last words

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
  int status = copied < 0 && errno != EAGAIN ? -errno : CIPC_OK;
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
  close(ends[0]);
  close(ends[1]);
  return status;
}
