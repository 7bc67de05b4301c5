// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// One end of the stream between a parent and its child: the task goes down, the outcome comes up.
@safe final class TaskConnection: Sendable {
  /// Owned; the C functions take care of concurrent calls.
  private nonisolated(unsafe) let connection: OpaquePointer
  /// The connection's descriptor, for polling; open as long as this object lives.
  let descriptor: Int32

  /// Takes the descriptor over, which is closed also when this fails.
  init(adopting descriptor: Int32) throws(IPCError) {
    var connection: OpaquePointer?
    // Parent and child are one program of one user: no limit but memory's.
    let status = unsafe cipc_connection_adopt(&connection, descriptor, 0, UInt64(Int64.max))
    guard status >= 0, let connection = unsafe connection else {
      close(descriptor)
      throw IPCError(status: status, "the connection of parent and child")
    }
    unsafe self.connection = connection
    self.descriptor = descriptor
  }

  deinit { unsafe cipc_connection_free(connection) }

  /// Ends the stream in both directions. The descriptor stays open for callers that wait on it.
  func shutDown() { _ = shutdown(descriptor, Int32(SHUT_RDWR)) }

  // MARK: - Sending

  /// Sends a frame, and gives up when the child has ended; one that stops reading
  /// while it lives is waited for until the deadline.
  func send(
    _ bytes: [UInt8], _ descriptors: [Int32], to child: RunningChild, until deadline: Int64
  ) throws(IPCError) {
    var progress: UInt64 = 0
    var wait = unsafe cipc_wait_t()
    while true {
      // One that has passed still tries once.
      let left = Self.milliseconds(until: deadline)
      let status = unsafe cipc_connection_send_step(
        connection, bytes, bytes.count, descriptors, descriptors.count, &progress, &wait)
      if status >= 0 { return }
      var ready = [
        pollfd(fd: child.descriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0),
      ]
      guard status == CIPC_EAGAIN.rawValue else {
        unsafe cipc_connection_abandon(connection, progress)
        throw IPCError(status: status, "the child's task")
      }
      if unsafe wait.kind == CIPC_WAIT_PAUSE {
        let pause = unsafe Int32(clamping: wait.pause / 1_000_000)
        _ = unsafe poll(&ready, 1, left < 0 ? pause : min(left, pause))
      } else {
        _ = unsafe poll(&ready, 2, left)
      }
      if ready[0].revents != 0 {
        unsafe cipc_connection_abandon(connection, progress)
        throw IPCError(status: CIPC_EPEERCLOSED.rawValue, "the child's task")
      }
      if left == 0 {
        unsafe cipc_connection_abandon(connection, progress)
        throw IPCError(.timedOut, context: "\(child) does not take its task")
      }
    }
  }

  /// Has the parent told when this process dies since it gets no more memory.
  func watchMemory() {
    let message = TaskFailure.refusedMemory
    // As a frame: its length in front.
    let frame = [0, 0, 0, UInt8(message.count)] + message
    // Where that cannot be, the signal has to do.
    _ = unsafe cipc_death_watch_memory(descriptor, frame, frame.count)
  }

  /// As `poll` takes it: -1 for no deadline, and rounded up.
  private static func milliseconds(until deadline: Int64) -> Int32 {
    if deadline == .max { return -1 }
    let left = max(0, deadline - cipc_clock_now())
    return Int32(clamping: left / 1_000_000 + (left % 1_000_000 > 0 ? 1 : 0))
  }

  /// Tells the parent of a failure; does nothing when the parent is gone.
  func send(failure message: [UInt8]) { try? sendOutcome(message, nil) }

  /// Sends the value of a task, with the descriptors in it.
  ///
  /// - Throws: what the value's `encode(to:)` does, and `messageTooLong`; not when the parent is gone.
  func sendValue(_ value: any Encodable) throws {
    let (bytes, outbox) = try MessageEncoder(isPeerSwift: true).encodeWithDescriptors(value)
    try sendOutcome(bytes, outbox)
  }

  private func sendOutcome(_ bytes: [UInt8], _ outbox: DescriptorOutbox?) throws(IPCError) {
    let descriptors = outbox?.descriptors ?? []
    let status = unsafe cipc_connection_send(
      connection, bytes, bytes.count, descriptors, descriptors.count, .max)
    switch status {
    case 0...: outbox?.sent()
    case CIPC_EPEERCLOSED.rawValue, CIPC_ECLOSED.rawValue: return
    default: throw IPCError(status: status, "the task's value")
    }
  }

  // MARK: - Receiving

  /// The next frame. Blocks.
  ///
  /// - Throws: `peerClosed` when the other end is closed, and what a broken stream says.
  func receive() throws(IPCError) -> IncomingArguments {
    // The parent's word counts.
    let (status, message) = receive(.max, maximumMessageSize: .max)
    try IPCError.check(status, "the task")
    guard let message else { throw IPCError(.malformedFrame) }
    return IncomingArguments(bytes: message.bytes, inbox: message.inbox)
  }

  enum Arrival {
    case nothing
    case message(bytes: [UInt8], inbox: DescriptorInbox)
    /// Nothing will come any more. The other end had read all that was sent to it when it was
    /// closed, or it had not; or the bytes made no sense.
    case end(hasReadAll: Bool, IPCError?)
  }

  /// What has arrived by now. Does not block; one thread at a time.
  ///
  /// - Parameter hasEnded: whether the process at the other end is known to have ended. Its end of
  ///   the stream may be open all the same, in a process that was forked while it was.
  func receiveIfReady(hasEnded: Bool) -> Arrival {
    var unread: Int32 = 0
    // First of all: closing the other end throws away what it has not read.
    if hasEnded { _ = unsafe ioctl(descriptor, UInt(TIOCOUTQ), &unread) }
    var byte: UInt8 = 0
    let available = unsafe recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
    // So a unix socket says that its peer was closed with bytes left to read.
    let hasReadAll = unread == 0 && !(available < 0 && errno == ECONNRESET)
    let (status, message) = receive(0)
    switch status {
    case 0...:
      if let message { return .message(bytes: message.bytes, inbox: message.inbox) }
      return .nothing
    case CIPC_ETIMEDOUT.rawValue, CIPC_EBUSY.rawValue:
      return hasEnded ? .end(hasReadAll: hasReadAll, nil) : .nothing
    case CIPC_EPEERCLOSED.rawValue: return .end(hasReadAll: hasReadAll, nil)
    default:
      return .end(hasReadAll: hasReadAll, IPCError(status: status, "the child's outcome"))
    }
  }

  private func receive(
    _ deadline: cipc_deadline_t, maximumMessageSize: Int = Connection.defaultMaximumMessageSize
  ) -> (Int32, (bytes: [UInt8], inbox: DescriptorInbox)?) {
    var bytes: UnsafeMutablePointer<UInt8>?
    var length = 0
    var descriptors: UnsafeMutablePointer<Int32>?
    var count = 0
    let status = unsafe cipc_connection_receive(
      connection, &bytes, &length, &descriptors, &count, deadline)
    guard status >= 0 else { return (status, nil) }
    defer {
      unsafe free(bytes)
      unsafe free(descriptors)
    }
    let inbox = unsafe DescriptorInbox(
      Array(UnsafeBufferPointer(start: descriptors, count: count)),
      maximumMessageSize: maximumMessageSize)
    return unsafe (status, (Array(UnsafeBufferPointer(start: bytes, count: length)), inbox))
  }
}
