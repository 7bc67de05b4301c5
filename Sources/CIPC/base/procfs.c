/* SPDX-License-Identifier: Apache-2.0 */
#include "base/procfs.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cipc/status.h"

// proc(5): the state is the field right behind the program's name; these are so many behind it.
#define PARENT_BEHIND_NAME 2
#define START_BEHIND_NAME 20
#define STATUS_BEHIND_NAME 50

int cipc_procfs_read(const char *path, char *text, size_t capacity) {
  text[0] = '\0';
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -errno;
  ssize_t length = read(file, text, capacity - 1);
  int status = length < 0 ? -errno : (int)length;
  (void)close(file);
  text[length > 0 ? length : 0] = '\0';
  return status;
}

int cipc_procfs_read_task(const char *path, cipc_procfs_task_t *task) {
  char text[1024];
  int length = cipc_procfs_read(path, text, sizeof text);
  // The task may end between open and read; then the read says ESRCH.
  if (length <= 0) return length == 0 ? CIPC_ESRCH : length;
  // The name stands in parentheses and may itself hold spaces and parentheses.
  const char *name = strchr(text, '('), *field = strrchr(text, ')');
  if (name == NULL || field == NULL || field[1] != ' ') return CIPC_ENOSYS;
  size_t size = (size_t)(field - name) - 1;
  if (size >= sizeof task->name) size = sizeof task->name - 1;
  memcpy(task->name, name + 1, size);
  task->name[size] = '\0';
  task->state = field[2];
  task->status = 0;
  bool has_start = false;
  field = strchr(field, ' ');
  for (int i = 2; (field = strchr(field + 1, ' ')) != NULL; i++) {
    if (i == PARENT_BEHIND_NAME) task->parent = (pid_t)strtol(field + 1, NULL, 10);
    if (i == START_BEHIND_NAME) {
      task->start = strtoull(field + 1, NULL, 10);
      has_start = true;
    }
    if (i == STATUS_BEHIND_NAME) task->status = (int)strtol(field + 1, NULL, 10);
  }
  return has_start ? 0 : CIPC_ENOSYS;
}

int cipc_procfs_task_of(pid_t number, cipc_procfs_task_t *task) {
  char path[32];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)number);
  return cipc_procfs_read_task(path, task);
}
