/* SPDX-License-Identifier: Apache-2.0 */
// A barrier at which the dead are waited for.
#include "cipc/wait.h"

#undef CIPC_WAIT_LOOK
#define CIPC_WAIT_LOOK 2
#include "barrier.c"
