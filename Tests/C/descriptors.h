/* SPDX-License-Identifier: Apache-2.0 */
// For tests that prove that nothing leaks.
#ifndef DESCRIPTORS_H
#define DESCRIPTORS_H

#include <dirent.h>
#include <sys/stat.h>

#include "check.h"

/// The number of descriptors that this process has open.
static inline int open_descriptors(void) {
  DIR *directory = opendir("/proc/self/fd");
  CHECK(directory != NULL);
  int count = -1;  // the directory's own
  for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
    if (entry->d_name[0] != '.') count++;
  }
  CHECK(closedir(directory) == 0);
  return count;
}

#endif
