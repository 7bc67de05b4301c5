// SPDX-License-Identifier: Apache-2.0

/// What is to happen when an object is asked for by a name.
///
/// ```swift
/// let total = try Value(0.0, named: "total", .create)
/// ```
public enum NameMode: Hashable, Sendable {
  /// Make the object. The error is `nameExists` when the name is taken.
  case create
  /// Find the object that has the name. The error is `nameNotFound` when there is none.
  case open
  /// Find the object that has the name, or make it: of any number of processes that do so at the same
  /// time, one makes it and the others find it. `wasCreated` says which.
  case openOrCreate
}
