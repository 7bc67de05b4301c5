/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "floors.h"
#include "pairs.h"

uint64_t floor_now(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

void floor_pin(int core) {
  static cpu_set_t at_first;
  static int known;
  if (!known && sched_getaffinity(0, sizeof at_first, &at_first) < 0) {
    fail("sched_getaffinity", errno);
  }
  known = 1;
  cpu_set_t cores = at_first;
  if (core >= 0) {
    CPU_ZERO(&cores);
    CPU_SET((unsigned)core, &cores);
  }
  if (sched_setaffinity(0, sizeof cores, &cores) < 0) fail("sched_setaffinity", errno);
}

/// The parent of a process; 0 when there is no such process any more.
static pid_t parent_of(long process) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%ld/stat", process);
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  char text[512];
  size_t length = fread(text, 1, sizeof text - 1, file);
  (void)fclose(file);
  text[length] = '\0';
  // Behind the name, which may hold anything, and the state.
  const char *state = strrchr(text, ')');
  return state == NULL || strlen(state) < 4 ? 0 : (pid_t)strtol(state + 4, NULL, 10);
}

void floor_pin_children(void) {
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) < 0) fail("sched_getaffinity", errno);
  DIR *processes = opendir("/proc");
  if (processes == NULL) fail("/proc", errno);
  struct dirent *entry;
  while ((entry = readdir(processes)) != NULL) {
    long process = strtol(entry->d_name, NULL, 10);
    if (process <= 0 || parent_of(process) != getpid()) continue;
    // Fails when it has ended meanwhile.
    (void)!sched_setaffinity((pid_t)process, sizeof cores, &cores);
  }
  (void)closedir(processes);
}

/// Of one thread; 0 when it has ended meanwhile.
static size_t sleeps_of_thread(int process, long thread) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/task/%ld/status", process, thread);
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  char line[256];
  size_t sleeps = 0;
  while (fgets(line, sizeof line, file) != NULL &&
         sscanf(line, "voluntary_ctxt_switches: %zu", &sleeps) != 1) {
  }
  (void)fclose(file);
  return sleeps;
}

size_t floor_sleeps_of(pid_t process) {
  char path[64];
  (void)snprintf(path, sizeof path, "/proc/%d/task", (int)process);
  DIR *threads = opendir(path);
  if (threads == NULL) fail(path, errno);
  size_t sleeps = 0;
  struct dirent *entry;
  while ((entry = readdir(threads)) != NULL) {
    long thread = strtol(entry->d_name, NULL, 10);
    if (thread > 0) sleeps += sleeps_of_thread((int)process, thread);
  }
  (void)closedir(threads);
  return sleeps;
}
