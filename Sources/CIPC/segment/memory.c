/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/memory.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/procfs.h"
#include "cipc/status.h"

#define UNCHECKED_BELOW ((size_t)1 << 20)
#define KIBIBYTE UINT64_C(1024)

// The number behind a name in /proc/meminfo, in bytes; 0 when it is not there.
static uint64_t meminfo(const char *text, const char *name) {
  const char *field = strstr(text, name);
  return field == NULL ? 0 : strtoull(field + strlen(name), NULL, 10) * KIBIBYTE;
}

static uint64_t available_on_machine(void) {
  char text[4096];
  (void)cipc_procfs_read("/proc/meminfo", text, sizeof text);
  if (text[0] == '\0') return UINT64_MAX;
  return meminfo(text, "MemAvailable:") + meminfo(text, "SwapFree:");
}

// A number from a file of this process's cgroup (version 2), UINT64_MAX for "max" or no such file.
static uint64_t cgroup_number(const char *group, const char *file) {
  char path[4096];
  char text[64];
  (void)snprintf(path, sizeof path, "/sys/fs/cgroup%s/%s", group, file);
  (void)cipc_procfs_read(path, text, sizeof text);
  return text[0] < '0' || text[0] > '9' ? UINT64_MAX : strtoull(text, NULL, 10);
}

static uint64_t available_in_cgroup(void) {
  char text[2048];
  (void)cipc_procfs_read("/proc/self/cgroup", text, sizeof text);
  // cgroups(7): version 2 has one line, "0::" and the path.
  char *group = strncmp(text, "0::", 3) == 0 ? text + 3 : NULL;
  if (group == NULL) return UINT64_MAX;
  group[strcspn(group, "\n")] = '\0';
  uint64_t limit = cgroup_number(group, "memory.max");
  uint64_t used = cgroup_number(group, "memory.current");
  if (limit == UINT64_MAX || used == UINT64_MAX) return UINT64_MAX;
  return limit > used ? limit - used : 0;
}

int cipc_memory_check(size_t size) {
  if (size < UNCHECKED_BELOW) return 0;
  return size > available_on_machine() || size > available_in_cgroup() ? CIPC_ENOMEM : 0;
}
