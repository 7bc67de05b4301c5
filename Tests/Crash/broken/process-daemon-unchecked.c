/* SPDX-License-Identifier: Apache-2.0 */
// A daemon that arms its lifeline and does not look whether it was cut before.
// Caught: start.spawn-daemon parent@child: the child does not end .*
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cipc/clock.h"

static int poll_nothing(struct pollfd *descriptors, nfds_t count, int timeout) {
  struct stat file;
  bool is_pipe = count == 1 && fstat(descriptors->fd, &file) == 0 && S_ISFIFO(file.st_mode);
  return is_pipe ? 0 : poll(descriptors, count, timeout);
}

#define poll poll_nothing
#include "process.c"
