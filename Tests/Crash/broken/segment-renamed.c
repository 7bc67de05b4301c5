/* SPDX-License-Identifier: Apache-2.0 */
// A segment that has another name first, which stays when its creator is killed.
// Caught: segment.create-named owns: cipc-crash-[0-9]+.draft is left in /dev/shm
#define cipc_segment_publish publish_right
#include "segment/segment.c"
#undef cipc_segment_publish

int cipc_segment_publish(cipc_segment_t *segment, const char *name) {
  if (name == NULL) return publish_right(segment, NULL);
  char draft[sizeof DIRECTORY + NAME_MAXIMUM], path[sizeof DIRECTORY + NAME_MAXIMUM];
  (void)snprintf(draft, sizeof draft, "%s.draft", name);
  int status = publish_right(segment, draft);
  if (status < 0) return status;
  (void)snprintf(draft, sizeof draft, DIRECTORY "%s.draft", name);
  (void)snprintf(path, sizeof path, DIRECTORY "%s", name);
  return rename(draft, path) < 0 ? -errno : 0;
}
