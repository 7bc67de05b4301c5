/* SPDX-License-Identifier: Apache-2.0 */
/// Descriptors that came from another process.
///
/// Closing one may block for as long as its sender likes: a socket that lingers, a file of a user's
/// own file system, a socket whose queue holds such descriptors in turn. So the library never
/// closes one in a thread of the program, and callers that receive descriptors should not either.
#ifndef CIPC_DESCRIPTOR_H
#define CIPC_DESCRIPTOR_H

#include "status.h"

CIPC_BEGIN_DECLS

/// Closes a descriptor that came from elsewhere. Pipes and shared memory are closed at once. For
/// all others there is a thread of the library, started when one is dropped and ended when all are
/// closed; more of them where a close blocks, up to 256. Until then the descriptor stays open.
///
/// Does not block. A number below 0 is ignored. Any thread; also after a fork. Not for signal
/// handlers. Where no thread can be started, the descriptor is closed when the next one is dropped.
CIPC_API void cipc_descriptor_drop(int descriptor);

/// 1 for shared memory, 0 for anything else. Unlike fstat(2) it does not ask the file system, which
/// may be the sender's and answer when it likes. Any thread.
CIPC_API int cipc_descriptor_is_memory(int descriptor);

CIPC_END_DECLS

#endif
