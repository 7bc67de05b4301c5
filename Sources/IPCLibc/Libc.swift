// SPDX-License-Identifier: Apache-2.0

// The C library of the platform, under one name for all files.
#if canImport(Glibc)
  @_exported public import Glibc
#elseif canImport(Musl)
  @_exported public import Musl
#endif
