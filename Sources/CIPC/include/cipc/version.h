/* SPDX-License-Identifier: Apache-2.0 */
/// The version of the library: of the headers that a program was compiled with,
/// and of the library that it runs with.
///
/// Versions are MAJOR.MINOR.PATCH as Semantic Versioning 2.0.0 has them. While
/// MAJOR is 0, a new MINOR may change the API, and the shared library's soname
/// carries both (libcipc.so.0.2); a new PATCH only mends.
#ifndef CIPC_VERSION_H
#define CIPC_VERSION_H

#include "status.h"

CIPC_BEGIN_DECLS

#define CIPC_VERSION_MAJOR 0
#define CIPC_VERSION_MINOR 2
#define CIPC_VERSION_PATCH 0

/// The version of the headers, as text.
#define CIPC_VERSION "0.2.0"

/// The version of the library that the program runs with, such as "0.2.0": a
/// static string. Never fails; async-signal-safe.
CIPC_API const char *cipc_version(void);

CIPC_END_DECLS

#endif
