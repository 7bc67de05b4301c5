// SPDX-License-Identifier: Apache-2.0

/// Where a child's standard input comes from.
public enum ChildInput: Hashable, Sendable {
  /// From where this process has its own.
  case inherit
  /// From `/dev/null`: it is at its end.
  case null
  /// From a pipe into which this process writes: `ChildProcess.standardInput`.
  case pipe
  /// From an open descriptor of this process, which stays the caller's.
  case descriptor(Int32)
}

/// Where a child's standard output, or its standard error, goes.
public enum ChildOutput: Hashable, Sendable {
  /// Where this process's own goes.
  case inherit
  /// Nowhere.
  case null
  /// Into a pipe that this process reads: `ChildProcess.standardOutput`, `standardError`.
  case pipe
  /// To an open descriptor of this process, which stays the caller's.
  case descriptor(Int32)
}
