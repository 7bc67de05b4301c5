/* SPDX-License-Identifier: Apache-2.0 */
// A start that keeps its copy of the child's end of the connection: a leak, and an end that the
// parent never sees.
// Caught: start.spawn child: the parent does not end .*
#define cipc_start_finish finish_right
#include "process/start.c"
#undef cipc_start_finish

int cipc_start_finish(cipc_start_t *start, int status, cipc_process_t **process, int *connection) {
  if (start->count > CIPC_PROCESS_CONNECTION) start->is_owned[CIPC_PROCESS_CONNECTION] = false;
  return finish_right(start, status, process, connection);
}
