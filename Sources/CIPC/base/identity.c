/* SPDX-License-Identifier: Apache-2.0 */
#include "base/identity.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/pidfd.h"
#include "base/procfs.h"

#define PID_BITS 22
static cipc_participant_t identity(const cipc_procfs_task_t *task, pid_t number) {
  return ((task->start << PID_BITS) & ~CIPC_PARTICIPANT_THREAD) | (cipc_participant_t)number;
}

// Whether no task at all has the number; unlike /proc, kill(2) hides nothing.
static bool is_unused(pid_t number) { return kill(number, 0) < 0 && errno == ESRCH; }

int cipc_participant_of(pid_t pid, cipc_participant_t *participant) {
  if (pid <= 0) return CIPC_ESRCH;
  cipc_procfs_task_t task;
  int status = cipc_procfs_task_of(pid, &task);
  if (status == CIPC_ENOENT) status = is_unused(pid) ? CIPC_ESRCH : CIPC_EPERM;
  if (status < 0) return status;
  *participant = identity(&task, pid);
  return 0;
}

cipc_participant_t *cipc_participant_page;

static void (*on_identity)(cipc_participant_t self);

void cipc_participant_on_identity(void (*act)(cipc_participant_t self)) {
  __atomic_store_n(&on_identity, act, __ATOMIC_RELEASE);
}

// NULL where the kernel has no pages that are wiped on fork: then nothing is kept.
static cipc_participant_t *identity_page(void) {
  cipc_participant_t *found = __atomic_load_n(&cipc_participant_page, __ATOMIC_ACQUIRE);
  if (found != NULL) return found;
  size_t length = (size_t)sysconf(_SC_PAGESIZE);
  void *page = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  if (madvise(page, length, MADV_WIPEONFORK) == 0 &&
      __atomic_compare_exchange_n(&cipc_participant_page, &found, (cipc_participant_t *)page, 0,
                                  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    return page;
  }
  (void)munmap(page, length);
  return found;
}

cipc_participant_t cipc_participant_self(void) {
  cipc_participant_t *page = identity_page();
  cipc_participant_t self = CIPC_PARTICIPANT_NOBODY;
  if (page != NULL) self = __atomic_load_n(page, __ATOMIC_RELAXED);
  if (self != CIPC_PARTICIPANT_NOBODY) return self;
  if (cipc_participant_of(getpid(), &self) < 0) return CIPC_PARTICIPANT_NOBODY;
  if (page != NULL) __atomic_store_n(page, self, __ATOMIC_RELAXED);
  void (*act)(cipc_participant_t) = __atomic_load_n(&on_identity, __ATOMIC_ACQUIRE);
  if (act != NULL) act(self);
  return self;
}

__thread cipc_participant_kept_t cipc_participant_kept;

cipc_participant_t cipc_participant_this_thread_slowly(void) {
  cipc_participant_t process = cipc_participant_current();
  cipc_procfs_task_t task;
  if (process == CIPC_PARTICIPANT_NOBODY ||
      cipc_procfs_read_task("/proc/thread-self/stat", &task) < 0) {
    return CIPC_PARTICIPANT_NOBODY;
  }
  cipc_participant_t thread = identity(&task, (pid_t)syscall(SYS_gettid)) | CIPC_PARTICIPANT_THREAD;
  cipc_participant_kept.thread = thread;
  cipc_participant_kept.process = process;
  return thread;
}

// One look at /proc is the proof, since number, start time and state are of one task. (A pidfd for
// a thread, from Linux 6.9 on, keeps silent about a leader that ended before the others.)
static int check_thread(cipc_participant_t participant) {
  pid_t number = cipc_participant_pid(participant);
  cipc_procfs_task_t task;
  int status = cipc_procfs_task_of(number, &task);
  if (status == CIPC_ENOENT) return is_unused(number) ? CIPC_PARTICIPANT_DEAD : CIPC_EPERM;
  if (status < 0) return status == CIPC_ESRCH ? CIPC_PARTICIPANT_DEAD : status;
  if ((identity(&task, number) | CIPC_PARTICIPANT_THREAD) != participant) {
    return CIPC_PARTICIPANT_DEAD;
  }
  return strchr("ZXx", task.state) != NULL ? CIPC_PARTICIPANT_DEAD : 0;
}

static int check_process(cipc_participant_t participant) {
  pid_t pid = cipc_participant_pid(participant);
  // The order is the proof: the descriptor pins whichever process has the pid now; its start time
  // says whether it is the one meant; then the descriptor says whether that one has ended. (The
  // state in /proc does not: the leader may have ended before the other threads.)
  int fd = cipc_pidfd_open(pid);
  if (fd < 0) {
    // EINVAL and ENOENT: the number is a thread of somebody else's now.
    return fd == CIPC_ESRCH || fd == CIPC_EINVAL || fd == CIPC_ENOENT ? CIPC_PARTICIPANT_DEAD : fd;
  }
  cipc_procfs_task_t task;
  int status = cipc_procfs_task_of(pid, &task);
  if (status == CIPC_ESRCH || (status == 0 && identity(&task, pid) != participant)) {
    status = CIPC_PARTICIPANT_DEAD;
  } else if (status == 0 || status == CIPC_ENOENT) {
    struct pollfd ended = {.fd = fd, .events = POLLIN, .revents = 0};
    int count = poll(&ended, 1, 0);
    // That /proc does not show it proves nothing, where it hides what is others'.
    if (count == 0 && status == CIPC_ENOENT) status = CIPC_EPERM;
    // EINTR cannot come from a poll that does not wait.
    if (count != 0) status = count < 0 ? -errno : CIPC_PARTICIPANT_DEAD;
  }
  (void)close(fd);
  return status;
}

int cipc_participant_check(cipc_participant_t participant) {
  if (cipc_participant_pid(participant) == 0) return CIPC_EINVAL;
  return participant & CIPC_PARTICIPANT_THREAD ? check_thread(participant)
                                               : check_process(participant);
}

uint64_t cipc_participant_namespace(void) {
  struct stat status;
  return stat("/proc/self/ns/pid", &status) < 0 ? 0 : (uint64_t)status.st_ino;
}
