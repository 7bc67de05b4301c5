/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_WAIT_PRIVATE_H
#define CIPC_WAIT_PRIVATE_H

#include "cipc/wait.h"
#include "clock.h"

// How long a slice is; tests make it so long that nothing can come of its end.
#ifdef CIPC_FAULTS
extern cipc_deadline_t cipc_wait_slice;
#else
#define cipc_wait_slice CIPC_SLICE_NANOSECONDS
#endif

#endif
