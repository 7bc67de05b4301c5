/* SPDX-License-Identifier: Apache-2.0 */
/// Where the calling thread is: the return addresses of the functions that it is in.
#ifndef CIPC_TRACE_H
#define CIPC_TRACE_H

#include <stddef.h>

#include "status.h"

CIPC_BEGIN_DECLS

/// Writes the return addresses of the functions that the calling thread is in, innermost first,
/// without the first `skip` of them: at most `room`. By the chain of frame pointers, which Swift
/// code has and other code may not have: the trace ends where the chain does. It never follows one
/// out of the thread's stack.
///
/// Returns how many. Allocates nothing but at a thread's first call; does not block. Any thread;
/// safe after fork; not in signal handlers.
CIPC_API size_t cipc_trace_frames(const void **addresses, size_t room, size_t skip);

/// What is at an address of code.
typedef struct cipc_trace_place {
  /// The file that was loaded; valid while it is.
  const char *file;
  /// The function as the linker knows it, mangled; NULL where it knows none.
  const char *function;
  /// How far behind the beginning of the function, or else of the file.
  size_t offset;
} cipc_trace_place_t;

/// Tells the place of an address. CIPC_ENOENT: no loaded file has it, or the files are unknown, as
/// in a static program with musl. Does not block except on the dynamic linker's lock; any thread.
CIPC_API CIPC_CHECKED int cipc_trace_find(const void *address, cipc_trace_place_t *place);

CIPC_END_DECLS

#endif
