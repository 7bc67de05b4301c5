/* SPDX-License-Identifier: Apache-2.0 */
// A table that takes out a process that is said to have ended, by the number alone.
// Caught: participants.join owns: one that is alive was taken out
#include "cipc/participant.h"

#define cipc_participant_check(participant) (CIPC_PARTICIPANT_DEAD)
#include "segment/participants.c"
