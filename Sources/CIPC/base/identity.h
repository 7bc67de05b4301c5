/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_IDENTITY_PRIVATE_H
#define CIPC_IDENTITY_PRIVATE_H

#include "cipc/participant.h"

// Has a function called with this process's identity whenever that is found out anew: once, and
// once more in each forked child, when it first asks for its identity. There is one such function.
void cipc_participant_on_identity(void (*act)(cipc_participant_t self));

#endif
