/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_WAITER_PRIVATE_H
#define CIPC_WAITER_PRIVATE_H

#include "cipc/waiter.h"

/// Whether this process has the waiter thread.
int cipc_waiter_is_running(void);

/// Has the waiter thread make this call before all else, when it starts.
void cipc_waiter_call_first(void (*call)(void));

#endif
