/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_PROCESSOR_PRIVATE_H
#define CIPC_PROCESSOR_PRIVATE_H

#include "cipc/processor.h"

// The lowest quota of the control groups in `list` (the text of /proc/PID/cgroup), whose files are
// under `root`, in processors, rounded up; 0 for none.
int cipc_processor_quota(const char *list, const char *root);

#endif
