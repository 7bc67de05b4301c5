/* SPDX-License-Identifier: Apache-2.0 */
// A lock in which the share of a dead reader is never taken back.
// Caught: rwlock.read-trylock owns: survivor [01]: write lock: the deadline passed
#include "cipc/participant.h"

#define cipc_participant_check(participant) \
  ((participant) == CIPC_PARTICIPANT_NOBODY ? CIPC_PARTICIPANT_DEAD : 0)
#include "sync/rwlock.c"
