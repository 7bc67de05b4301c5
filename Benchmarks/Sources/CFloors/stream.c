/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fail.h"
#include "floors.h"

void floor_socketpair(int ends[2]) {
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) fail("socketpair", errno);
}

static void write_all(int fd, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t count = write(fd, bytes, size);
    if (count < 0) fail("write", errno);
    bytes += count;
    size -= (size_t)count;
  }
}

// 0 at end of file.
static int read_all(int fd, char *bytes, size_t size) {
  while (size > 0) {
    ssize_t count = read(fd, bytes, size);
    if (count < 0) fail("read", errno);
    if (count == 0) return 0;
    bytes += count;
    size -= (size_t)count;
  }
  return 1;
}

void floor_round_trips(int fd, void *buffer, size_t size, size_t count) {
  for (size_t i = 0; i < count; i++) {
    write_all(fd, buffer, size);
    if (!read_all(fd, buffer, size)) fail("the peer is gone", EPIPE);
  }
}

void floor_echo(int fd, void *buffer, size_t size) {
  while (read_all(fd, buffer, size)) write_all(fd, buffer, size);
}

void floor_messages(int fd, void *buffer, size_t size, size_t count) {
  for (size_t i = 0; i < count; i++) write_all(fd, buffer, size);
  char answer;
  for (size_t i = 0; i < count; i++) {
    if (!read_all(fd, &answer, 1)) fail("the peer is gone", EPIPE);
  }
}

void floor_sink(int fd, void *buffer, size_t size) {
  while (read_all(fd, buffer, size)) write_all(fd, "a", 1);
}
