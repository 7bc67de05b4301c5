/* SPDX-License-Identifier: Apache-2.0 */
/// Bytes: a string of bytes in shared memory, of any length up to a capacity, updated as a whole.
///
/// A cell whose value is a length and that many bytes. Updates write, and readers copy, as many
/// bytes as there are, however large the capacity is. As with every cell, a process killed during
/// an update has changed nothing, and readers take no lock.
///
/// The capacity is the caller's, in its private memory; the length in the shared bytes is read once
/// and bounded by it. All functions may be called from any thread.
#ifndef CIPC_BYTES_H
#define CIPC_BYTES_H

#include <stddef.h>

#include "cell.h"
#include "clock.h"
#include "segment.h"
#include "status.h"

CIPC_BEGIN_DECLS

/// To be placed in shared memory at an address divisible by 64, with `cipc_bytes_footprint` bytes
/// of room. The members are private.
typedef struct cipc_bytes {
  /// Of a value that is the length as a word of 8 bytes and the bytes.
  cipc_cell_t cell;
} cipc_bytes_t;

/// Bytes of memory that a capacity needs; SIZE_MAX when that cannot be represented.
CIPC_API size_t cipc_bytes_footprint(size_t capacity);

/// Puts `length` bytes into memory that no one uses yet. CIPC_ECAPACITY: they are more than
/// `capacity`. CIPC_ENOMEM.
CIPC_API CIPC_CHECKED int cipc_bytes_init(cipc_bytes_t *bytes, size_t capacity, const void *content,
                                          size_t length);

/// Copies the bytes that were committed last, without a lock unless writers overtake the reader
/// CIPC_CELL_RETRIES times. Never sees a part of an update.
///
/// 0: `*length` bytes are in `buffer`. CIPC_EMSGSIZE: they are more than `room`; `*length` says how
/// many they were, and nothing was copied (so a `room` of 0 asks for the length). CIPC_ETIMEDOUT:
/// writers overtook the reader, and the lock was not free before the deadline. Otherwise as
/// `cipc_mutex_lock`, CIPC_OWNER_DIED excepted. `buffer` is undefined unless 0.
CIPC_API CIPC_CHECKED int cipc_bytes_read(cipc_bytes_t *bytes, size_t capacity, void *buffer,
                                          size_t room, size_t *length, cipc_deadline_t deadline);

/// Takes the lock for an update and says where the current bytes are: they stay there, unchanged,
/// until the caller ends with `cipc_bytes_commit` or `cipc_bytes_cancel`.
///
/// 0. The death of an earlier owner is settled here: its unfinished update never happened.
/// Otherwise as `cipc_mutex_lock`, CIPC_OWNER_DIED excepted.
CIPC_API CIPC_CHECKED int cipc_bytes_begin(cipc_bytes_t *bytes, size_t capacity,
                                           const void **content, size_t *length,
                                           cipc_deadline_t deadline);

/// Makes `length` bytes the new content and releases the lock. By the owner.
///
/// Commit point: the release store of the cell's sequence. CIPC_ECAPACITY: too many; nothing
/// changed, and the caller is still the owner. CIPC_EPERM: the caller is not the owner.
CIPC_API CIPC_CHECKED int cipc_bytes_commit(cipc_bytes_t *bytes, size_t capacity,
                                            const void *content, size_t length);

/// Releases the lock and leaves the bytes as they are. CIPC_EPERM: the caller is not the owner.
CIPC_API CIPC_CHECKED int cipc_bytes_cancel(cipc_bytes_t *bytes);

/// Makes `length` bytes the new content: begin and commit in one. CIPC_ECAPACITY: too many. As
/// `cipc_mutex_lock`, CIPC_OWNER_DIED excepted.
CIPC_API CIPC_CHECKED int cipc_bytes_store(cipc_bytes_t *bytes, size_t capacity,
                                           const void *content, size_t length,
                                           cipc_deadline_t deadline);

// MARK: By name

/// The type of a segment whose payload is bytes of a capacity, or with CIPC_SEGMENT_ANY_COUNT of
/// any capacity: Swift's `SharedBytes`. The second is for a text, which is bytes that are UTF-8:
/// Swift's `SharedString`.
CIPC_API cipc_segment_type_t cipc_bytes_type(uint64_t capacity);
CIPC_API cipc_segment_type_t cipc_string_type(uint64_t capacity);

/// Opens the bytes of that name, which are at `cipc_segment_address(*segment)`; the caller closes
/// the segment. Their capacity is the one given; with CIPC_SEGMENT_ANY_COUNT, `cipc_segment_count`
/// tells it, and the caller keeps it in private memory.
///
/// As `cipc_segment_open_named`: CIPC_ENOENT: there are none. CIPC_ESEGMENT*: something else has
/// the name; see `cipc_segment_refusal`. Does not block. Any thread; safe after fork.
CIPC_API CIPC_CHECKED int cipc_bytes_open_named(cipc_segment_t **segment, const char *name,
                                                uint64_t capacity);

/// Opens the bytes of that name and capacity, or makes them, with `length` bytes of `content` at
/// first: CIPC_SEGMENT_CREATED or 0. As `cipc_bytes_open_named`, `cipc_segment_open_or_create` and
/// `cipc_bytes_init`.
///
/// Commit point: that of `cipc_segment_publish`.
CIPC_API CIPC_CHECKED int cipc_bytes_open_or_create(cipc_segment_t **segment, const char *name,
                                                    size_t capacity, const void *content,
                                                    size_t length);

/// The same for a text, which is read and stored with the functions for bytes. Another program may
/// have written anything there: check that it is UTF-8.
CIPC_API CIPC_CHECKED int cipc_string_open_named(cipc_segment_t **segment, const char *name,
                                                 uint64_t capacity);
CIPC_API CIPC_CHECKED int cipc_string_open_or_create(cipc_segment_t **segment, const char *name,
                                                     size_t capacity, const void *content,
                                                     size_t length);

CIPC_END_DECLS

#endif
