/* SPDX-License-Identifier: Apache-2.0 */
// A region that looks for a name before it takes the lock, and not again behind it.
// Caught: region.allocate owns: there are 5 objects
#define cipc_region_allocate allocate_right
#include "data/region.c"
#undef cipc_region_allocate

int cipc_region_allocate(cipc_region_t *region, size_t size, const cipc_region_object_t *object,
                         cipc_region_entry_t *entry, cipc_deadline_t deadline) {
  int status = cipc_region_find(region, size, object->name, &object->type, entry);
  if (status != CIPC_ENOENT) return status;
  status = cipc_mutex_lock(&region->mutex, deadline);
  if (status == CIPC_OWNER_DIED) status = cipc_mutex_recover(&region->mutex);
  if (status < 0) return status;
  status = make(region, size, object, entry);
  int released = cipc_mutex_unlock(&region->mutex);
  return released < 0 ? released : status;
}
