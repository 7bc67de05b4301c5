/* SPDX-License-Identifier: Apache-2.0 */
#include "cipc/version.h"

const char *cipc_version(void) { return CIPC_VERSION; }
