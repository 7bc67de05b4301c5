/* SPDX-License-Identifier: Apache-2.0 */
// A rescuer that takes the dead out before it has woken the waiters: killed in between, it leaves
// nothing that would tell another to wake them.
// Caught: participants.bury owns: the dead one was taken out and no waiter has been told
#define cipc_participants_bury_dead bury_dead_right
#include "segment/participants.c"
#undef cipc_participants_bury_dead

bool cipc_participants_bury_dead(cipc_participants_t *table) {
  bool any = false;
  for (uint32_t i = 0; i < cipc_participants_high(table); i++) {
    uint64_t word = cipc_participants_entry(table, i);
    if (word == CIPC_PARTICIPANT_NOBODY) continue;
    if (cipc_participant_check(word) != CIPC_PARTICIPANT_DEAD) continue;
    (void)replace(table, i, word, CIPC_PARTICIPANT_NOBODY);
    raise_epoch(table);
    any = true;
  }
  return any;
}
