/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/participant.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#define PID_BITS 22
// proc(5): starttime is the 22nd field of /proc/PID/stat, the 20th behind the program's name.
#define START_TIME_FIELD_BEHIND_NAME 20

static int read_start_time(pid_t pid, uint64_t *start) {
  char path[32];
  (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? CIPC_ESRCH : -errno;
  char text[1024];
  ssize_t length = read(fd, text, sizeof text - 1);
  int error = errno;
  (void)close(fd);
  // The process may end between open and read; then the read says ESRCH.
  if (length <= 0) return length == 0 ? CIPC_ESRCH : -error;
  text[length] = '\0';
  // The name stands in parentheses and may itself hold spaces and parentheses.
  const char *field = strrchr(text, ')');
  for (int i = 0; field != NULL && i < START_TIME_FIELD_BEHIND_NAME; i++) {
    field = strchr(field + 1, ' ');
  }
  if (field == NULL) return CIPC_ENOSYS;
  *start = strtoull(field + 1, NULL, 10);
  return 0;
}

int cipc_participant_of(pid_t pid, cipc_participant_t *participant) {
  uint64_t start = 0;
  int status = read_start_time(pid, &start);
  if (status < 0) return status;
  *participant = (start << PID_BITS) | (cipc_participant_t)pid;
  return 0;
}

cipc_participant_t *cipc_participant_page;

// NULL where the kernel has no pages that are wiped on fork: then nothing is kept.
static cipc_participant_t *identity_page(void) {
  cipc_participant_t *found = __atomic_load_n(&cipc_participant_page, __ATOMIC_ACQUIRE);
  if (found != NULL) return found;
  size_t length = (size_t)sysconf(_SC_PAGESIZE);
  void *page = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  if (madvise(page, length, MADV_WIPEONFORK) == 0 &&
      __atomic_compare_exchange_n(&cipc_participant_page, &found, (cipc_participant_t *)page, 0,
                                  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    return page;
  }
  (void)munmap(page, length);
  return found;
}

cipc_participant_t cipc_participant_self(void) {
  cipc_participant_t *page = identity_page();
  cipc_participant_t self = CIPC_PARTICIPANT_NOBODY;
  if (page != NULL) self = __atomic_load_n(page, __ATOMIC_RELAXED);
  if (self != CIPC_PARTICIPANT_NOBODY) return self;
  if (cipc_participant_of(getpid(), &self) < 0) return CIPC_PARTICIPANT_NOBODY;
  if (page != NULL) __atomic_store_n(page, self, __ATOMIC_RELAXED);
  return self;
}

int cipc_participant_check(cipc_participant_t participant) {
  pid_t pid = cipc_participant_pid(participant);
  if (pid == 0) return CIPC_EINVAL;
  // The order is the proof: the descriptor pins whichever process has the pid now; its start time
  // says whether it is the one meant; then the descriptor says whether that one has ended.
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) {
    // EINVAL and ENOENT: the number is a thread of somebody else's now.
    return errno == ESRCH || errno == EINVAL || errno == ENOENT ? CIPC_PARTICIPANT_DEAD : -errno;
  }
  cipc_participant_t found = CIPC_PARTICIPANT_NOBODY;
  int status = cipc_participant_of(pid, &found);
  if (status == CIPC_ESRCH || (status == 0 && found != participant)) {
    status = CIPC_PARTICIPANT_DEAD;
  } else if (status == 0) {
    struct pollfd ended = {.fd = fd, .events = POLLIN, .revents = 0};
    int count = poll(&ended, 1, 0);
    // EINTR cannot come from a poll that does not wait.
    status = count < 0 ? -errno : (count > 0 ? CIPC_PARTICIPANT_DEAD : 0);
  }
  (void)close(fd);
  return status;
}

uint64_t cipc_participant_namespace(void) {
  struct stat status;
  return stat("/proc/self/ns/pid", &status) < 0 ? 0 : (uint64_t)status.st_ino;
}
