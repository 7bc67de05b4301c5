/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CIPC_CONNECTION_H
#define CIPC_CONNECTION_H

#include "status.h"

#endif
