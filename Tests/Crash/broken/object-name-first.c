/* SPDX-License-Identifier: Apache-2.0 */
// An object that has its name before its contents.
// Caught: object.make-cell owns: the name is there and the value is 0: done
#define cipc_object_make make_right
#include "segment/object.c"
#undef cipc_object_make

int cipc_object_make(cipc_segment_t **segment, const char *name, const cipc_object_t *object) {
  cipc_object_t without = *object;
  without.prepare = NULL;
  without.check = NULL;
  int status = make_right(segment, name, &without);
  if (status != CIPC_SEGMENT_CREATED) return status;
  int prepared = object->prepare(cipc_segment_address(*segment), object->context);
  return prepared < 0 ? prepared : status;
}
