/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/region.h"

#include <stdbool.h>
#include <string.h>

#include "segment/layout.h"
#include "segment/mismatch.h"
#include "segment/object.h"

_Static_assert(sizeof(cipc_region_t) == 128, "objects begin behind the region's head");
_Static_assert(sizeof(cipc_region_entry_t) == 128, "no padding in an entry");
_Static_assert(offsetof(cipc_region_entry_t, offset) == 112, "no padding in an entry");

#define MAGIC UINT64_C(0x0031474552504943)  // "CIPREG1" in memory, little-endian
#define VERSION 1u
#define LARGEST_ALIGNMENT 4096u
#define ENTRY sizeof(cipc_region_entry_t)

// Where the directory ends: at the last multiple of the alignment. Of a size that was checked.
static size_t end_of(size_t size) { return size & ~(size_t)(CIPC_REGION_ALIGNMENT - 1); }

static bool is_large_enough(size_t size) {
  return end_of(size) >= sizeof(cipc_region_t) + CIPC_REGION_ALIGNMENT + ENTRY;
}

static cipc_region_entry_t *slot_of(const cipc_region_t *region, size_t size, size_t index) {
  char *end = (char *)(uintptr_t)region + end_of(size);
  return (cipc_region_entry_t *)(void *)(end - (index + 1) * ENTRY);
}

static size_t round_up(size_t number, size_t alignment) {
  return (number + alignment - 1) & ~(alignment - 1);
}

size_t cipc_region_footprint(size_t objects, size_t bytes) {
  size_t total = sizeof(cipc_region_t) + CIPC_REGION_ALIGNMENT - 1;
  size_t each = 0;
  if (__builtin_mul_overflow(objects, ENTRY + CIPC_REGION_ALIGNMENT - 1, &each) ||
      __builtin_add_overflow(total, each, &total) || __builtin_add_overflow(total, bytes, &total)) {
    return SIZE_MAX;
  }
  return total;
}

int cipc_region_format(cipc_region_t *region, size_t size) {
  if (!is_large_enough(size)) return CIPC_EINVAL;
  region->magic = MAGIC;
  region->size = size;
  region->count = 0;
  region->touched = sizeof *region;
  return cipc_mutex_init(&region->mutex, NULL);
}

int cipc_region_check(const cipc_region_t *region, size_t size) {
  cipc_mismatch_clear();
  if (!is_large_enough(size)) return CIPC_ESEGMENTSIZE;
  // Each is read once.
  uint64_t magic = __atomic_load_n(&region->magic, __ATOMIC_RELAXED);
  uint64_t claimed = __atomic_load_n(&region->size, __ATOMIC_RELAXED);
  if (magic != MAGIC) return cipc_mismatch_words(CIPC_ESEGMENTMAGIC, magic, MAGIC);
  return claimed == size ? 0 : cipc_mismatch_numbers(CIPC_ESEGMENTSIZE, claimed, size);
}

cipc_segment_type_t cipc_region_type(uint64_t size) {
  return (cipc_segment_type_t){.kind = CIPC_KIND_REGION,
                               .version = VERSION,
                               .element_size = 1,
                               .stride = 1,
                               .alignment = CIPC_REGION_ALIGNMENT,
                               .count = size};
}

int cipc_region_create(cipc_segment_t **segment, size_t size) {
  cipc_segment_type_t type = cipc_region_type(size);
  cipc_segment_options_t options = {.type = &type};
  if (!is_large_enough(size)) return CIPC_EINVAL;
  int status = cipc_segment_create(segment, size, &options);
  if (status < 0) return status;
  status = cipc_region_format(cipc_region_in(*segment), cipc_segment_size(*segment));
  if (status == 0) status = cipc_segment_publish(*segment, NULL);
  if (status < 0) cipc_segment_close(*segment);
  return status;
}

// MARK: By name

static int prepare_named(void *payload, void *context) {
  return cipc_region_format(payload, *(const size_t *)context);
}

static int check_named(const cipc_segment_t *segment, const cipc_object_t *object) {
  (void)object;
  return cipc_region_check(cipc_region_in(segment), cipc_segment_size(segment));
}

int cipc_region_open_named(cipc_segment_t **segment, const char *name, uint64_t size) {
  return cipc_object_open(segment, name,
                          &(cipc_object_t){.type = cipc_region_type(size), .check = check_named});
}

int cipc_region_open_or_create(cipc_segment_t **segment, const char *name, size_t size) {
  if (!is_large_enough(size)) return CIPC_EINVAL;
  return cipc_object_make(segment, name,
                          &(cipc_object_t){.type = cipc_region_type(size),
                                           .size = size,
                                           .prepare = prepare_named,
                                           .context = &size,
                                           .check = check_named});
}

cipc_region_t *cipc_region_in(const cipc_segment_t *segment) {
  return cipc_segment_address(segment);
}

size_t cipc_region_count(const cipc_region_t *region, size_t size) {
  if (!is_large_enough(size)) return 0;
  uint64_t claimed = __atomic_load_n(&region->count, __ATOMIC_ACQUIRE);
  size_t most = (end_of(size) - sizeof *region) / ENTRY;
  return claimed < most ? (size_t)claimed : most;
}

// A private copy of an entry, which is between the objects and the end: the name is terminated and
// the object inside the region.
static int copy_entry(const cipc_region_t *region, size_t size, size_t index,
                      cipc_region_entry_t *entry) {
  memcpy(entry, slot_of(region, size, index), ENTRY);
  // What was read once is checked in the copy alone.
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  size_t limit = end_of(size) - (index + 1) * ENTRY;
  uint64_t bytes = 0;
  if (entry->offset < sizeof *region || entry->offset % CIPC_REGION_ALIGNMENT != 0 ||
      entry->offset > limit || entry->size > limit - entry->offset ||
      memchr(entry->name, '\0', sizeof entry->name) == NULL) {
    return CIPC_ESEGMENTSIZE;
  }
  return __builtin_mul_overflow(entry->type.count, entry->type.stride, &bytes) ||
                 bytes > entry->size
             ? CIPC_ESEGMENTCOUNT
             : 0;
}

int cipc_region_entry(const cipc_region_t *region, size_t size, size_t index,
                      cipc_region_entry_t *entry) {
  if (index >= cipc_region_count(region, size)) return CIPC_ENOENT;
  return copy_entry(region, size, index, entry);
}

// As with the header of a segment, the first field that differs decides.
static int compare(const cipc_segment_type_t *found, const cipc_segment_type_t *wanted) {
  int status = cipc_mismatch_kind(found, wanted);
  if (status == 0) status = cipc_mismatch_element(found, wanted);
  if (status < 0 || wanted->count == CIPC_SEGMENT_ANY_COUNT) return status;
  return found->count == wanted->count
             ? 0
             : cipc_mismatch_numbers(CIPC_ESEGMENTCOUNT, found->count, wanted->count);
}

// A name with zeros up to its full size.
static int full_name(const char *name, char *full) {
  size_t length = name != NULL ? strnlen(name, CIPC_REGION_NAME_SIZE) : 0;
  if (length == 0 || length == CIPC_REGION_NAME_SIZE) return CIPC_EINVAL;
  memset(full, 0, CIPC_REGION_NAME_SIZE);
  memcpy(full, name, length);
  return 0;
}

int cipc_region_find(const cipc_region_t *region, size_t size, const char *name,
                     const cipc_segment_type_t *type, cipc_region_entry_t *entry) {
  cipc_mismatch_clear();
  char full[CIPC_REGION_NAME_SIZE];
  if (full_name(name, full) < 0) return CIPC_ENOENT;
  size_t count = cipc_region_count(region, size);
  for (size_t i = 0; i < count; i++) {
    // A first look where the entry is; what counts is the copy.
    if (memcmp(slot_of(region, size, i)->name, full, sizeof full) != 0) continue;
    int status = copy_entry(region, size, i, entry);
    if (status < 0) return status;
    if (memcmp(entry->name, full, sizeof full) != 0) continue;
    return type != NULL ? compare(&entry->type, type) : 0;
  }
  return CIPC_ENOENT;
}

static int check_object(const cipc_region_object_t *object) {
  uint64_t bytes = 0;
  uint64_t alignment = object->type.alignment;
  if (object->size == 0 || object->type.fingerprint == CIPC_FINGERPRINT_ANY ||
      (alignment & (alignment - 1)) != 0 || alignment > LARGEST_ALIGNMENT ||
      __builtin_mul_overflow(object->type.count, object->type.stride, &bytes) ||
      bytes > object->size) {
    return CIPC_EINVAL;
  }
  return 0;
}

// Where the next object goes, and up to where it may reach. 0, or CIPC_ECAPACITY.
static int place(const cipc_region_t *region, size_t size, size_t count,
                 const cipc_region_object_t *object, size_t *offset) {
  size_t top = sizeof *region;
  if (count > 0) {
    cipc_region_entry_t last;
    int status = copy_entry(region, size, count - 1, &last);
    if (status < 0) return status;
    top = (size_t)(last.offset + last.size);
  }
  size_t alignment = object->type.alignment > CIPC_REGION_ALIGNMENT ? (size_t)object->type.alignment
                                                                    : CIPC_REGION_ALIGNMENT;
  // Where this process has the region, which is the same within a page everywhere.
  size_t lead = (uintptr_t)region % LARGEST_ALIGNMENT;
  // None of the sums overflows: all are below the end of a mapping and a page.
  *offset = round_up(lead + top, alignment) - lead;
  if (end_of(size) - sizeof *region < (count + 1) * ENTRY) return CIPC_ECAPACITY;
  size_t limit = end_of(size) - (count + 1) * ENTRY;
  return *offset <= limit && object->size <= limit - *offset ? 0 : CIPC_ECAPACITY;
}

// Gives an object memory that is zero: what a process that failed or was killed may have written
// there is cleared first.
static void clear(cipc_region_t *region, size_t offset, size_t end) {
  uint64_t touched = __atomic_load_n(&region->touched, __ATOMIC_RELAXED);
  if (touched > offset) {
    memset((char *)region + offset, 0, (touched < end ? (size_t)touched : end) - offset);
  }
  if (touched < end) __atomic_store_n(&region->touched, end, __ATOMIC_RELAXED);
  // Before the first write to what it covers: killed in between, the next one clears it.
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

// By the owner of the mutex.
static int make(cipc_region_t *region, size_t size, const cipc_region_object_t *object,
                cipc_region_entry_t *entry) {
  size_t count = cipc_region_count(region, size);
  size_t offset = 0;
  int status = place(region, size, count, object, &offset);
  if (status < 0) return status;
  clear(region, offset, offset + object->size);
  if (object->prepare != NULL) status = object->prepare((char *)region + offset, object->context);
  if (status < 0) return status;
  *entry = (cipc_region_entry_t){.type = object->type, .offset = offset, .size = object->size};
  status = full_name(object->name, entry->name);
  if (status < 0) return status;
  cipc_region_entry_t *slot = slot_of(region, size, count);
  // The directory grows over what was kept free for objects: it is not zero any more.
  memcpy(slot, entry, ENTRY);
  // Commit point.
  __atomic_store_n(&region->count, (uint64_t)count + 1, __ATOMIC_RELEASE);
  return CIPC_REGION_CREATED;
}

int cipc_region_allocate(cipc_region_t *region, size_t size, const cipc_region_object_t *object,
                         cipc_region_entry_t *entry, cipc_deadline_t deadline) {
  char full[CIPC_REGION_NAME_SIZE];
  int status = full_name(object->name, full);
  if (status == 0) status = check_object(object);
  if (status < 0) return status;
  status = cipc_region_find(region, size, object->name, &object->type, entry);
  if (status != CIPC_ENOENT) return status;
  status = cipc_mutex_lock(&region->mutex, deadline);
  // A dead owner has made its object, or `count` says that it has not.
  if (status == CIPC_OWNER_DIED) status = cipc_mutex_recover(&region->mutex);
  if (status < 0) return status;
  status = cipc_region_find(region, size, object->name, &object->type, entry);
  if (status == CIPC_ENOENT) status = make(region, size, object, entry);
  int released = cipc_mutex_unlock(&region->mutex);
  return released < 0 ? released : status;
}
