/* SPDX-License-Identifier: Apache-2.0 */
// A condition whose waiters do not look for the dead: their notifications are lost.
// Caught: condition.pass-on owns: passed on to: 0 0 0
#define cipc_condition_step step_right
#include "sync/condition.c"
#undef cipc_condition_step

int cipc_condition_step(cipc_condition_t *condition, uint32_t slots, cipc_mutex_t *mutex,
                        const cipc_condition_wait_t *entered, int look, cipc_wait_t *wait) {
  (void)look;
  return step_right(condition, slots, mutex, entered, 0, wait);
}
