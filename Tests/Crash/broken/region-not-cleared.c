/* SPDX-License-Identifier: Apache-2.0 */
// A region that gives out memory as a killed maker has left it.
// Caught: region.allocate owns: survivor: wanted is not whole: word 0 is [1-9][0-9]*
#define cipc_region_allocate allocate_right
#include "data/region.c"
#undef cipc_region_allocate

int cipc_region_allocate(cipc_region_t *region, size_t size, const cipc_region_object_t *object,
                         cipc_region_entry_t *entry, cipc_deadline_t deadline) {
  region->touched = 0;
  return allocate_right(region, size, object, entry, deadline);
}
