/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_CELL_H
#define CIPC_CELL_H

#include "status.h"

#endif
