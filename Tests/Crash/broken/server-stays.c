/* SPDX-License-Identifier: Apache-2.0 */
// A fork server that neither is a daemon nor ends with its socket.
// Caught: start.server parent: the server does not end .*
#include "cipc/frame.h"
#include "process/start.h"

#include <unistd.h>

static int spawn_no_daemon(cipc_process_t **process, int *connection, cipc_process_entry_t entry,
                           const cipc_process_options_t *options) {
  cipc_process_options_t copy = *options;
  copy.is_daemon = 0;
  return cipc_process_spawn(process, connection, entry, &copy);
}

static int read_for_ever(int socket, uint64_t maximum, uint8_t **bytes, size_t *length,
                         int **descriptors, size_t *count, cipc_deadline_t deadline) {
  int status = cipc_frame_read(socket, maximum, bytes, length, descriptors, count, deadline);
  while (status == CIPC_EPEERCLOSED) (void)pause();
  return status;
}

#define cipc_process_spawn spawn_no_daemon
#define cipc_frame_read read_for_ever
#include "process/server.c"
