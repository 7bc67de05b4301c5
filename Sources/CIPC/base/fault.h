/* SPDX-License-Identifier: Apache-2.0 */
// Fault points: numbered places where a test makes an operation fail, or kills
// the process. They exist where CIPC_FAULTS is defined (debug builds, C tests) and are nothing
// elsewhere.
#ifndef CIPC_FAULT_H
#define CIPC_FAULT_H

typedef enum cipc_fault {
  CIPC_FAULT_NONE,
  CIPC_FAULT_SEGMENT_MEMFD,
  CIPC_FAULT_SEGMENT_TRUNCATE,
  CIPC_FAULT_SEGMENT_ALLOCATE,
  CIPC_FAULT_SEGMENT_SEAL,
  CIPC_FAULT_SEGMENT_MAP,
  CIPC_FAULT_SEGMENT_READY,
  CIPC_FAULT_SEGMENT_LINK,
  CIPC_FAULT_SEGMENT_HUGE,
  CIPC_FAULT_COUNT
} cipc_fault_t;

#ifdef CIPC_FAULTS

// Instead of a status: the process gets SIGKILL at the point.
#define CIPC_FAULT_KILL 1

// From now on, the point fails with `status` (negative) or kills (CIPC_FAULT_KILL). One point is
// armed at a time; CIPC_FAULT_NONE disarms.
void cipc_fault_arm(cipc_fault_t point, int status);

// 0, or the status that the point is to fail with.
int cipc_fault_at(cipc_fault_t point);

#else

#define cipc_fault_at(point) (0)

#endif

#endif
