/* SPDX-License-Identifier: Apache-2.0 */
// A ring whose consumers take a dead one's side for lost.
// Caught: consumer.get owns: survivor: get: the lock was destroyed .*
#include "cipc/mutex.h"

#define cipc_mutex_recover(mutex) ((void)(mutex), CIPC_ENOTRECOVERABLE)
#include "ring/consumers.c"
