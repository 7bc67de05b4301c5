// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// Signals to wait for until the first of them comes: the one way in which this library waits for
/// several descriptors.
struct SignalSet {
  /// Directions by descriptor, so that one that several things name is waited for once.
  private var directions: [Int32: UInt32] = [:]

  init(_ signals: [Readiness.Signal] = []) { add(signals) }

  mutating func add(_ signals: [Readiness.Signal]) {
    for signal in signals {
      switch signal {
      case .readable(let descriptor): directions[descriptor, default: 0] |= CIPC_POLLER_READABLE
      case .writable(let descriptor): directions[descriptor, default: 0] |= CIPC_POLLER_WRITABLE
      }
    }
  }

  /// How a wait ended that did not fail.
  enum Wake {
    /// By a signal, or for nothing.
    case signalled
    case timedOut
    /// A descriptor was closed in the meantime, and its number may name another file by now: this is
    /// what the kernel said. Look again; when the next wait says so too, it is a mistake.
    case descriptorClosed(IPCError)
  }

  /// Blocks until there is a signal or the deadline has passed.
  func wait(until deadline: Int64) throws(IPCError) -> Wake {
    let interests = interests
    return try Self.wake(unsafe cipc_poller_poll(interests, interests.count, deadline))
  }

  /// The same without a blocked thread.
  ///
  /// - Throws: `cancelled` when the waiting task is; and what the kernel says where it cannot wait.
  func wait(until deadline: Int64) async throws(IPCError) -> Wake {
    let condition: Suspension.Condition
    if directions.count == 1, let (descriptor, direction) = directions.first {
      // Without a set, of which the kernel allows some hundreds for one descriptor.
      condition = .init(
        descriptor: descriptor, isOwned: false, direction: direction, deadline: deadline)
    } else {
      let descriptor = gather()
      if descriptor < 0 { return try Self.wake(descriptor) }
      condition = .init(
        descriptor: descriptor, direction: CIPC_POLLER_READABLE, deadline: deadline)
    }
    let status = await Suspension().wait(for: condition)
    // Not a wrong argument, since there are none: epoll's limit of ways to wake up.
    if status == CIPC_EINVAL.rawValue {
      throw IPCError(.resourceLimit, errno: -status, context: "500 tasks wait for one descriptor")
    }
    return try Self.wake(status)
  }

  /// A descriptor that is readable while there is a signal; the caller's.
  func descriptor() throws(IPCError) -> Int32 {
    try IPCError.check(gather(), Self.subject)
  }

  private var interests: [cipc_poller_interest_t] {
    directions.map { cipc_poller_interest_t(fd: $0.key, directions: $0.value) }
  }

  private func gather() -> Int32 {
    let interests = interests
    return unsafe cipc_poller_gather(interests, interests.count)
  }

  private static let subject = "waiting for descriptors"

  private static func wake(_ status: Int32) throws(IPCError) -> Wake {
    switch status {
    case CIPC_ETIMEDOUT.rawValue: return .timedOut
    case _ where status.isOfAnotherFile:
      return .descriptorClosed(IPCError(status: status, subject))
    default:
      try IPCError.check(status, subject)
      return .signalled
    }
  }
}
