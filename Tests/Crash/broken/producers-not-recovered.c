/* SPDX-License-Identifier: Apache-2.0 */
// A ring whose producers take a dead one's side for lost.
// Caught: producer.put owns: survivor: put: the lock was destroyed .*
#include "cipc/mutex.h"

#define cipc_mutex_recover(mutex) ((void)(mutex), CIPC_ENOTRECOVERABLE)
#include "ring/producers.c"
