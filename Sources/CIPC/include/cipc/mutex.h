/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_MUTEX_H
#define CIPC_MUTEX_H

#include "status.h"

#endif
