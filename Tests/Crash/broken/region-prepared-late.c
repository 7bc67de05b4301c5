/* SPDX-License-Identifier: Apache-2.0 */
// A region whose objects are found before they are prepared.
// Caught: region.allocate owns: survivor: wanted is not whole: word 0 is 0
#define cipc_region_allocate allocate_right
#include "data/region.c"
#undef cipc_region_allocate

int cipc_region_allocate(cipc_region_t *region, size_t size, const cipc_region_object_t *object,
                         cipc_region_entry_t *entry, cipc_deadline_t deadline) {
  cipc_region_object_t bare = *object;
  bare.prepare = NULL;
  int status = allocate_right(region, size, &bare, entry, deadline);
  if (status != CIPC_REGION_CREATED || object->prepare == NULL) return status;
  int prepared = object->prepare(cipc_region_address(region, entry), object->context);
  return prepared < 0 ? prepared : status;
}
