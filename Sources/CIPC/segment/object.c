/* SPDX-License-Identifier: Apache-2.0 */
#include "segment/object.h"

#include "segment/mismatch.h"

static int check(cipc_segment_t *segment, const cipc_object_t *object) {
  int status = object->check != NULL ? object->check(segment, object) : 0;
  if (status < 0) cipc_segment_close(segment);
  return status;
}

int cipc_object_open(cipc_segment_t **segment, const char *name, const cipc_object_t *object) {
  cipc_segment_t *found = NULL;
  int status =
      cipc_segment_open_named(&found, name, &(cipc_segment_options_t){.type = &object->type});
  if (status == 0) status = check(found, object);
  if (status == 0) *segment = found;
  return status;
}

int cipc_object_make(cipc_segment_t **segment, const char *name, const cipc_object_t *object) {
  cipc_segment_t *found = NULL;
  int made = cipc_segment_open_or_create(&found, name, object->size,
                                         &(cipc_segment_options_t){.type = &object->type},
                                         object->prepare, object->context);
  if (made < 0) return made;
  int status = check(found, object);
  if (status < 0) return status;
  *segment = found;
  return made;
}

cipc_segment_type_t cipc_object_type(uint32_t kind, uint32_t version, const cipc_element_t *element,
                                     uint64_t count) {
  return (cipc_segment_type_t){.kind = kind,
                               .version = version,
                               .element_size = element->size,
                               .stride = element->stride,
                               .alignment = element->alignment,
                               .count = count,
                               .fingerprint = element->fingerprint};
}

int cipc_object_fits(const cipc_segment_t *segment, size_t footprint) {
  size_t size = cipc_segment_size(segment);
  return footprint <= size ? 0 : cipc_mismatch_numbers(CIPC_ESEGMENTCOUNT, size, footprint);
}
