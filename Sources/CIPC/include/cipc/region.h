/* SPDX-License-Identifier: Apache-2.0 */
/// Regions: many objects in one segment, found by name.
///
/// A region is memory with a directory: names, types, offsets and sizes. A process that has the
/// memory mapped, at any address, finds the objects by their names, or makes them: of all processes
/// that ask for a name at the same time, one makes the object and the others get it. A thousand
/// objects in segments of their own are a thousand descriptors and two thousand pages; in a region
/// they are one descriptor.
///
/// An object appears in the directory whole or not at all, also when the process that makes it is
/// killed. It stays as long as the region: nothing is freed singly, so what does not fit goes to
/// another region. Objects do not move.
///
/// Finding takes no lock and looks at each entry before the one wanted. Making takes a robust lock
/// in the region, so regions are for processes that trust each other: see `cipc/mutex.h`. Still no
/// function here reads or writes outside the region, whatever its bytes say: counts, offsets and
/// sizes are read once and bounded by the size that the caller has in its private memory. The
/// headers of the objects' types say what the objects are safe from.
///
/// All functions may be called from any thread.
#ifndef CIPC_REGION_H
#define CIPC_REGION_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "mutex.h"
#include "segment.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// Bytes of a name, its final zero included.
#define CIPC_REGION_NAME_SIZE 64

/// Objects begin at multiples of this.
#define CIPC_REGION_ALIGNMENT 64

/// A region, to be placed in shared memory at an address divisible by 64. The members are private.
/// Objects follow, upwards; the directory grows towards them from the end.
typedef struct cipc_region {
  /// The process that makes an object holds it.
  cipc_mutex_t mutex;
  /// Written when the region is made.
  uint64_t magic;
  uint64_t size;
  /// Entries of the directory. Written by the owner of the mutex; storing it is the commit point of
  /// making an object.
  uint64_t count;
  /// From this offset to the directory all bytes are still zero. Written by the owner of the mutex.
  uint64_t touched;
  uint64_t reserved[4];
} cipc_region_t;

/// An object of a region, as the directory has it.
typedef struct cipc_region_entry {
  /// Ends in a zero; what follows is zero, too.
  char name[CIPC_REGION_NAME_SIZE];
  /// What it is, as its maker said.
  cipc_segment_type_t type;
  /// Bytes from the start of the region, a multiple of 64, and bytes of the object: inside the
  /// region.
  uint64_t offset;
  uint64_t size;
} cipc_region_entry_t;

/// A request for an object.
typedef struct cipc_region_object {
  /// 1 to 63 bytes.
  const char *name;
  /// What it is. An alignment beyond 64 is honoured up to 4096, counted from the page that the
  /// region's first byte is in.
  cipc_segment_type_t type;
  /// Bytes that it needs: `type.count * type.stride` at least, not 0.
  size_t size;
  /// Makes the object in zeroed memory, before any other process can see it; NULL leaves the memory
  /// zero. It gets `context`, and must not use the region.
  cipc_segment_prepare_t prepare;
  void *context;
} cipc_region_object_t;

/// Bytes that a region needs for a number of objects of that many bytes altogether (each rounded up
/// to 64): SIZE_MAX when that cannot be represented.
CIPC_API size_t cipc_region_footprint(size_t objects, size_t bytes);

/// Makes an empty region of `size` bytes in memory that no one uses yet and that is all zero.
/// CIPC_EINVAL: too small for one object. CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_region_format(cipc_region_t *region, size_t size);

/// Says whether memory from elsewhere is a region of that size.
/// CIPC_ESEGMENTSIZE, CIPC_ESEGMENTMAGIC: it is not.
CIPC_API CIPC_CHECKED int cipc_region_check(const cipc_region_t *region, size_t size);

/// The type of a segment whose payload is a region of `size` bytes; with CIPC_SEGMENT_ANY_COUNT, of
/// any size.
CIPC_API cipc_segment_type_t cipc_region_type(uint64_t size);

/// Makes an anonymous segment that is an empty region of at least `size` bytes. The caller closes
/// it. Others open it with `cipc_segment_open` as `cipc_region_type(CIPC_SEGMENT_ANY_COUNT)`, and
/// look at it with `cipc_region_check`. As `cipc_segment_create` and `cipc_region_format`.
CIPC_API CIPC_CHECKED int cipc_region_create(cipc_segment_t **segment, size_t size);

/// Opens the region of that name, of `size` bytes, or with CIPC_SEGMENT_ANY_COUNT of any size,
/// which `cipc_segment_size` tells. As `cipc_segment_open_named` and `cipc_region_check`.
CIPC_API CIPC_CHECKED int cipc_region_open_named(cipc_segment_t **segment, const char *name,
                                                 uint64_t size);

/// Opens the region of that name, of `size` bytes, or makes it, empty: CIPC_SEGMENT_CREATED or 0.
/// As `cipc_segment_open_or_create` and `cipc_region_format`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_region_open_or_create(cipc_segment_t **segment, const char *name,
                                                     size_t size);

/// The region in a segment that was created or opened as one; its size is
/// `cipc_segment_size(segment)`.
CIPC_API cipc_region_t *cipc_region_in(const cipc_segment_t *segment);

/// Finds the object of that name and type, or makes it. `*entry`, a private and checked copy, says
/// where it is.
///
/// 0: found. CIPC_REGION_CREATED: made. CIPC_ECAPACITY: there is no space. CIPC_EINVAL: the name,
/// the size or the alignment is not valid. CIPC_ESEGMENT*: there is another object of that name;
/// the status names the first field that differs. A negative status of `prepare`: the object was
/// not made. Otherwise as `cipc_mutex_lock`, CIPC_OWNER_DIED excepted.
///
/// Commit point: the release store of `count`. Blocks while another process makes an object.
CIPC_API CIPC_CHECKED int cipc_region_allocate(cipc_region_t *region, size_t size,
                                               const cipc_region_object_t *object,
                                               cipc_region_entry_t *entry,
                                               cipc_deadline_t deadline);

/// Finds the object of that name. `type` may be NULL, which is any type, or have the count
/// CIPC_SEGMENT_ANY_COUNT. Takes no lock.
///
/// 0. CIPC_ENOENT: there is none. CIPC_ESEGMENT*: it is of another type, or the entry does not fit
/// the region.
CIPC_API CIPC_CHECKED int cipc_region_find(const cipc_region_t *region, size_t size,
                                           const char *name, const cipc_segment_type_t *type,
                                           cipc_region_entry_t *entry);

/// How many objects there are: the number never falls. Takes no lock.
CIPC_API size_t cipc_region_count(const cipc_region_t *region, size_t size);

/// The object number `index`, in the order in which they were made. Takes no lock. CIPC_ENOENT:
/// there are fewer. CIPC_ESEGMENT*: the entry does not fit the region.
CIPC_API CIPC_CHECKED int cipc_region_entry(const cipc_region_t *region, size_t size, size_t index,
                                            cipc_region_entry_t *entry);

/// Where an object is in this process.
CIPC_INLINE void *cipc_region_address(cipc_region_t *region, const cipc_region_entry_t *entry) {
  return (char *)region + entry->offset;
}

CIPC_END_DECLS

#endif
