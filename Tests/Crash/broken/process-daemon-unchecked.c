/* SPDX-License-Identifier: Apache-2.0 */
// A daemon that arms its lifeline and does not look whether it was cut before.
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include "cipc/clock.h"

static int poll_nothing(struct pollfd *descriptors, nfds_t count, int timeout) {
  return count == 1 && timeout == 0 ? 0 : poll(descriptors, count, timeout);
}

#define poll poll_nothing
#include "process.c"
