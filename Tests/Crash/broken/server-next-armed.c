/* SPDX-License-Identifier: Apache-2.0 */
// A fork server whose next child still dies with it when it has its request.
// Caught: start.server parent: another child ended with -9
#include <fcntl.h>

#include "cipc/frame.h"
#include "start.h"

static int fcntl_but_disarm(int descriptor, int command, int argument) {
  if (command == F_SETFL && argument == 0) return 0;
  return fcntl(descriptor, command, argument);
}

#define fcntl fcntl_but_disarm
#include "server.c"
