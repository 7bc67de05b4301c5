/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_DESCRIPTOR_PRIVATE_H
#define CIPC_DESCRIPTOR_PRIVATE_H

#include <stdbool.h>

#include "cipc/descriptor.h"

// Closes a Unix socket of ours, in whose queue a peer may have put descriptors that block when
// they are closed with it: at once where there are none, otherwise as `cipc_descriptor_drop`. Does
// not block. `is_alone` says that no other process holds the socket, so that it may be shut down:
// then the peer sees the end at once in any case, and can put nothing more into the queue.
void cipc_socket_drop(int fd, bool is_alone);

// Whether something that was dropped is open still. For tests.
bool cipc_descriptor_is_dropping(void);

#endif
