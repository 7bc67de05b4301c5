/* SPDX-License-Identifier: Apache-2.0 */
// An event that forgets with a clear that it was ever set: waiters that were to be released sleep
// on.
// Caught: event.set-clear contended: it was not set, and survivor [01] was released
#include "cipc/event.h"

static inline void forget(cipc_event_t *event) {
  __atomic_store_n(&event->word, 0, __ATOMIC_SEQ_CST);
}
#define cipc_event_clear forget
