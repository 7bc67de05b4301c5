/* SPDX-License-Identifier: Apache-2.0 */
// A child that does not notice that its parent died before it let it go on.
// Caught: start.spawn parent: 1 children ran, and 0 were let go on
#include <sys/socket.h>
#include <sys/types.h>

static ssize_t recv_something(int socket, void *bytes, size_t size, int flags) {
  ssize_t result = recv(socket, bytes, size, flags);
  return result == 0 && flags == 0 ? (ssize_t)size : result;
}

#define recv recv_something
#include "process/child.c"
