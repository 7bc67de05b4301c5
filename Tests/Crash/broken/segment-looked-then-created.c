/* SPDX-License-Identifier: Apache-2.0 */
// A creator that has seen no name and takes it, even if another process has it by then.
// Caught: segment.create-overtaken owns: open or create: .* \(5\) instead of 0
#define cipc_segment_open_or_create open_or_create_right
#include "segment/segment.c"
#undef cipc_segment_open_or_create

int cipc_segment_open_or_create(cipc_segment_t **segment, const char *name, size_t size,
                                const cipc_segment_options_t *options,
                                cipc_segment_prepare_t prepare, void *context) {
  int status = open_existing(segment, name, size, options);
  if (status != CIPC_ENOENT) return status;
  cipc_segment_options_t named = *options;
  named.named = 1;
  status = cipc_segment_create(segment, size, &named);
  if (status == 0) status = prepare(cipc_segment_address(*segment), context);
  if (status == 0 && cipc_segment_unlink(name) < 0 && errno != ENOENT) status = -errno;
  if (status == 0) status = cipc_segment_publish(*segment, name);
  return status < 0 ? status : CIPC_SEGMENT_CREATED;
}
