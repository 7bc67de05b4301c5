/* SPDX-License-Identifier: Apache-2.0 */
// A participant that takes its entry before the high-water mark includes it: killed in between, it
// is never found.
// Caught: participants.join owns: the victim is still in the table
#define cipc_participants_join join_right
#include "segment/participants.c"
#undef cipc_participants_join

void cipc_participants_join(cipc_participants_t *table) {
  uint32_t slot = cipc_participants_high(table);
  (void)replace(table, slot, CIPC_PARTICIPANT_NOBODY, cipc_participant_current());
  (void)__atomic_fetch_add(&table->head->high, 1, __ATOMIC_SEQ_CST);
  join_right(table);
  (void)replace(table, slot, cipc_participant_current(), CIPC_PARTICIPANT_NOBODY);
}
