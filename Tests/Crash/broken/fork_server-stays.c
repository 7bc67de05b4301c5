/* SPDX-License-Identifier: Apache-2.0 */
// A fork server that cuts its lifeline and does not end with its socket.
// Caught: start.server parent: the server does not end .*
#include <unistd.h>

#include "cipc/frame.h"
#include "process/lifeline.h"

static int read_for_ever(int socket, uint64_t maximum, uint8_t **bytes, size_t *length,
                         int **descriptors, size_t *count, cipc_deadline_t deadline) {
  int status = cipc_frame_read(socket, maximum, bytes, length, descriptors, count, deadline);
  while (status == CIPC_EPEERCLOSED) (void)pause();
  return status;
}

#define cipc_frame_read read_for_ever
#define cipc_fork_server_main main_right
#include "process/fork_server.c"
#undef cipc_fork_server_main

int cipc_fork_server_main(int connection) {
  // It is handed no descriptors, so that its lifeline is the next one.
  cipc_lifeline_disarm(connection + 1);
  return main_right(connection);
}
