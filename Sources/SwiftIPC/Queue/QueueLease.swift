// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding
internal import Synchronization

/// An element of a queue that this process works on, and that goes back to the queue unless it says
/// that it is done.
///
/// ```swift
/// let jobs = try Queue<String>(delivery: .leased)
/// let lease = try await jobs.lease()
/// try work(on: lease.element)
/// try lease.acknowledge()
/// ```
///
/// It goes back by `giveBack()`, with the last reference to this object, when the queue is closed here,
/// and when the process is killed: then somebody who waits gets it within 250 ms. It never goes back by
/// time. Any thread may end it; a forked copy of this process does not hold it.
@safe
public final class QueueLease<Element: Codable & Sendable>: Sendable {
  /// What is to be done.
  public let element: Element
  /// How often the element was delivered, this time included: above 1 somebody had it before, and died
  /// or gave it back. Never too low; it may be one too high for each process that was killed while it
  /// took or gave back the element.
  public let deliveries: Int
  private let queue: Queue<Element>
  private let ticket: UInt64
  private let isEnded = Atomic(false)

  init(_ element: Element, of queue: Queue<Element>, _ ticket: UInt64, deliveries: UInt32) {
    self.element = element
    self.queue = queue
    self.ticket = ticket
    self.deliveries = Int(deliveries)
  }

  deinit {
    // There is no caller to report an error to.
    if !isEnded.load(ordering: .acquiring) { try? giveBack() }
  }

  /// Whether this process still works on it by this object.
  public var isHeld: Bool { !isEnded.load(ordering: .acquiring) }

  /// Says that the element is done, so that it is not delivered again. Waits for a consumer that is taking
  /// at this moment.
  ///
  /// - Throws: `IPCError` with `notOwner` when it was acknowledged or given back already, or is a forked
  ///   copy's; `closed`.
  public func acknowledge() throws(IPCError) {
    try end { unsafe cipc_ring_acknowledge(queue.ring, ticket, .max) }
  }

  /// Hands the element back to the queue, for anybody to take, ahead of those that were not taken yet.
  /// Waits for a consumer that is taking at this moment.
  ///
  /// - Throws: as `acknowledge()`.
  public func giveBack() throws(IPCError) {
    try end { unsafe cipc_ring_return(queue.ring, ticket, .max) }
  }

  private func end(_ body: () -> Int32) throws(IPCError) {
    let isFirst = isEnded.compareExchange(
      expected: false, desired: true, ordering: .acquiringAndReleasing
    ).exchanged
    let status = isFirst ? body() : CIPC_EPERM.rawValue
    if status == CIPC_EPERM.rawValue {
      throw IPCError(
        .notOwner,
        context: "lease of an element: was acknowledged or given back, or is another process's")
    }
    if status < 0 { throw queue.failure(status) }
  }
}
