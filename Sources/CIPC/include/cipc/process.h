/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_PROCESS_H
#define CIPC_PROCESS_H

#include "status.h"

#endif
