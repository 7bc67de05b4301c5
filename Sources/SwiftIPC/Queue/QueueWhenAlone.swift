// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// What a call of a `Queue` that waits does once its process is alone with the queue: there was another
/// process that had it, every other one has closed it or is dead, and no handle is on its way to anyone.
///
/// ```swift
/// let results = try Queue<Int>(whenAlone: .fail)
/// ```
public enum QueueWhenAlone: UInt8, Hashable, Sendable, CaseIterable {
  /// Fails with `peersGone` where no answer can come any more, and waits where one can. The default.
  ///
  /// An answer can come while the queue has a name, by which the next process finds it. It can come from
  /// this process itself where that made the queue or has sent it on, since a child can be started in
  /// place of one that is gone; and where it has used the other side. So a call fails in a process that
  /// got the queue from another one and has only taken from it, or has only put into it: a worker whose
  /// parent was killed ends, instead of waiting for ever.
  case standard
  /// Waits, for as long as it takes. For a process that got the queue from another one, has only taken
  /// from it so far, and is about to put something by another thread.
  case wait
  /// Fails with `peersGone`, also where this process itself could answer or the next one could find the
  /// name. For a parent that takes results, and starts no other worker when its last one is gone.
  case fail

  var policy: Int32 {
    switch self {
    case .standard: Int32(CIPC_RING_ALONE_STANDARD)
    case .wait: Int32(CIPC_RING_ALONE_WAIT)
    case .fail: Int32(CIPC_RING_ALONE_FAIL)
    }
  }

  init(policy: Int32) {
    self = Self.allCases.first { $0.policy == policy } ?? .standard
  }
}
