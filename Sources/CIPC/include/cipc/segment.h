/* SPDX-License-Identifier: Apache-2.0 */
/// Segments: memory that several processes map.
///
/// *Anonymous* segments (memfd) live as long as somebody has them open or mapped, and
/// travel as descriptors. They are sealed against resizing before anyone else sees them, so no peer
/// can make an access fail. *Named* segments live in /dev/shm until they are
/// unlinked; they cannot be sealed, so whoever opens one trusts its owner's uid.
///
/// A *typed* segment begins with a header that says what it holds; opening
/// checks each field and the status names the one that differs. A *plain*
/// one (no type) is bytes alone, the same thing that shm_open or
/// Python's SharedMemory gives.
///
/// All memory is allocated at creation: if there is none, creation fails, and no later access does.
#ifndef CIPC_SEGMENT_H
#define CIPC_SEGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

CIPC_BEGIN_DECLS

/// One process's hold on a segment: mapping and descriptor.
typedef struct cipc_segment cipc_segment_t;

/// The kinds of typed segments that this library makes; users take numbers from
/// CIPC_KIND_USER upwards.
enum {
  CIPC_KIND_MUTEX = 1,
  CIPC_KIND_VALUE = 2,
  CIPC_KIND_ATOMIC = 3,
  CIPC_KIND_ARRAY = 4,
  CIPC_KIND_STRING = 5,
  CIPC_KIND_SEMAPHORE = 6,
  CIPC_KIND_EVENT = 7,
  CIPC_KIND_CONDITION = 8,
  CIPC_KIND_BARRIER = 9,
  CIPC_KIND_RWLOCK = 10,
  CIPC_KIND_BYTES = 11,
  CIPC_KIND_REGION = 12,
  CIPC_KIND_USER = 0x10000
};

/// What a typed segment holds.
typedef struct cipc_segment_type {
  /// One of CIPC_KIND_*.
  uint32_t kind;
  /// The version of the layout that this kind has.
  uint32_t version;
  /// Bytes of an element, bytes from one to the next, and its alignment.
  uint64_t element_size;
  uint64_t stride;
  uint64_t alignment;
  /// Elements: `count * stride` bytes fit the segment.
  uint64_t count;
  /// A hash of the element type's name; equal in both processes.
  uint64_t fingerprint;
} cipc_segment_type_t;

/// Bytes before the payload of a typed segment.
#define CIPC_SEGMENT_HEADER_SIZE 128

/// Takes any count when it opens; `cipc_segment_type` tells which it was.
#define CIPC_SEGMENT_ANY_COUNT UINT64_MAX

typedef struct cipc_segment_options {
  /// What it holds; NULL for plain bytes.
  const cipc_segment_type_t *type;
  /// For anonymous ones, shown in /proc/PID/maps; NULL for "cipc". At most 200 bytes.
  const char *label;
  /// Nonzero when creating: it will get a name from `cipc_segment_publish`.
  int named;
} cipc_segment_options_t;

/// Makes a segment with room for `size` bytes, all zero, behind the header if it is typed.
/// `options` may be NULL: anonymous and plain. The caller closes it.
///
/// A typed or named one is for the caller alone until `cipc_segment_publish`.
///
/// CIPC_EINVAL: size 0, or a type whose elements do not fit. CIPC_EOVERFLOW: too
/// large to represent. CIPC_ENOMEM, CIPC_ENOSPC: no memory. CIPC_EMFILE and other -errno.
/// Does not wait.
CIPC_API CIPC_CHECKED int cipc_segment_create(cipc_segment_t **segment, size_t size,
                                              const cipc_segment_options_t *options);

/// Says that the contents are there: writes the READY word of a typed segment and gives a named
/// one its name. `name` is "/" and 1 to 250 bytes without another "/", or NULL for anonymous
/// segments. The name belongs to this user alone (mode 0600); neither attaching nor closing takes
/// it away. By the creator, once.
///
/// Commit point: the release store of READY; with a name, linkat(2), so that nobody ever opens a
/// half-made segment.
/// CIPC_EINVAL: the name, or its presence, does not fit the segment. CIPC_EEXIST: the name is
/// taken. -errno.
CIPC_API CIPC_CHECKED int cipc_segment_publish(cipc_segment_t *segment, const char *name);

/// Opens a segment that arrived as a descriptor, and checks seals, size and header. Takes the
/// descriptor over on success; on failure it stays the caller's.
///
/// CIPC_ESEGMENT*: the field named differs. CIPC_ENOMEM, -errno.
CIPC_API CIPC_CHECKED int cipc_segment_open(cipc_segment_t **segment, int descriptor,
                                            const cipc_segment_options_t *options);

/// Opens a named segment. As `cipc_segment_open`, seals aside.
///
/// CIPC_ENOENT: no such name. CIPC_ESEGMENTOWNER: owned by another user than the caller's or root.
CIPC_API CIPC_CHECKED int cipc_segment_open_named(cipc_segment_t **segment, const char *name,
                                                  const cipc_segment_options_t *options);

/// Removes a name; the memory lives on until the last user closes it. CIPC_ENOENT.
CIPC_API CIPC_CHECKED int cipc_segment_unlink(const char *name);

/// The payload: behind the header if there is one. Aligned to 64 bytes. Valid until
/// `cipc_segment_close`.
CIPC_API void *cipc_segment_address(const cipc_segment_t *segment);

/// Bytes of payload: at least what was asked for at creation, kept in private
/// memory since the segment was checked.
CIPC_API size_t cipc_segment_size(const cipc_segment_t *segment);

/// The descriptor, still the segment's: duplicate or send it, do not close it.
CIPC_API int cipc_segment_descriptor(const cipc_segment_t *segment);

/// What the segment holds: the private copy that was checked. kind 0 for plain bytes.
CIPC_API cipc_segment_type_t cipc_segment_type(const cipc_segment_t *segment);

/// Unmaps and closes; NULL is nothing. No thread may be using the memory, nor hold
/// a mutex in it.
CIPC_API void cipc_segment_close(cipc_segment_t *segment);

CIPC_END_DECLS

#endif
