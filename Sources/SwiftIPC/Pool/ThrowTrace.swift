// SPDX-License-Identifier: Apache-2.0

/// Where the last error of this thread was thrown.
enum ThrowTrace {
  /// Has traces recorded from now on.
  static func begin() {}

  /// The trace of the last error, a line for each call; empty where none was recorded.
  static func take() -> [String] { [] }
}
