/* SPDX-License-Identifier: Apache-2.0 */
// A barrier that is lost with an owner of its mutex.
// Caught: barrier.arrive owns: survivor [01] never comes back
#include "cipc/mutex.h"

#define cipc_mutex_recover(mutex) CIPC_EBROKEN
#include "sync/barrier.c"
