// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

extension Connection: Waitable {
  /// Ready when there is something to receive: a message, the beginning of one, or the end of the
  /// stream; and when the connection was closed here. What `firstReady` asks; does not block.
  ///
  /// - Throws: `IPCError` with `notReadable`, `resourceLimit`.
  public func readiness() throws(IPCError) -> Readiness {
    switch unsafe cipc_connection_poll(handle, 0) {
    case 0, CIPC_ECLOSED.rawValue: return .ready
    case CIPC_ETIMEDOUT.rawValue: break
    case let status: throw IPCError(status: status, "connection")
    }
    guard let signals = try signals() else { return .ready }
    return .pending(signals)
  }

  /// Makes a descriptor for another event loop: readable while there is something to receive.
  ///
  /// ```swift
  /// let descriptor = try ours.readinessDescriptor()
  /// let source = DispatchSource.makeReadSource(fileDescriptor: descriptor)
  /// source.setEventHandler {
  ///   if let bytes = try? ours.receiveBytes(timeout: .zero) { show(bytes) }
  /// }
  /// source.setCancelHandler { close(descriptor) }
  /// source.activate()
  /// ```
  ///
  /// It tells the truth about messages that this end has read ahead, so one message for each wake-up
  /// will do in a loop that is level-triggered; in one that is edge-triggered, receive until `timedOut`.
  /// Once this end is closed the descriptor stays readable, for as long as the connection is kept. It is
  /// only to be waited for: do not read it, and do not give it to another process.
  ///
  /// - Returns: an epoll descriptor, close-on-exec, the caller's to close.
  /// - Throws: `IPCError` with `closed`, `notReadable`, `resourceLimit`.
  public func readinessDescriptor() throws(IPCError) -> Int32 {
    guard let signals = try signals() else {
      throw IPCError(status: CIPC_ECLOSED.rawValue, "connection")
    }
    return try SignalSet(signals).descriptor()
  }

  /// What to wait for; `nil` when closed.
  func signals() throws(IPCError) -> [Readiness.Signal]? {
    var descriptors: (Int32, Int32) = (-1, -1)
    let status = unsafe withUnsafeMutableBytes(of: &descriptors) { bytes in
      unsafe cipc_connection_watch(handle, bytes.assumingMemoryBound(to: Int32.self).baseAddress)
    }
    if status == CIPC_ECLOSED.rawValue { return nil }
    try IPCError.check(status, "connection")
    return [.readable(descriptors.0), .readable(descriptors.1)]
  }
}
