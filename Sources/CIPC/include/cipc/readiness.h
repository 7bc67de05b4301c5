/* SPDX-License-Identifier: Apache-2.0 */
/// Readiness: descriptors that tell of something in shared memory, for poll(2) and its like. Each
/// is made by the module of what it watches (`cipc_event_readiness_open`,
/// `cipc_ring_readiness_open`), belongs to one process and lives in its own memory. A forked child
/// has a copy that watches nothing until it looks.
#ifndef CIPC_READINESS_H
#define CIPC_READINESS_H

#include "status.h"

CIPC_BEGIN_DECLS

typedef struct cipc_readiness cipc_readiness_t;

/// Looks at what is watched: 1 when it is ready. Otherwise 0, and the descriptor becomes readable
/// when that changes; and within 200 ms in any case, without anything having happened: then ask
/// again. A wait is under way until the descriptor has become readable and a caller has looked
/// since; see `cipc_wait_start`, which also says what can fail.
///
/// Does not block. Any thread.
CIPC_API CIPC_CHECKED int cipc_readiness_look(cipc_readiness_t *readiness);

/// The descriptor: to be waited for until it is readable, and for nothing else. Close-on-exec; the
/// readiness owns and closes it.
CIPC_API int cipc_readiness_descriptor(const cipc_readiness_t *readiness);

/// Ends it; NULL is ignored. No thread may be using it.
CIPC_API void cipc_readiness_close(cipc_readiness_t *readiness);

CIPC_END_DECLS

#endif
