/* SPDX-License-Identifier: Apache-2.0 */
// A condition that frees the dead's slot before its notification has passed on.
// Caught: condition.pass-on owns: passed on to: 0 0 0
#define cipc_condition_step step_right
#include "sync/condition.c"
#undef cipc_condition_step

int cipc_condition_step(cipc_condition_t *condition, uint32_t slots, cipc_mutex_t *mutex,
                        const cipc_condition_wait_t *entered, int look, cipc_wait_t *wait) {
  if (look && cipc_mutex_trylock(mutex) >= 0) {
    for (uint32_t i = 0; i < slots_used(condition, slots); i++) {
      cipc_condition_slot_t *slot = slot_at(condition, i);
      if (slot->waiter == 0 || slot->ticket > condition->notified || !is_dead(slot)) continue;
      vacate(slot);
      uint32_t to = oldest_after(condition, slots, condition->notified);
      if (to != NONE) condition->notified = slot_at(condition, to)->ticket;
    }
    int status = cipc_mutex_unlock(mutex);
    if (status < 0) return status;
  }
  return step_right(condition, slots, mutex, entered, 0, wait);
}
