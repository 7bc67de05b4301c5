/* SPDX-License-Identifier: Apache-2.0 */
/// For programs that call the library without its headers: from Python's ctypes or cffi, or from
/// any other language that finds functions by name.
///
/// Every function of the headers is exported, the inline ones included. This header has the sizes
/// of the structures that such a program places in memory, and the function that frees memory.
///
///     cipc = ctypes.CDLL("libcipc.so")
///     cipc.cipc_type_size.restype = ctypes.c_size_t
///     lock = segment_address                       # cipc_type_size(b"cipc_mutex_t") bytes there
///     cipc.cipc_mutex_init(lock, None)
///     cipc.cipc_mutex_lock(lock, deadline)
///
/// All functions may be called from any thread, do not block, and are safe after fork.
#ifndef CIPC_FOREIGN_H
#define CIPC_FOREIGN_H

#include <stddef.h>

#include "status.h"

CIPC_BEGIN_DECLS

/// The size of a structure, such as "cipc_mutex_t": what C's `sizeof` gives. 0: there is no
/// structure of that name whose members the headers show. What follows a structure in memory (the
/// permits of a semaphore, the slots of a barrier) is in its `footprint` function.
CIPC_API size_t cipc_type_size(const char *name);

/// The alignment of a structure: what C's `_Alignof` gives. 0 as `cipc_type_size`. Where the
/// header of a type asks for more, that counts.
CIPC_API size_t cipc_type_alignment(const char *name);

/// The name of the structure number `index`, from 0; NULL: there are no more. Static storage.
CIPC_API const char *cipc_type_name(size_t index);

/// Frees memory that a function of this library has allocated and says is the caller's to free,
/// such as a received message: the same as C's `free`, of the C library that this one uses. NULL is
/// ignored.
CIPC_API void cipc_memory_free(void *memory);

CIPC_END_DECLS

#endif
