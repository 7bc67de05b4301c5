/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_CONNECTION_PRIVATE_H
#define CIPC_CONNECTION_PRIVATE_H

#include "cipc/connection.h"

// Says that no other process holds the description. For a connection that was just made.
void cipc_connection_own(cipc_connection_t *connection);

#endif
