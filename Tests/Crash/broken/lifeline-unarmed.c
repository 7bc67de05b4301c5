/* SPDX-License-Identifier: Apache-2.0 */
// A daemon whose lifeline is not armed: it outlives a parent that dies.
// Caught: start.spawn-daemon parent: the child does not end .*
#include <fcntl.h>

#undef O_ASYNC
#define O_ASYNC 0
#include "process/lifeline.c"
