/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/wait.h"

#include "clock.h"
#include "futex.h"

_Static_assert(CIPC_WAIT_SLICE == CIPC_SLICE_NANOSECONDS, "told to the users");

// When this thread began to wait on a word, or was last told to look for the dead: it is told again
// a slice later, although it may be woken more often than that, and call anew each time.
static __thread struct {
  const uint32_t *word;
  cipc_deadline_t since;
  // Whether it has been told to at `since`.
  int has_looked;
} last;

static int look(cipc_deadline_t now) {
  last.since = now;
  last.has_looked = 1;
  return CIPC_WAIT_LOOK;
}

int cipc_wait_sleep(const cipc_wait_t *wait, cipc_deadline_t deadline) {
  cipc_deadline_t now = cipc_clock_now();
  // Beyond a second slice nothing was waited for: this is another wait.
  if (last.word != wait->word || now - last.since >= 2 * CIPC_SLICE_NANOSECONDS) {
    last.word = wait->word;
    last.since = now;
    last.has_looked = 0;
  }
  cipc_deadline_t slice = last.since + CIPC_SLICE_NANOSECONDS;
  if (now >= slice) return look(now);
  int status;
  do {
    status = cipc_futex_wait_until(wait->word, wait->expected, slice < deadline ? slice : deadline);
  } while (status == -EINTR);
  if (status != CIPC_ETIMEDOUT) return status;
  if (slice <= deadline || !last.has_looked) return look(cipc_clock_now());
  return CIPC_ETIMEDOUT;
}

void cipc_wait_pass(const cipc_wait_t *wait) { (void)cipc_futex_wake(wait->word, 1); }
