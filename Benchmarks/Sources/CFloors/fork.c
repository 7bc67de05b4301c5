/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"
#include "floors.h"

void floor_forks(size_t count) {
  for (size_t i = 0; i < count; i++) {
    pid_t child = fork();
    if (child < 0) fail("fork", errno);
    if (child == 0) _exit(0);
    floor_wait(child);
  }
}

void floor_server_serve(int fd) {
  char request[FLOOR_REQUEST_SIZE];
  for (;;) {
    ssize_t size = recv(fd, request, sizeof request, 0);
    if (size == 0) return;
    if (size != (ssize_t)sizeof request) fail("recv", size < 0 ? errno : EPROTO);
    pid_t child = fork();
    if (child < 0) fail("fork", errno);
    if (child == 0) _exit(0);
    int status = 0;
    while (waitpid(child, &status, 0) < 0) {
      if (errno != EINTR) fail("waitpid", errno);
    }
    if (send(fd, &status, sizeof status, MSG_NOSIGNAL) < 0) return;
  }
}

void floor_server_starts(int fd, size_t count) {
  static const char request[FLOOR_REQUEST_SIZE];
  for (size_t i = 0; i < count; i++) {
    if (send(fd, request, sizeof request, MSG_NOSIGNAL) < 0) fail("send", errno);
    int status = -1;
    if (recv(fd, &status, sizeof status, 0) != (ssize_t)sizeof status) fail("recv", EPROTO);
    if (status != 0) fail("the bare fork server's child", EPROTO);
  }
}

void floor_memory_touch(size_t size) {
  if (size == 0) return;
  char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes == MAP_FAILED) fail("mmap", errno);
  // As small pages, of which there are 512 times as many to copy.
  (void)madvise(bytes, size, MADV_NOHUGEPAGE);
  memset(bytes, 1, size);
}

void floor_files_open(size_t count) {
  if (count == 0) return;
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) < 0) fail("getrlimit", errno);
  files.rlim_cur = files.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &files) < 0) fail("setrlimit", errno);
  for (size_t i = 0; i < count; i++) {
    if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) fail("open", errno);
  }
}
