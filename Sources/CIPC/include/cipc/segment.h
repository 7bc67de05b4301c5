/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_SEGMENT_H
#define CIPC_SEGMENT_H

#include "status.h"

#endif
