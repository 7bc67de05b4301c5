// SPDX-License-Identifier: Apache-2.0

// `stdout` is a variable, which only this import lets be read.
#if canImport(Glibc)
  @unsafe @preconcurrency internal import Glibc
#elseif canImport(Musl)
  @unsafe @preconcurrency internal import Musl
#endif

/// How this process buffers what it prints.
enum LineBuffering {
  /// Has lines written out when they are whole, as on a terminal. Before anything is printed.
  static func begin() { _ = unsafe setvbuf(stdout, nil, _IOLBF, 0) }
}
