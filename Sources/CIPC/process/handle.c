/* SPDX-License-Identifier: Apache-2.0 */
#include "process/handle.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/pidfd.h"
#include "base/procfs.h"
#include "segment/participants.h"

// The beginning of the kernel's struct pidfd_info, in which the exit status
// arrived with Linux 6.15; libc headers are older.
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

// The word for a status that wait(2) gave.
static uint64_t ended_of_status(int status) {
  if (WIFEXITED(status)) return cipc_ended_word(CIPC_PROCESS_EXITED, WEXITSTATUS(status));
  if (WIFSIGNALED(status)) return cipc_ended_word(CIPC_PROCESS_SIGNALLED, WTERMSIG(status));
  return cipc_ended_word(CIPC_PROCESS_UNKNOWN, 0);
}

// How a child ended whose status somebody else took.
static uint64_t ended_after_reaping(int pidfd) {
  struct pidfd_info info;
  memset(&info, 0, sizeof info);
  info.mask = PIDFD_INFO_EXIT_MASK;
  if (ioctl(pidfd, PIDFD_GET_INFO_REQUEST, &info) == 0 && (info.mask & PIDFD_INFO_EXIT_MASK) != 0) {
    return ended_of_status(info.exit_code);
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

// How a child ended that is a zombie, of whichever parent.
static uint64_t ended_of_zombie(const cipc_process_t *process) {
  cipc_procfs_task_t task;
  // A zombie keeps its number: while ours is one, what was read is about ours.
  if (cipc_procfs_task_of(process->pid, &task) < 0 || task.state != 'Z' ||
      cipc_pidfd_signal(process->pidfd, 0) < 0) {
    return cipc_ended_word(CIPC_PROCESS_UNKNOWN, 0);
  }
  return ended_of_status(task.status);
}

// How long the status of a child may take that has ended, and whose fork server is gone: the kernel
// may tell it only once another process has reaped the child.
#define STATUS_MILLISECONDS 200

static uint64_t ended_without_report(const cipc_process_t *process) {
  for (int i = 0;; i++) {
    uint64_t ended = ended_of_zombie(process);
    if (ended >> 32 == CIPC_PROCESS_UNKNOWN) ended = ended_after_reaping(process->pidfd);
    if (ended >> 32 != CIPC_PROCESS_UNKNOWN || i == STATUS_MILLISECONDS) return ended;
    (void)poll(NULL, 0, 1);
  }
}

// The same as cipc_process_try_reap for a child of the fork server.
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
  int result = cipc_pidfd_wait(process->pidfd, &info, WEXITED | WNOHANG | WNOWAIT);
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
    (void)cipc_pidfd_wait(process->pidfd, &info, WEXITED | WNOHANG);
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
  return 0;
}

int cipc_process_signal(cipc_process_t *process, int signal) {
  if (process == NULL) return CIPC_EINVAL;
  // The kernel takes a signal for a zombie; a child that has ended gets none.
  if (cipc_process_try_reap(process)) return CIPC_ESRCH;
  return cipc_pidfd_signal(process->pidfd, signal);
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

cipc_process_t *cipc_process_make(void) {
  cipc_process_t *process = calloc(1, sizeof *process);
  if (process == NULL) return NULL;
  process->pidfd = process->report = -1;
  cipc_lifeline_init(&process->lifeline);
  cipc_list_init(&process->node);
  return process;
}

void cipc_process_free(cipc_process_t *process) {
  cipc_lifeline_close(&process->lifeline);
  if (process->report >= 0) (void)close(process->report);
  if (process->pidfd >= 0) (void)close(process->pidfd);
  free(process);
}
