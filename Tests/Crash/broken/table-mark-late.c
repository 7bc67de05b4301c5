/* SPDX-License-Identifier: Apache-2.0 */
// A participant that takes its entry before the high-water mark includes it: killed in between, it
// is never found.
// Caught: table.join owns: the victim is still in the table
#define cipc_table_join join_right
#include "segment/table.c"
#undef cipc_table_join

void cipc_table_join(cipc_table_t *table) {
  uint32_t slot = cipc_table_high(table);
  (void)replace(table, slot, CIPC_PARTICIPANT_NOBODY, cipc_participant_current());
  (void)__atomic_fetch_add(&table->head->high, 1, __ATOMIC_SEQ_CST);
  join_right(table);
  (void)replace(table, slot, cipc_participant_current(), CIPC_PARTICIPANT_NOBODY);
}
