/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_ADDRESS_PRIVATE_H
#define CIPC_ADDRESS_PRIVATE_H

#include <stdbool.h>

#include "cipc/address.h"

// A stream socket of the address's family, close-on-exec and non-blocking.
int cipc_address_socket(const cipc_address_t *address, int *fd);

// Switches Nagle's algorithm off where there is one.
void cipc_address_no_delay(const cipc_address_t *address, int fd);

#endif
