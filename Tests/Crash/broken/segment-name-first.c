/* SPDX-License-Identifier: Apache-2.0 */
// A segment that is found before it is ready.
// Caught: segment.create-named owns: the name is there .* its creator did not finish it
#define cipc_segment_publish publish_right
#include "segment/segment.c"
#undef cipc_segment_publish

int cipc_segment_publish(cipc_segment_t *segment, const char *name) {
  cipc_layout_header_t *header = (cipc_layout_header_t *)(void *)segment->mapping;
  if (name != NULL) {
    char self[32], path[sizeof DIRECTORY + NAME_MAXIMUM];
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", segment->descriptor);
    (void)snprintf(path, sizeof path, DIRECTORY "%s", name);
    if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0) return -errno;
  }
  __atomic_store_n(&header->ready, CIPC_LAYOUT_READY, __ATOMIC_RELEASE);
  return 0;
}
