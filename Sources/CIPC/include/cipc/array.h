/* SPDX-License-Identifier: Apache-2.0 */
/// Arrays: elements of one type in shared memory, in one to 64 dimensions, with a lock. What
/// Swift's `SharedArray` is.
///
///     cipc_segment_t *segment;
///     cipc_array_t array;
///     const uint64_t shape[2] = {480, 640};
///     const cipc_element_t *element = cipc_element("float32");
///     int status = cipc_array_open_or_create(&segment, &array, "image", element, 2, shape, 0);
///     if (status < 0) return status;
///     float *pixels = array.elements;
///     status = cipc_array_lock(&array, CIPC_NO_DEADLINE);
///
/// The elements stand one after the other in row-major order, and are zero at first. Reads and
/// writes without the lock are unsynchronised. A *transactional* array has a redo area as large as
/// its elements, and changes that happen whole or not at all by the functions of `journal.h` on
/// `array.journal` and `array.area`.
///
/// Shape, count and places are checked once, when the array is opened, and kept in the caller's
/// private memory: nothing in the shared bytes can make an access leave the array. For processes
/// that trust each other, because of the lock: see `mutex.h`. All functions may be called from any
/// thread.
#ifndef CIPC_ARRAY_H
#define CIPC_ARRAY_H

#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "element.h"
#include "journal.h"
#include "segment.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// The most dimensions.
#define CIPC_ARRAY_RANK_MAXIMUM 64

/// An array as it is in this process, in private memory. To be read; valid as long as the memory of
/// the array.
typedef struct cipc_array {
  void *elements;
  /// How many, and bytes from one to the next.
  uint64_t count;
  uint64_t stride;
  /// The lock, and in transactional arrays the redo area; see journal.h. The area's capacity is 0
  /// where the array is not transactional.
  cipc_journal_t *journal;
  cipc_journal_area_t area;
  /// How many dimensions, and the extent of each, outermost first.
  uint64_t rank;
  uint64_t shape[CIPC_ARRAY_RANK_MAXIMUM];
} cipc_array_t;

/// The type of a segment whose payload is an array of so many elements, or of
/// CIPC_SEGMENT_ANY_COUNT when any number will do.
CIPC_API cipc_segment_type_t cipc_array_type(const cipc_element_t *element, uint64_t count);

/// How many elements a shape has. UINT64_MAX: no array has such a shape, since it has no dimensions
/// or too many, or the product cannot be represented. Pure.
CIPC_API uint64_t cipc_array_count(uint64_t rank, const uint64_t *shape);

/// Bytes that an array needs; SIZE_MAX for an element or a shape that no array has: an alignment
/// that is not a power of two or beyond 4096, or a size that cannot be represented. Pure.
CIPC_API size_t cipc_array_footprint(const cipc_element_t *element, uint64_t rank,
                                     const uint64_t *shape, int transactional);

/// Makes an array in `size` bytes of memory that no one uses yet and that are all zero, as the
/// payload of a segment is. In other memory the elements are aligned to 64 at most, which an
/// address divisible by 64 gives. Fills `*array`, so that the caller can write the first elements.
///
/// CIPC_EINVAL: `cipc_array_footprint` is larger than `size`. CIPC_ENOMEM. Does not block.
CIPC_API CIPC_CHECKED int cipc_array_format(cipc_array_t *array, void *memory, size_t size,
                                            const cipc_element_t *element, uint64_t rank,
                                            const uint64_t *shape, int transactional);

/// Views `size` bytes of memory from elsewhere as an array of that type, and fills `*array`. Each
/// shared word is read once and checked.
///
/// CIPC_ESEGMENTALIGNMENT, CIPC_ESEGMENTSHAPE, CIPC_ESEGMENTCOUNT, CIPC_ESEGMENTSIZE: it is not
/// such an array; see `cipc_segment_refusal`. Does not block.
CIPC_API CIPC_CHECKED int cipc_array_view(cipc_array_t *array, void *memory, size_t size,
                                          const cipc_segment_type_t *type);

/// Opens the array of that name and element type, of any shape, which `*array` then tells. The
/// caller closes the segment. With CIPC_FINGERPRINT_ANY and an element size of 0, the elements are
/// of `array->stride` bytes.
///
/// CIPC_EINVAL: `element` is NULL. Otherwise as `cipc_segment_open_named` and `cipc_array_view`:
/// CIPC_ENOENT: there is none. Does not block. Any thread; safe after fork.
CIPC_API CIPC_CHECKED int cipc_array_open_named(cipc_segment_t **segment, cipc_array_t *array,
                                                const char *name, const cipc_element_t *element);

/// Opens the array of that name, element type and shape, or makes it, all zero:
/// CIPC_SEGMENT_CREATED or 0.
///
/// CIPC_EINVAL: no array has this shape or element. CIPC_ESEGMENTSHAPE: the array of that name has
/// another shape, or is transactional and should not be, or the reverse. Otherwise as
/// `cipc_array_open_named` and `cipc_segment_open_or_create`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_array_open_or_create(cipc_segment_t **segment, cipc_array_t *array,
                                                    const char *name, const cipc_element_t *element,
                                                    uint64_t rank, const uint64_t *shape,
                                                    int transactional);

/// Takes the lock, to read or change the elements in place. The caller ends with
/// `cipc_array_unlock`.
///
/// As `cipc_mutex_lock`; of a transactional array as `cipc_journal_lock`. CIPC_OWNER_DIED: the
/// caller has the lock, and an earlier owner died, perhaps while it changed elements; see
/// `cipc_array_recover`.
CIPC_API CIPC_CHECKED int cipc_array_lock(const cipc_array_t *array, cipc_deadline_t deadline);

/// Releases the lock. CIPC_EPERM: the caller is not the owner; nothing changed.
CIPC_API CIPC_CHECKED int cipc_array_unlock(const cipc_array_t *array);

/// Says that the elements are in order again: the next owner gets 0. CIPC_EPERM: the caller is not
/// the owner.
CIPC_API CIPC_CHECKED int cipc_array_recover(const cipc_array_t *array);

CIPC_END_DECLS

#endif
