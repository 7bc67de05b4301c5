/* SPDX-License-Identifier: Apache-2.0 */
// For tests that prove that nothing leaks.
#ifndef DESCRIPTORS_H
#define DESCRIPTORS_H

#include <dirent.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/descriptor.h"
#include "check.h"

/// The number of descriptors that this process has open, once what was dropped is closed.
static inline int open_descriptors(void) {
  while (cipc_descriptor_is_dropping()) (void)sched_yield();
  DIR *directory = opendir("/proc/self/fd");
  CHECK(directory != NULL);
  int count = -1;  // the directory's own
  for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
    if (entry->d_name[0] != '.') count++;
  }
  CHECK(closedir(directory) == 0);
  return count;
}

/// Lets this process have so many descriptors open or in flight; false, with the test skipped,
/// where the hard limit is lower. Only root may have more in flight than the soft limit says.
static inline bool descriptors_allowed(rlim_t count) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  if (limit.rlim_cur >= count) return true;
  if (limit.rlim_max < count) {
    check_skip("the hard limit of open files (ulimit -Hn) is too low");
    return false;
  }
  limit.rlim_cur = count;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  return true;
}

#endif
