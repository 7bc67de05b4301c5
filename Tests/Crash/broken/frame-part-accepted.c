/* SPDX-License-Identifier: Apache-2.0 */
// A reader that takes what has come of a frame for the frame.
// Caught: frame.write-few owns: frame 1 came with 0 descriptors instead of 3
#define cipc_frame_read read_right
#include "stream/frame.c"
#undef cipc_frame_read

int cipc_frame_read(int fd, uint64_t maximum, uint8_t **bytes, size_t *length, int **descriptors,
                    size_t *count, cipc_deadline_t deadline) {
  uint8_t header[4];
  uint64_t claimed = 0;
  (void)deadline;
  if (read(fd, header, sizeof header) != (ssize_t)sizeof header) return CIPC_EPEERCLOSED;
  if (cipc_frame_decode_header(header, sizeof header, maximum, &claimed) <= 0) return CIPC_EINVAL;
  *bytes = malloc((size_t)claimed + 1);
  *descriptors = NULL;
  *count = 0;
  *length = 0;
  while (*length < claimed) {
    ssize_t done = read(fd, *bytes + *length, (size_t)claimed - *length);
    if (done <= 0) break;
    *length += (size_t)done;
  }
  return 0;
}
