/* SPDX-License-Identifier: Apache-2.0 */
// A semaphore that takes a permit first and names the holder afterwards. Killed in between, no
// holder can be found dead.
// Caught: semaphore.acquire woken: (.* are lost|survivor [01]: acquire: the deadline passed)
#include "cipc/semaphore.h"

static inline int try_and_sign(cipc_semaphore_t *semaphore, uint32_t capacity,
                               cipc_participant_t owner) {
  const cipc_participant_t someone = (cipc_participant_t)1 << 22;
  int permit = cipc_semaphore_try(semaphore, capacity, someone);
  if (permit >= 0) {
    __atomic_store_n(cipc_semaphore_permits(semaphore) + permit, owner, __ATOMIC_SEQ_CST);
  }
  return permit;
}
#define cipc_semaphore_try try_and_sign
