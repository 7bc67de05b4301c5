/* SPDX-License-Identifier: Apache-2.0 */
// A segment that is made under its name: as shm_open(3) alone would have it.
// Caught: segment.open-or-create owns: the name is there .* size: too short
#define cipc_segment_open_or_create open_or_create_right
#include "segment/segment.c"
#undef cipc_segment_open_or_create

int cipc_segment_open_or_create(cipc_segment_t **segment, const char *name, size_t size,
                                const cipc_segment_options_t *options,
                                cipc_segment_prepare_t prepare, void *context) {
  char path[sizeof DIRECTORY + NAME_MAXIMUM];
  (void)snprintf(path, sizeof path, DIRECTORY "%s", name);
  int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor < 0) return cipc_segment_open_named(segment, name, options);
  cipc_segment_options_t named = *options;
  named.named = 1;
  cipc_segment_t *made = NULL;
  int status = cipc_segment_create(&made, size, &named);
  if (status < 0) return status;
  (void)munmap(made->mapping, made->length);
  (void)close(made->descriptor);
  made->descriptor = descriptor;
  status = allocate(made, 0);
  if (status < 0) return status;
  write_header(made);
  status = prepare(cipc_segment_address(made), context);
  if (status < 0) return status;
  cipc_layout_header_t *header = (cipc_layout_header_t *)(void *)made->mapping;
  __atomic_store_n(&header->ready, CIPC_LAYOUT_READY, __ATOMIC_RELEASE);
  *segment = made;
  return CIPC_SEGMENT_CREATED;
}
