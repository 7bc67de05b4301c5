/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/pages.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cipc/status.h"

// Linux 5.14; musl does not name them.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int cipc_pages_round(int descriptor, size_t *length) {
  struct stat status;
  if (fstat(descriptor, &status) < 0) return -errno;
  // hugetlbfs says the size of its pages here.
  size_t page = (size_t)status.st_blksize;
  if (*length > (size_t)PTRDIFF_MAX - page) return CIPC_EOVERFLOW;
  *length = (*length + page - 1) / page * page;
  return 0;
}

void cipc_pages_advise_huge(void *mapping, size_t length) {
  // EINVAL where the kernel was built without them: then there are none to be had.
  (void)madvise(mapping, length, MADV_HUGEPAGE);
}

void cipc_pages_populate(void *mapping, size_t length, bool writable) {
  int status;
  do {
    status = madvise(mapping, length, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
  } while (status < 0 && errno == EINTR);
  // EINVAL before Linux 5.14: a byte of each page. Reading is enough for shared memory in RAM,
  // whose pages are entered writable at once.
  if (status < 0 && errno == EINVAL) {
    long page = sysconf(_SC_PAGESIZE);
    for (size_t at = 0; page > 0 && at < length; at += (size_t)page) {
      (void)*((volatile unsigned char *)mapping + at);
    }
  }
}
