/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_WAITER_H
#define CIPC_WAITER_H

#include "status.h"

#endif
