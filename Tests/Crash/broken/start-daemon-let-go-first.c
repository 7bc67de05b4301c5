/* SPDX-License-Identifier: Apache-2.0 */
// A parent that lets a daemon go on before it arms its lifeline: one killed in between leaves it.
// Caught: start.spawn-daemon parent: the child does not end .*
#include <sys/socket.h>
#include <sys/types.h>

static ssize_t sent_already(int socket, const void *bytes, size_t size, int flags) {
  (void)socket, (void)bytes, (void)flags;
  return (ssize_t)size;
}

#define send sent_already
#define cipc_start_adopt adopt_right
#include "process/start.c"
#undef cipc_start_adopt
#undef send

int cipc_start_adopt(cipc_start_t *start) {
  (void)!send(start->connection, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  return adopt_right(start);
}
