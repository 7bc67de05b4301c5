/* SPDX-License-Identifier: Apache-2.0 */
// A barrier at which the dead are waited for.
// Caught: barrier.arrive owns: survivor [01] went on only after [0-9]+ ms
#include "cipc/wait.h"

#undef CIPC_WAIT_LOOK
#define CIPC_WAIT_LOOK 2
#include "sync/barrier.c"
