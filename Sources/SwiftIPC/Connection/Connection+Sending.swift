// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

extension Connection {
  /// Sends bytes as one message.
  ///
  /// Blocks while the peer is behind with receiving: the kernel keeps some 200 to 800 KiB.
  ///
  /// ```swift
  /// try connection.send(bytes: [1, 2, 3], timeout: .seconds(1))
  /// ```
  ///
  /// - Parameters:
  ///   - bytes: the message, of any length up to `maximumMessageSize`.
  ///   - descriptors: open descriptors to pass along; the peer gets duplicates, and these stay the
  ///     caller's. At most 4096, and 1008 with an empty message. Python takes none.
  ///   - timeout: how long to wait; zero or less does not wait.
  /// - Throws: `IPCError` with `peerClosed`, `closed`, `timedOut` (in the middle of the message the
  ///   connection is closed, before that nothing happened), `messageTooLong`, `notWritable`,
  ///   `unsupported` for descriptors on anything but a Unix socket, `descriptorsLost` for too many,
  ///   `system` for one that is not open.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func send(
    bytes: [UInt8], descriptors: [Int32] = [], timeout: Duration? = nil
  ) throws(IPCError) {
    try sendBlocking(bytes, descriptors, timeout)
  }

  /// Sends bytes as one message, straight from where they are. Blocks, also in asynchronous code.
  ///
  /// Parameters and errors as with `send(bytes:descriptors:timeout:)` for an array.
  public func send(
    bytes: RawSpan, descriptors: [Int32] = [], timeout: Duration? = nil
  ) throws(IPCError) {
    let deadline = Deadline.after(timeout)
    let status = unsafe bytes.withUnsafeBytes { unsafe pass($0, descriptors, deadline) }
    try check(status, wake: waitingToSend)
  }

  /// Sends the bytes of any sequence as one message.
  ///
  /// Blocks. Parameters and errors as with `send(bytes:descriptors:timeout:)` for an array. A sequence
  /// that has its bytes in one place is not copied.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func send(
    bytes: some Sequence<UInt8>, descriptors: [Int32] = [], timeout: Duration? = nil
  ) throws(IPCError) {
    let deadline = Deadline.after(timeout)
    let status = bytes.withContiguousStorageIfAvailable { buffer in
      unsafe pass(UnsafeRawBufferPointer(buffer), descriptors, deadline)
    }
    if let status { return try check(status, wake: waitingToSend) }
    try sendBlocking(Array(bytes), descriptors, timeout)
  }

  /// Sends the bytes of any sequence as one message; suspends while the peer is behind.
  ///
  /// Parameters and errors as with the form for an array. The bytes are copied.
  public func send(
    bytes: some Sequence<UInt8>, descriptors: [Int32] = [], timeout: Duration? = nil
  ) async throws(IPCError) {
    try await send(bytes: Array(bytes), descriptors: descriptors, timeout: timeout)
  }

  func sendBlocking(
    _ bytes: [UInt8], _ descriptors: [Int32], _ timeout: Duration?
  ) throws(IPCError) {
    let deadline = Deadline.after(timeout)
    let status = unsafe bytes.withUnsafeBytes { unsafe pass($0, descriptors, deadline) }
    try check(status, wake: waitingToSend)
  }

  /// Sends the bytes of a writer without copying them.
  func sendBlocking(
    _ writer: PickleWriter, _ descriptors: [Int32], _ timeout: Duration?
  ) throws(IPCError) {
    let deadline = Deadline.after(timeout)
    let status = unsafe writer.withBytes { unsafe pass($0, descriptors, deadline) }
    try check(status, wake: waitingToSend)
  }

  private func pass(
    _ bytes: UnsafeRawBufferPointer, _ descriptors: [Int32], _ deadline: Int64
  ) -> Int32 {
    unsafe cipc_connection_send(
      handle, bytes.baseAddress, bytes.count, descriptors, descriptors.count, deadline)
  }

  /// Sends bytes as one message; suspends while the peer is behind with receiving.
  ///
  /// Parameters and errors as in the blocking form; also `cancelled` when the task is cancelled: like
  /// a timeout, that closes the connection if part of the message was out.
  public func send(
    bytes: [UInt8], descriptors: [Int32] = [], timeout: Duration? = nil
  ) async throws(IPCError) {
    var progress: UInt64 = 0
    let status = unsafe await inTurn(
      waitingToSend, asyncSenders, until: Deadline.after(timeout)
    ) { wait in
      unsafe cipc_connection_send_step(
        handle, bytes, bytes.count, descriptors, descriptors.count, &progress, &wait)
    }
    // For any end in the middle of the message; at its beginning this does nothing.
    if status < 0 { unsafe cipc_connection_abandon(handle, progress) }
    try check(status, wake: waitingToSend)
  }
}
