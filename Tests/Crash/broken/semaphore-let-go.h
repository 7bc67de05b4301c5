/* SPDX-License-Identifier: Apache-2.0 */
// A semaphore that hands a permit on by giving it back and taking it again: in between, others
// come.
// Caught: semaphore.hand owns: the permit was nobody's on the way
#include "cipc/semaphore.h"

static inline int let_go_and_take(cipc_semaphore_t *semaphore, uint32_t capacity, uint32_t permit,
                                  cipc_participant_t from, cipc_participant_t to) {
  int status = cipc_semaphore_release_for(semaphore, capacity, permit, from);
  return status < 0 ? status : cipc_semaphore_try(semaphore, capacity, to);
}
#define cipc_semaphore_hand let_go_and_take
