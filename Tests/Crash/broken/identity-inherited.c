/* SPDX-License-Identifier: Apache-2.0 */
// A forked child that takes itself for its parent.
// Caught: identity.self owns: self: another pid
#include <sys/mman.h>

#define madvise(address, length, advice) (0)
#include "base/identity.c"
