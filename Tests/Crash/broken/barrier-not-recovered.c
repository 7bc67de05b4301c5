/* SPDX-License-Identifier: Apache-2.0 */
// A barrier that is lost with an owner of its mutex.
#include "cipc/mutex.h"

#define cipc_mutex_recover(mutex) CIPC_EBROKEN
#include "barrier.c"
