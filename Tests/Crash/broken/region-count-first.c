/* SPDX-License-Identifier: Apache-2.0 */
// A region whose directory grows before the new entry is written.
// Caught: region.allocate owns: there are 5 objects
#define cipc_region_allocate allocate_right
#include "data/region.c"
#undef cipc_region_allocate

int cipc_region_allocate(cipc_region_t *region, size_t size, const cipc_region_object_t *object,
                         cipc_region_entry_t *entry, cipc_deadline_t deadline) {
  int status = cipc_mutex_lock(&region->mutex, deadline);
  if (status == CIPC_OWNER_DIED) status = cipc_mutex_recover(&region->mutex);
  if (status < 0) return status;
  status = cipc_region_find(region, size, object->name, &object->type, entry);
  if (status == CIPC_ENOENT) {
    volatile uint64_t *slot =
        (volatile uint64_t *)(void *)slot_of(region, size, cipc_region_count(region, size));
    status = make(region, size, object, entry);
    // From here on as if `make` had stored the count already.
    if (status == CIPC_REGION_CREATED) {
      uint64_t words[ENTRY / 8];
      memcpy(words, entry, ENTRY);
      for (size_t i = 0; i < ENTRY / 8; i++) slot[i] = 0;
      for (size_t i = 0; i < ENTRY / 8; i++) slot[i] = words[i];
    }
  }
  int released = cipc_mutex_unlock(&region->mutex);
  return released < 0 ? released : status;
}
