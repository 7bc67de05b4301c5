/* SPDX-License-Identifier: Apache-2.0 */
// A semaphore that takes every holder for alive.
// Caught: semaphore.acquire owns: survivor [01]: acquire: the deadline passed
#include "cipc/participant.h"

#define cipc_participant_check(participant) ((void)(participant), 0)
#include "sync/semaphore.c"
