/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_MUTEX_PRIVATE_H
#define CIPC_MUTEX_PRIVATE_H

#include <stdbool.h>

#include "cipc/mutex.h"

// Whether the calling thread holds the mutex. Exact for the caller; no system call.
bool cipc_mutex_is_owned(const cipc_mutex_t *mutex);

#endif
