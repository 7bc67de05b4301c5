/* SPDX-License-Identifier: Apache-2.0 */
// What a sweep says: the table, and the checks on a sweep as a whole.
#include <stdio.h>
#include <string.h>

#include "engine.h"

const char *state_name(enum state state) {
  static const char *const names[] = {
#define STATE_NAME(name, text, what) text,
      STATE_LIST(STATE_NAME)
#undef STATE_NAME
  };
  return names[state];
}

void report_heading(void) {
  printf("%-26s %-13s %8s %8s %8s %8s %9s %10s %8s\n", "operation", "state", "length", "killed",
         "deaths", "clean", "committed", "worst ms", "seconds");
}

void report_unit(const struct unit *unit, double seconds, bool complete) {
  long tried = 0;
  long died = 0;
  long committed = 0;
  for (long k = 0; k < POINTS_MAXIMUM; k++) {
    const struct outcome *outcome = &unit->outcomes[k];
    tried += outcome->tried;
    died += outcome->died;
    committed += outcome->committed;
  }
  printf("%-26s %-13s %8ld %8ld %8ld %8ld %9ld %10.1f %8.1f", unit->operation->name,
         state_name(unit->state), unit->points, tried, died, tried - died, committed,
         (double)unit->worst / 1e6, seconds);
  if (unit->missed > 0) printf("  (%ld set up again)", unit->missed);
  if (unit->unlike > 0) printf("  (%ld stepped throughout)", unit->unlike);
  if (unit->cut_short) printf("  (time ran out)");
  printf("\n");
  if (unit->violated) {
    printf("FAILED %s %s at kill point %ld: %s\n", unit->operation->name, state_name(unit->state),
           unit->violated_at, unit->violation);
    printf("  again: crash --operation %s --state %s --from %ld --to %ld\n", unit->operation->name,
           state_name(unit->state), unit->violated_at, unit->violated_at);
    if (!complete) printf("  (a sample: smaller kill points may fail too)\n");
  }
  (void)fflush(stdout);
}

static void blame(struct unit *unit, long k, const char *what, const char *why) {
  if (unit->violated) return;
  unit->violated = 1;
  unit->violated_at = k;
  (void)snprintf(unit->violation, sizeof unit->violation, "%s: %s", what, why);
}

static void judge_course(struct unit *unit, enum course course, size_t offset, const char *what,
                         bool complete) {
  int at_first = course == FALLS || course == ALWAYS;
  int at_last = course == RISES || course == ALWAYS || course == WHENEVER;
  int allowed = course == HUMP ? 2 : course == RISES || course == FALLS ? 1 : 0;
  if (course == WHENEVER) allowed = POINTS_MAXIMUM;
  int changes = 0;
  int before = at_first;
  bool seen = false;
  for (long k = 0; k < POINTS_MAXIMUM; k++) {
    const struct outcome *outcome = &unit->outcomes[k];
    if (!outcome->tried) continue;
    int value = ((const uint8_t *)outcome)[offset];
    if (outcome->phase == NOT_ENTERED && value != at_first) {
      blame(unit, k, what, at_first ? "no, before the operation" : "yes, before the operation");
    }
    if (outcome->phase == RETURNED && value != at_last) {
      blame(unit, k, what, at_last ? "no, after the operation" : "yes, after the operation");
    }
    changes += value != before;
    if (changes > allowed) blame(unit, k, what, value ? "yes, out of turn" : "no, out of turn");
    before = value;
    seen |= value != at_first;
  }
  // A sweep in which nothing ever happened proves nothing. (System calls alone may miss it; and a
  // process of a start that is killed while another is stopped has come as far as it can.)
  complete =
      complete && unit->state != CALLS && unit->state != BLOCKED && unit->state < PARENT_AT_SERVER;
  if (complete && allowed > 0 && !seen) blame(unit, 0, what, "the sweep never saw it change");
}

void report_judge(struct unit *unit, bool complete) {
  const struct operation *operation = unit->operation;
  enum course death = unit->state == WOKEN_DIED ? operation->death_if_died : operation->death;
  judge_course(unit, death, offsetof(struct outcome, died), "an owner's death was told", complete);
  judge_course(unit, operation->commit, offsetof(struct outcome, committed), "committed", complete);
}
