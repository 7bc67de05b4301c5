/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_POLLER_PRIVATE_H
#define CIPC_POLLER_PRIVATE_H

#include "cipc/poller.h"

// Whether this process has the poller's thread.
int cipc_poller_is_running(void);

// Has the poller's thread make this call before all else, when it starts.
void cipc_poller_call_first(void (*call)(void));

#endif
