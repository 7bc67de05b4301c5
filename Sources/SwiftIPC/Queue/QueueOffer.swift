// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding
internal import Synchronization

/// The announcement that another process will have a queue: an entry in the queue's table of participants
/// stands for that process until it has opened the queue, or can no longer do so.
@safe
final class QueueOffer: HandleOffer {
  let ticket: UInt32
  /// Keeps the ring.
  private let queue: any Sendable & AnyObject
  private nonisolated(unsafe) let ring: OpaquePointer
  private let wasSent = Atomic(false)

  init<Element>(of queue: Queue<Element>) throws(IPCError) {
    self.queue = queue
    unsafe ring = unsafe queue.ring
    var ticket: UInt32 = 0
    let status = unsafe cipc_ring_offer(queue.ring, &ticket)
    if status < 0 { throw queue.failure(status) }
    self.ticket = ticket
  }

  deinit {
    // A message that was not sent brings no receiver.
    if !wasSent.load(ordering: .relaxed) {
      _ = unsafe cipc_segment_settle(cipc_ring_segment(ring), ticket)
    }
  }

  func handOn(to child: UInt64) {
    _ = unsafe cipc_segment_offer_to(cipc_ring_segment(ring), ticket, child)
  }

  func end(with descriptor: Int32) throws(IPCError) {
    try IPCError.check(
      unsafe cipc_segment_offer_until(cipc_ring_segment(ring), ticket, descriptor),
      "a queue's offer")
  }

  func complete() { wasSent.store(true, ordering: .relaxed) }
}
