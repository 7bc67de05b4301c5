/* SPDX-License-Identifier: Apache-2.0 */
#include "base/processor.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/procfs.h"

#define PATH_SIZE 4096

static int rounded_up(long long quota, long long period) {
  if (quota <= 0 || period <= 0) return 0;
  long long count = quota / period + (quota % period != 0);
  return count > INT_MAX ? INT_MAX : (int)count;
}

// The quota of one directory; 0 for none.
static int quota_of(const char *directory, int is_version_2) {
  char path[PATH_SIZE + 32], text[128];
  long long quota = 0, period = 0;
  if (is_version_2) {
    (void)snprintf(path, sizeof path, "%s/cpu.max", directory);
    // "max 100000" has no number in front.
    if (cipc_procfs_read(path, text, sizeof text) < 0) return 0;
    char *end;
    quota = strtoll(text, &end, 10);
    if (end == text) return 0;
    period = strtoll(end, NULL, 10);
  } else {
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
    if (cipc_procfs_read(path, text, sizeof text) < 0) return 0;
    quota = strtoll(text, NULL, 10);
    (void)snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
    if (cipc_procfs_read(path, text, sizeof text) < 0) return 0;
    period = strtoll(text, NULL, 10);
  }
  return rounded_up(quota, period);
}

// The lowest of a group and the groups around it. In a container the path may be the host's: then
// only its end exists here, the root.
static int quota_of_path(const char *root, const char *path, size_t length, int is_version_2) {
  int lowest = 0;
  for (;;) {
    while (length > 0 && path[length - 1] == '/') length--;
    char directory[PATH_SIZE];
    int size = snprintf(directory, sizeof directory, "%s%.*s", root, (int)length, path);
    if (size > 0 && (size_t)size < sizeof directory) {
      int quota = quota_of(directory, is_version_2);
      if (quota > 0 && (lowest == 0 || quota < lowest)) lowest = quota;
    }
    if (length == 0) return lowest;
    while (length > 0 && path[length - 1] != '/') length--;
  }
}

// Whether a list such as "cpu,cpuacct" has "cpu".
static bool has_cpu(const char *list, size_t length) {
  while (length > 0) {
    const char *comma = memchr(list, ',', length);
    size_t word = comma != NULL ? (size_t)(comma - list) : length;
    if (word == 3 && memcmp(list, "cpu", 3) == 0) return true;
    if (comma == NULL) return false;
    list += word + 1;
    length -= word + 1;
  }
  return false;
}

int cipc_processor_quota(const char *list, const char *root) {
  int lowest = 0;
  // Lines of number:controllers:path; version 2 has the number 0 and no controllers.
  for (const char *line = list; *line != '\0';) {
    size_t length = strcspn(line, "\n");
    const char *controllers = memchr(line, ':', length);
    const char *path = NULL;
    if (controllers != NULL) {
      controllers++;
      path = memchr(controllers, ':', length - (size_t)(controllers - line));
    }
    if (path != NULL) {
      size_t words = (size_t)(path - controllers);
      path++;
      size_t rest = length - (size_t)(path - line);
      int quota = 0;
      char directory[PATH_SIZE];
      if (words == 0) {
        quota = quota_of_path(root, path, rest, 1);
      } else if (has_cpu(controllers, words) && strlen(root) + 5 < sizeof directory) {
        (void)snprintf(directory, sizeof directory, "%s/cpu", root);
        quota = quota_of_path(directory, path, rest, 0);
      }
      if (quota > 0 && (lowest == 0 || quota < lowest)) lowest = quota;
    }
    line += length;
    if (*line == '\n') line++;
  }
  return lowest;
}

static int affinity_count(void) {
  // The kernel wants room for all processors that it could have.
  for (int room = 1024; room <= 1 << 20; room *= 2) {
    cpu_set_t *set = CPU_ALLOC((size_t)room);
    if (set == NULL) break;
    size_t size = CPU_ALLOC_SIZE((size_t)room);
    int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int)online : 1;
}

int cipc_processor_count(void) {
  int count = affinity_count();
  char list[8192];
  if (cipc_procfs_read("/proc/self/cgroup", list, sizeof list) < 0) return count;
  int quota = cipc_processor_quota(list, "/sys/fs/cgroup");
  return quota > 0 && quota < count ? quota : count;
}
