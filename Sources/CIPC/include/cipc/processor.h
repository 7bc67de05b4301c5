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

/// Lets the processor rest for some nanoseconds, between two looks at memory that another processor
/// is to write.
CIPC_INLINE void cipc_processor_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#else
  __asm__ volatile("" ::: "memory");
#endif
}

CIPC_END_DECLS

#endif
