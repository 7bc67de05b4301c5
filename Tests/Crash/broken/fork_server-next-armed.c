/* SPDX-License-Identifier: Apache-2.0 */
// A fork server whose next child still dies with it when it has its request.
// Caught: start.server parent: another child ended with -9
#include "process/lifeline.h"

#define cipc_lifeline_disarm(reader) ((void)(reader))
#include "process/fork_server.c"
