/* SPDX-License-Identifier: Apache-2.0 */
// Descriptors of processes.
#ifndef CIPC_PIDFD_PRIVATE_H
#define CIPC_PIDFD_PRIVATE_H

#include <errno.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

// The descriptor, close-on-exec, or -errno.
static inline int cipc_pidfd_open(pid_t pid) {
  long descriptor = syscall(SYS_pidfd_open, pid, 0);
  return descriptor < 0 ? -errno : (int)descriptor;
}

// 0, or -errno: ESRCH where the process is reaped. 0 is no signal.
static inline int cipc_pidfd_signal(int pidfd, int signal) {
  return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

// waitid(P_PIDFD), which older libc headers lack: 0 or -errno.
static inline int cipc_pidfd_wait(int pidfd, siginfo_t *info, int options) {
  int result;
  do {
    result = waitid((idtype_t)3, (id_t)pidfd, info, options);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

#endif
