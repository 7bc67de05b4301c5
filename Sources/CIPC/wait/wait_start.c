/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>

#include "base/clock.h"
#include "cipc/poller.h"
#include "cipc/wait.h"
#include "wait/futex_waiter.h"

// What the poller's tickets have besides here.
#define OF_POLLER (UINT64_C(1) << 63)

int cipc_wait_start(const cipc_wait_t *wait, cipc_deadline_t deadline,
                    cipc_poller_callback_t callback, void *context, cipc_poller_ticket_t *ticket) {
  if (wait->kind == CIPC_WAIT_WORD) {
    return cipc_futex_waiter_start(wait, deadline, callback, context, ticket);
  }
  bool is_pause = wait->kind == CIPC_WAIT_PAUSE;
  cipc_deadline_t pause = is_pause ? cipc_clock_deadline(wait->pause) : CIPC_NO_DEADLINE;
  int status = cipc_poller_wait(is_pause ? -1 : wait->descriptor, wait->directions,
                                pause < deadline ? pause : deadline, callback, context, ticket);
  if (status == 0) *ticket |= OF_POLLER;
  return status;
}

int cipc_wait_cancel(cipc_poller_ticket_t ticket) {
  return ticket & OF_POLLER ? cipc_poller_cancel(ticket & ~OF_POLLER)
                            : cipc_futex_waiter_cancel(ticket);
}
