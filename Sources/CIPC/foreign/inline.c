/* SPDX-License-Identifier: Apache-2.0 */
// The functions that the public headers define, once more as exported functions: for ctypes, cffi
// and all others that find functions by name and compile no header.
//
// Not by C's own `extern inline`: then the headers would have to say `inline`, whose calls a
// program in C++ or with -fgnu89-inline resolves in other ways, and an executable's weak copy would
// take the place of the library's.
#define CIPC_INLINE CIPC_API
#include "cipc.h"
