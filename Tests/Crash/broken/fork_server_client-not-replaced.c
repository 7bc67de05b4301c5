/* SPDX-License-Identifier: Apache-2.0 */
// A caller that gives up when it finds the fork server dead.
// Caught: start.server server: start 0 failed: CIPC_ECLOSED
#include "process/start.h"

static int finish_otherwise(cipc_start_t *start, int status, cipc_process_t **process,
                            int *connection) {
  status = cipc_start_finish(start, status, process, connection);
  return status == CIPC_EPEERCLOSED ? CIPC_ECLOSED : status;
}

#define cipc_start_finish finish_otherwise
#include "process/fork_server_client.c"
