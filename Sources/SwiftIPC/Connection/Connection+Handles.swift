// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

extension Connection {
  /// Which Python is at the other end, where descriptors are passed: from 3.14 on the receiver of
  /// descriptors says that they have arrived, and the sender waits for it. Earlier ones do neither, so
  /// the two cannot be mixed and the bytes do not tell. Have Python say `sys.version_info >= (3, 14)`.
  public enum HandleDialect: Hashable, Sendable {
    /// Python up to 3.13.
    case plain
    /// Python from 3.14 on.
    case acknowledged
  }

  /// Sends descriptors to Python, which receives one by
  /// `multiprocessing.reduction.recv_handle(connection)`, and several by
  /// `recvfds(socket, count)`.
  ///
  /// They go between two messages, so the other end has to ask for them at this point. Shared objects
  /// and descriptors for Swift travel *in* messages instead: `send(_:)`, `send(bytes:descriptors:)`.
  ///
  /// ```swift
  /// let isNew = try connection.receive(Bool.self)     // sys.version_info >= (3, 14)
  /// try connection.sendHandles([descriptor], dialect: isNew ? .acknowledged : .plain)
  /// ```
  ///
  /// Blocks until the kernel has them, and with `.acknowledged` until Python does.
  ///
  /// - Parameters:
  ///   - descriptors: open ones, 1 to 252 of them; Python gets duplicates, and these stay the caller's.
  ///   - dialect: which Python is at the other end.
  ///   - timeout: how long to wait; zero or less does not wait.
  /// - Throws: `IPCError` with `timedOut` (when the descriptors are out and only the acknowledgement is
  ///   missing, the connection is closed), `peerClosed`, `closed`, `unsupported` over anything but a
  ///   Unix socket, `descriptorsLost` for too many or none, `malformedMessage` for another answer, which
  ///   closes the connection, `system` for a descriptor that is not open.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func sendHandles(
    _ descriptors: [Int32], dialect: HandleDialect, timeout: Duration? = nil
  ) throws(IPCError) {
    let deadline = Deadline.after(timeout)
    let status = unsafe cipc_connection_send_handles(
      handle, descriptors, descriptors.count, deadline)
    try check(status, wake: waitingToSend)
    if dialect == .plain { return }
    try acknowledgement(unsafe cipc_connection_acknowledged(handle, deadline))
  }

  /// Sends descriptors to Python; suspends while there is no room for them, and with `.acknowledged`
  /// until Python has them.
  ///
  /// As the blocking form; also throws `cancelled`: like a timeout, that closes the connection if only
  /// the acknowledgement is missing.
  public func sendHandles(
    _ descriptors: [Int32], dialect: HandleDialect, timeout: Duration? = nil
  ) async throws(IPCError) {
    let deadline = Deadline.after(timeout)
    let status = unsafe await sendSuspending(until: deadline) { wait in
      unsafe cipc_connection_send_handles_step(handle, descriptors, descriptors.count, &wait)
    }
    try check(status, wake: waitingToSend)
    if dialect == .plain { return }
    try acknowledgement(
      await receiveSuspending(until: deadline) { unsafe cipc_connection_acknowledged(handle, 0) })
  }

  /// Receives descriptors from Python, which sends one by
  /// `multiprocessing.reduction.send_handle(connection, descriptor, pid)`, and several by
  /// `sendfds(socket, descriptors)`.
  ///
  /// Blocks until they are there. They are close-on-exec and the caller's to close.
  ///
  /// ```swift
  /// let descriptor = try connection.receiveHandles(count: 1, dialect: .plain)[0]
  /// ```
  ///
  /// - Parameters:
  ///   - count: how many were sent at once, 1 to 252.
  ///   - dialect: which Python is at the other end.
  ///   - timeout: how long to wait; zero or less does not wait.
  /// - Throws: `IPCError` with `timedOut` (nothing has arrived), `malformedMessage` when something else
  ///   came, a message for instance: that closes the connection; `invalidArgument` in the middle of a
  ///   message, after a receive that timed out; `descriptorsLost` for a count out of range;
  ///   `unsupported`, `peerClosed`, `closed`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func receiveHandles(
    count: Int, dialect: HandleDialect, timeout: Duration? = nil
  ) throws(IPCError) -> [Int32] {
    let deadline = Deadline.after(timeout)
    var descriptors = [Int32](repeating: -1, count: max(1, min(count, 252)))
    let status = unsafe cipc_connection_receive_handles(
      handle, &descriptors, max(0, count), deadline)
    try check(status, wake: waitingToReceive)
    if dialect == .plain { return descriptors }
    return try acknowledging(descriptors, unsafe cipc_connection_acknowledge(handle, deadline))
  }

  /// Receives descriptors from Python; suspends until they are there.
  ///
  /// As the blocking form; also throws `cancelled`, which loses nothing.
  public func receiveHandles(
    count: Int, dialect: HandleDialect, timeout: Duration? = nil
  ) async throws(IPCError) -> [Int32] {
    let deadline = Deadline.after(timeout)
    var descriptors = [Int32](repeating: -1, count: max(1, min(count, 252)))
    let status = await receiveSuspending(until: deadline) {
      unsafe cipc_connection_receive_handles(handle, &descriptors, max(0, count), 0)
    }
    try check(status, wake: waitingToReceive)
    if dialect == .plain { return descriptors }
    let answer = unsafe await sendSuspending(until: deadline) { wait in
      unsafe cipc_connection_retry(
        handle, cipc_connection_acknowledge(handle, 0), CIPC_CONNECTION_WRITABLE, &wait)
    }
    return try acknowledging(descriptors, answer)
  }

  /// Closes the connection unless the peer has the descriptors: otherwise neither end knows where the
  /// next message begins.
  private func acknowledgement(_ status: Int32) throws(IPCError) {
    if status < 0 { close() }
    try check(status, wake: waitingToReceive)
  }

  private func acknowledging(_ descriptors: [Int32], _ status: Int32) throws(IPCError) -> [Int32] {
    if status < 0 {
      close()
      for descriptor in descriptors { cipc_descriptor_drop(descriptor) }
    }
    try check(status, wake: waitingToSend)
    return descriptors
  }

  /// Tries until a byte is out, in turn with other tasks. Nothing of it is out before all of it is.
  private func sendSuspending(
    until deadline: Int64, _ step: (_ wait: inout cipc_wait_t) -> Int32
  ) async -> Int32 {
    unsafe await inTurn(waitingToSend, asyncSenders, until: deadline, step: step)
  }
}
