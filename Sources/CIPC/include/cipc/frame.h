/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_FRAME_H
#define CIPC_FRAME_H

#include "status.h"

#endif
