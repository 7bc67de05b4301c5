// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// What becomes of an element of a `Queue` whose consumer is killed.
///
/// ```swift
/// let jobs = try Queue<String>(delivery: .leased)
/// ```
public enum QueueDelivery: UInt8, Hashable, Sendable, CaseIterable {
  /// An element belongs to the consumer that took it, and is lost when that consumer dies: each is
  /// delivered once, or not at all. The fastest.
  case atMostOnce
  /// The same, and the queue knows which elements are being worked on: consumers say `taskDone()`, and
  /// `join()` waits until all that was put is done. What a process has taken counts as done when it
  /// dies.
  case tracked
  /// Elements are leased, with `lease()`, and go back to the queue when their consumer dies before it
  /// acknowledged them: each is delivered at least once. Never by time: a slow consumer keeps its
  /// leases. `join()` waits until all that was put is acknowledged.
  case leased

  var flags: UInt32 {
    switch self {
    case .atMostOnce: 0
    case .tracked: UInt32(CIPC_RING_TRACKED)
    case .leased: UInt32(CIPC_RING_LEASED)
    }
  }
}
