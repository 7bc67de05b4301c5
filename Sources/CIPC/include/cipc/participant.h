/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_PARTICIPANT_H
#define CIPC_PARTICIPANT_H

#include "status.h"

#endif
