/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_FUTEX_WAITER_PRIVATE_H
#define CIPC_FUTEX_WAITER_PRIVATE_H

#include "cipc/poller.h"
#include "cipc/wait.h"

// `cipc_wait_start` and `cipc_wait_cancel` for words.
int cipc_futex_waiter_start(const cipc_wait_t *wait, cipc_deadline_t deadline,
                            cipc_poller_callback_t callback, void *context,
                            cipc_poller_ticket_t *ticket);
int cipc_futex_waiter_cancel(cipc_poller_ticket_t ticket);

#endif
