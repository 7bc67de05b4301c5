/* SPDX-License-Identifier: Apache-2.0 */
/// Processors: how many this process may use.
#ifndef CIPC_PROCESSOR_H
#define CIPC_PROCESSOR_H

#include "status.h"

CIPC_BEGIN_DECLS

/// How many processors this process may use at the same time: those that its
/// affinity allows, or what the quota of its control groups (cpu.max, or
/// cpu.cfs_quota_us of version 1) comes to, rounded up, where that is less. At
/// least 1. Reads files each time; any thread, safe after fork.
CIPC_API int cipc_processor_count(void);

CIPC_END_DECLS

#endif
