// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
public import MessageCoding

extension Connection {
  /// Receives one message as bytes.
  ///
  /// Blocks until there is one. Descriptors that came along are closed; see
  /// `receiveBytesAndDescriptors(timeout:)`.
  ///
  /// - Parameter timeout: how long to wait; zero or less does not wait.
  /// - Throws: `IPCError` with `peerClosed` when the peer closed and all it sent was received,
  ///   `timedOut` (what has arrived of a message is kept for the next receive), `notReadable`,
  ///   `closed`; and, ending the connection, `malformedFrame` for bytes that are no message or one
  ///   that was cut off, `messageTooLong` for one beyond the maximum, `descriptorsLost` when this
  ///   process has no descriptors left for those that came.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func receiveBytes(timeout: Duration? = nil) throws(IPCError) -> [UInt8] {
    var message = Arrival()
    let status = take(&message, withDescriptors: false, until: Deadline.after(timeout))
    try check(status, wake: waitingToReceive)
    return message.bytes
  }

  /// Receives one message as bytes; suspends until there is one.
  ///
  /// Errors as in the blocking form; also `cancelled` when the task is cancelled, which loses
  /// nothing.
  public func receiveBytes(timeout: Duration? = nil) async throws(IPCError) -> [UInt8] {
    try await receive(withDescriptors: false, timeout).bytes
  }

  /// Receives one message as bytes, and the descriptors that came with it.
  ///
  /// Blocks until there is one. The descriptors are the caller's to close; they are close-on-exec.
  ///
  /// - Throws: as `receiveBytes(timeout:)`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func receiveBytesAndDescriptors(
    timeout: Duration? = nil
  ) throws(IPCError) -> (bytes: [UInt8], descriptors: [Int32]) {
    var message = Arrival()
    let status = take(&message, withDescriptors: true, until: Deadline.after(timeout))
    try check(status, wake: waitingToReceive)
    return (message.bytes, message.descriptors)
  }

  /// Receives one message as bytes, and the descriptors that came with it.
  ///
  /// Suspends until there is one. Errors as in the blocking form; also `cancelled`, which loses
  /// nothing.
  public func receiveBytesAndDescriptors(
    timeout: Duration? = nil
  ) async throws(IPCError) -> (bytes: [UInt8], descriptors: [Int32]) {
    let message = try await receive(withDescriptors: true, timeout)
    return (message.bytes, message.descriptors)
  }

  /// Receives one message into memory of the caller. Blocks, also in asynchronous code.
  ///
  /// ```swift
  /// var storage = [UInt8](repeating: 0, count: 1024)
  /// var span = storage.mutableSpan
  /// var bytes = span.mutableBytes
  /// let count = try connection.receiveBytes(into: &bytes)
  /// ```
  ///
  /// - Returns: the length of the message, in bytes; what is behind it in the buffer is left alone.
  /// - Throws: `IPCError` with `messageTooLong` when the message does not fit: it is kept, the
  ///   context tells its length, and a longer buffer gets it. Otherwise as `receiveBytes(timeout:)`.
  public func receiveBytes(
    into buffer: inout MutableRawSpan, timeout: Duration? = nil
  ) throws(IPCError) -> Int {
    var length = 0
    let deadline = Deadline.after(timeout)
    let capacity = buffer.byteCount
    let status = unsafe buffer.withUnsafeMutableBytes { bytes in
      unsafe cipc_connection_receive_into(
        handle, bytes.baseAddress, capacity, &length, nil, nil, deadline)
    }
    return try fitted(status, length, capacity)
  }

  /// Receives one message into memory of the caller. Blocks, also in asynchronous code.
  ///
  /// As `receiveBytes(into:timeout:)` for a span; the buffer must be valid until this returns.
  @unsafe public func receiveBytes(
    into buffer: UnsafeMutableRawBufferPointer, timeout: Duration? = nil
  ) throws(IPCError) -> Int {
    var length = 0
    let status = unsafe cipc_connection_receive_into(
      handle, buffer.baseAddress, buffer.count, &length, nil, nil, Deadline.after(timeout))
    return try fitted(status, length, buffer.count)
  }

  private func fitted(
    _ status: Int32, _ length: Int, _ capacity: Int
  ) throws(IPCError) -> Int {
    if status == CIPC_EMSGSIZE.rawValue {
      waitingToReceive.wake()
      throw IPCError(
        .messageTooLong,
        context: "connection: the message has \(length) bytes, the buffer \(capacity)")
    }
    try check(status, wake: waitingToReceive)
    return length
  }

  // MARK: - Waiting

  /// Waits until there is something to receive: a message, the beginning of one, or the end.
  ///
  /// Blocks until then. What is found may be gone again when other threads or processes receive from
  /// the same end.
  ///
  /// - Parameter timeout: how long to wait; zero or less does not wait.
  /// - Returns: whether there is something; `false` when the time is over.
  /// - Throws: `IPCError` with `closed` or `notReadable`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func poll(timeout: Duration? = nil) throws(IPCError) -> Bool {
    let status = unsafe cipc_connection_poll(handle, Deadline.after(timeout))
    if status == CIPC_ETIMEDOUT.rawValue { return false }
    try IPCError.check(status, "connection")
    return true
  }

  /// Waits until there is something to receive: a message, the beginning of one, or the end.
  ///
  /// Suspends until then. As the blocking form; also throws `cancelled`.
  public func poll(timeout: Duration? = nil) async throws(IPCError) -> Bool {
    let deadline = Deadline.after(timeout)
    let status = await suspendingPoll(until: deadline)
    if status == CIPC_ETIMEDOUT.rawValue { return false }
    try IPCError.check(status, "connection")
    return true
  }

  func suspendingPoll(until deadline: Int64) async -> Int32 {
    await statusOfStep(until: deadline, in: waitingToReceive) { _, wait in
      unsafe cipc_connection_retry(
        handle, cipc_connection_poll(handle, 0), CIPC_CONNECTION_READABLE, &wait)
    }
  }

  /// Tries until there is an answer, in turn with other tasks; suspended in between.
  func receiveSuspending(until deadline: Int64, _ attempt: () -> Int32) async -> Int32 {
    unsafe await inTurn(waitingToReceive, asyncReceivers, until: deadline) { wait in
      unsafe cipc_connection_retry(handle, attempt(), CIPC_CONNECTION_READABLE, &wait)
    }
  }

  // MARK: - Messages

  /// A message as it came.
  struct Arrival {
    var bytes: [UInt8] = []
    /// The holder's to close.
    var descriptors: [Int32] = []
  }

  func receive(withDescriptors: Bool, _ timeout: Duration?) async throws(IPCError) -> Arrival {
    var message = Arrival()
    let status = await receiveSuspending(until: Deadline.after(timeout)) {
      take(&message, withDescriptors: withDescriptors, until: 0)
    }
    try check(status, wake: waitingToReceive)
    return message
  }

  /// One attempt to receive, by a thread.
  func take(_ message: inout Arrival, withDescriptors: Bool, until deadline: Int64) -> Int32 {
    while true {
      var length = 0
      var status = unsafe cipc_connection_receive_length(handle, &length, deadline)
      if status < 0 { return status }
      var list: UnsafeMutablePointer<Int32>?
      var count = 0
      // Allocated once: up to CIPC_CONNECTION_DIRECT bytes on the word of the header, more only
      // when they are here.
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: length) { buffer, initialized in
        var received = 0
        status =
          if withDescriptors {
            unsafe cipc_connection_receive_into(
              handle, buffer.baseAddress, length, &received, &list, &count, deadline)
          } else {
            unsafe cipc_connection_receive_into(
              handle, buffer.baseAddress, length, &received, nil, nil, deadline)
          }
        initialized = status < 0 ? 0 : received
      }
      // Another thread took that one, and the next is longer.
      if status == CIPC_EMSGSIZE.rawValue { continue }
      message.bytes = bytes
      if let list = unsafe list {
        message.descriptors = unsafe Array(UnsafeBufferPointer(start: list, count: count))
        unsafe free(list)
      }
      return status
    }
  }
}
