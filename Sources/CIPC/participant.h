/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_PARTICIPANT_PRIVATE_H
#define CIPC_PARTICIPANT_PRIVATE_H

#include <stddef.h>

#include "cipc/participant.h"

// Where the identity of this process is kept: a page that a forked child finds empty. NULL until
// first asked for.
extern cipc_participant_t *cipc_participant_page;

// `cipc_participant_self`, in two loads: locks ask on each operation.
static inline cipc_participant_t cipc_participant_current(void) {
  const cipc_participant_t *page = __atomic_load_n(&cipc_participant_page, __ATOMIC_ACQUIRE);
  if (__builtin_expect(page != NULL, 1)) {
    cipc_participant_t self = __atomic_load_n(page, __ATOMIC_RELAXED);
    if (__builtin_expect(self != CIPC_PARTICIPANT_NOBODY, 1)) return self;
  }
  return cipc_participant_self();
}

#endif
