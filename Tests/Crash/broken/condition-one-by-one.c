/* SPDX-License-Identifier: Apache-2.0 */
// A condition that notifies each waiter by a commit of its own.
// Caught: condition.notify owns: notified: 1 0 0
#define cipc_condition_notify notify_right
#include "sync/condition.c"
#undef cipc_condition_notify

int cipc_condition_notify(cipc_condition_t *condition, uint32_t slots, cipc_mutex_t *mutex,
                          uint32_t count) {
  if (count == CIPC_CONDITION_ALL) return notify_right(condition, slots, mutex, count);
  int notified = 0;
  for (uint32_t i = 0; i < count; i++) {
    int status = notify_right(condition, slots, mutex, 1);
    if (status <= 0) return status < 0 ? status : notified;
    notified++;
  }
  return notified;
}
