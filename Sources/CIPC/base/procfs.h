/* SPDX-License-Identifier: Apache-2.0 */
// Small text files of the kernel's: /proc and /sys.
#ifndef CIPC_PROCFS_PRIVATE_H
#define CIPC_PROCFS_PRIVATE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Reads a file as text with a zero byte behind it, as much as there is room for: its length, or
// -errno and an empty text. Async-signal-safe.
int cipc_procfs_read(const char *path, char *text, size_t capacity);

// What /proc/PID/stat says of a task, all of it at one time.
typedef struct cipc_procfs_task {
  char name[32];
  char state;
  pid_t parent;
  // In clock ticks since the machine was started.
  uint64_t start;
  // As wait(2) gives it; 0 while the task runs, and where the caller may not know it.
  int status;
} cipc_procfs_task_t;

// CIPC_ESRCH: the task has gone. CIPC_ENOENT: it has gone, or is hidden from this process (hidepid
// of proc(5)). CIPC_ENOSYS: this is no /proc of the kernel's.
int cipc_procfs_read_task(const char *path, cipc_procfs_task_t *task);
// The same, of a number: of threads as well, although they are not listed.
int cipc_procfs_task_of(pid_t number, cipc_procfs_task_t *task);

#endif
