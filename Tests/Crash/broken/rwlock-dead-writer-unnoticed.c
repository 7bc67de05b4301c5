/* SPDX-License-Identifier: Apache-2.0 */
// A lock whose readers wait for a dead writer until another writer comes.
// Caught: rwlock.read-trylock owns: after all: held by another process or thread
#include "cipc/mutex.h"

#define cipc_mutex_trylock(mutex) ((mutex) != NULL ? CIPC_EBUSY : CIPC_EINVAL)
#include "sync/rwlock.c"
