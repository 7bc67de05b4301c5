/* SPDX-License-Identifier: Apache-2.0 */
/// Watches: descriptors that tell of something in shared memory, for poll(2) and its like. Each is
/// made by the room of what it watches (`cipc_event_watch_open`, `cipc_ring_watch_open`), belongs
/// to one process and lives in its own memory. A forked child has a copy that watches nothing until
/// it looks.
#ifndef CIPC_WATCH_H
#define CIPC_WATCH_H

#include "status.h"

CIPC_BEGIN_DECLS

typedef struct cipc_watch cipc_watch_t;

/// Looks at what is watched: 1 when it is ready. Otherwise 0, and the descriptor becomes readable
/// when that changes; and within 200 ms in any case, without anything having happened: then ask
/// again. A wait is under way until the descriptor has become readable and a caller has looked
/// since; see `cipc_wait_start`, which also says what can fail.
///
/// Does not block. Any thread.
CIPC_API CIPC_CHECKED int cipc_watch_look(cipc_watch_t *watch);

/// The descriptor: to be waited for until it is readable, and for nothing else. Close-on-exec; the
/// watch owns and closes it.
CIPC_API int cipc_watch_descriptor(const cipc_watch_t *watch);

/// Ends the watch; NULL is ignored. No thread may be using it.
CIPC_API void cipc_watch_close(cipc_watch_t *watch);

CIPC_END_DECLS

#endif
