/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#ifdef CIPC_FAULTS

#include <signal.h>
#include <unistd.h>

static int armed_point;
static int armed_status;

void cipc_fault_arm(cipc_fault_t point, int status) {
  __atomic_store_n(&armed_status, status, __ATOMIC_SEQ_CST);
  __atomic_store_n(&armed_point, (int)point, __ATOMIC_SEQ_CST);
}

int cipc_fault_at(cipc_fault_t point) {
  if (__atomic_load_n(&armed_point, __ATOMIC_SEQ_CST) != (int)point) return 0;
  int status = __atomic_load_n(&armed_status, __ATOMIC_SEQ_CST);
  if (status == CIPC_FAULT_KILL) (void)kill(getpid(), SIGKILL);
  return status;
}

#else

// A translation unit must declare something.
typedef int cipc_fault_none_t;

#endif
