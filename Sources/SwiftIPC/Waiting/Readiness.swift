// SPDX-License-Identifier: Apache-2.0

/// Where a `Waitable` stands: ready, or to be looked at again when a descriptor says so.
public enum Readiness: Hashable, Sendable {
  /// Using it would not wait.
  case ready
  /// Not ready: look again after any of these. They are borrowed, and open for as long as the object
  /// is kept; where one is closed earlier, the object is ready by then.
  case pending([Signal])

  /// What a descriptor tells, for as long as it is so (level-triggered).
  public enum Signal: Hashable, Sendable {
    /// The descriptor can be read from, or is at its end.
    case readable(Int32)
    /// The descriptor can be written to, or its reader is gone.
    case writable(Int32)
  }
}
