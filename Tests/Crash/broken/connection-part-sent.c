/* SPDX-License-Identifier: Apache-2.0 */
// A connection that takes half of a frame for the whole, once it has waited for room.
// Caught: connection.send-large woken: frame 1, of 40001 bytes, was never written
#include "stream/frame.h"

static int step_hasty(cipc_frame_writer_t *writer, int fd, int kind, cipc_wait_t *wait) {
  int status = cipc_frame_writer_step(writer, fd, kind, wait);
  return status == CIPC_EAGAIN && writer->sent > writer->length / 2 ? 0 : status;
}
#define cipc_frame_writer_step step_hasty
#include "stream/connection.c"
