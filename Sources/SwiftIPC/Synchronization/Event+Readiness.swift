// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

extension Event: Waitable {
  /// Ready while the event is set. What `firstReady` asks; does not block.
  ///
  /// Unlike `wait(timeout:)`, this looks at whether the event is set and not at whether it was: of one that is
  /// cleared before `firstReady` comes to look, it says nothing.
  ///
  /// - Throws: `IPCError` with `resourceLimit`, `outOfMemory`.
  public func readiness() throws(IPCError) -> Readiness {
    if isSet { return .ready }
    return try watch.withLock { watch throws(IPCError) in
      if let watch { return try watch.readiness() }
      let made = try EventWatch(segment)
      watch = made
      return try made.readiness()
    }
  }
}

/// A descriptor that tells when an event is set, and keeps its memory.
@safe
final class EventWatch: @unchecked Sendable {
  // Not changed after `init`; the C core's functions may be called from any thread.
  private let handle: OpaquePointer
  private let segment: Segment

  init(_ segment: Segment) throws(IPCError) {
    var handle: OpaquePointer?
    let status = unsafe cipc_event_readiness_open(
      &handle, segment.address.assumingMemoryBound(to: cipc_event_t.self))
    guard status >= 0, let handle = unsafe handle else { throw IPCError(status: status, "event") }
    unsafe self.handle = unsafe handle
    self.segment = segment
  }

  deinit { unsafe cipc_readiness_close(handle) }

  func readiness() throws(IPCError) -> Readiness {
    let status = unsafe cipc_readiness_look(handle)
    try IPCError.check(status, "event")
    return status > 0 ? .ready : .pending([.readable(unsafe cipc_readiness_descriptor(handle))])
  }
}
