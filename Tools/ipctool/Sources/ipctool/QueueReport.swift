// SPDX-License-Identifier: Apache-2.0
import CIPC

/// How full a queue is.
struct QueueReport: Encodable {
  /// Elements that can be taken, and those that are not done: more where some are being worked on.
  var depth: UInt64
  var unfinished: UInt64
  /// Bytes that these take, and how many the queue takes.
  var bytes: UInt64
  var capacity: UInt64
  /// How many elements it takes at a time; `nil` for as many as fit.
  var capacityElements: UInt64?
  var isFinished: Bool
  /// "at most once", "tracked", "leased", or "at most once, one to one".
  var delivery: String

  /// `nil` for one whose words make no sense, perhaps since a process writes there at this moment.
  init?(_ descriptor: Int32) {
    var info = cipc_ring_info_t()
    // The chain of its parts may change under the look; it does not do so often.
    guard (0..<8).contains(where: { _ in cipc_ring_inspect(descriptor, &info) == 0 }) else {
      return nil
    }
    depth = info.fill.records
    unfinished = info.fill.unfinished
    bytes = info.fill.bytes
    capacity = info.capacity
    capacityElements = info.capacity_records == 0 ? nil : info.capacity_records
    isFinished = info.is_finished != 0
    delivery =
      switch Int(info.flags) {
      case 0: "at most once"
      case CIPC_RING_TRACKED: "tracked"
      case CIPC_RING_LEASED: "leased"
      case CIPC_RING_SPSC: "at most once, one to one"
      default: "flags \(info.flags)"
      }
  }

  /// In a few words.
  var state: String {
    var words = "\(ByteSize.text(bytes)) of \(ByteSize.text(capacity))"
    if let capacityElements { words = "\(unfinished) of \(capacityElements) elements" }
    if delivery != "at most once" { words += ", " + delivery }
    if unfinished > depth { words += ", \(unfinished - depth) being worked on" }
    if isFinished { words += ", finished" }
    return words
  }
}
