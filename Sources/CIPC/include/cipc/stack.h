/* SPDX-License-Identifier: Apache-2.0 */
/// The stack of the calling thread: how much of it is left, for code whose depth of recursion
/// depends on data from elsewhere.
#ifndef CIPC_STACK_H
#define CIPC_STACK_H

#include <stddef.h>

#include "status.h"

CIPC_BEGIN_DECLS

/// How many bytes of stack the calling thread has left, and in `*size`, unless that is NULL, how
/// many it has in all. Both are SIZE_MAX where they are unknown: on an alternate signal stack, on a
/// stack that a library of coroutines made, and on the main thread when its stack is unlimited.
///
/// A later change of RLIMIT_STACK is not noticed by a thread that has asked before. Does not block;
/// a thread's first call may allocate and, on the main thread, reads a file. Any thread; safe after
/// fork; not in signal handlers.
CIPC_API size_t cipc_stack_left(size_t *size);

CIPC_END_DECLS

#endif
