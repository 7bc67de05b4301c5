/* SPDX-License-Identifier: Apache-2.0 */
// A barrier that lets all go on before the action.
// Caught: barrier.act contended: survivor [01] went on before the action
#define cipc_barrier_wait wait_right
#include "sync/barrier.c"
#undef cipc_barrier_wait

int cipc_barrier_wait(cipc_barrier_t *barrier, uint32_t parties, cipc_barrier_action_t action,
                      void *context, cipc_deadline_t deadline) {
  int index = wait_right(barrier, parties, NULL, NULL, deadline);
  if (index == (int)parties - 1 && action != NULL) (void)action(context);
  return index;
}
