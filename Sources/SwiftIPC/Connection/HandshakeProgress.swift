// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// A handshake on its way over a connection.
struct HandshakeProgress {
  let connection: Connection
  /// When the peer's next message has to be there.
  private(set) var deadline: Int64
  private var handshake: Handshake
  private let patience: Duration
  private let limit: Int64

  /// How long the peer may take for a message unless the caller says otherwise. There are at most
  /// three.
  static let patience = Duration.seconds(20)

  /// Begins a handshake: sends what there is to send.
  init(
    _ handshake: Handshake, over connection: Connection, patience: Duration = Self.patience,
    until limit: Int64 = .max
  ) throws(IPCError) {
    self.handshake = handshake
    self.connection = connection
    self.patience = patience
    self.limit = limit
    deadline = min(limit, Deadline.after(patience))
    // A peer that has proved nothing yet opens no descriptors here.
    unsafe cipc_connection_refuse_descriptors(connection.handle, 1)
    for message in handshake.begin() { try send(message) }
  }

  /// Takes what has come, without waiting.
  ///
  /// - Returns: whether the handshake is done.
  /// - Throws: when it cannot be done any more.
  mutating func advance() throws(IPCError) -> Bool {
    while let message = try receive() {
      let step = handshake.receive(message)
      if handshake.hasProof {
        // Before the reply: the peer may go on at once when it has it.
        unsafe cipc_connection_refuse_descriptors(connection.handle, 0)
      }
      switch step.outcome {
      case .goesOn:
        for reply in step.replies { try send(reply) }
        deadline = min(limit, Deadline.after(patience))
      case .done:
        for reply in step.replies { try send(reply) }
        return true
      case .failed(let error):
        // Only a courtesy, to a peer that may be gone.
        for reply in step.replies { try? send(reply) }
        throw error
      }
    }
    if deadline != .max && cipc_clock_now() >= deadline {
      throw IPCError(.timedOut, context: "authentication: the peer has stopped in the middle")
    }
    return false
  }

  /// All that is sent in a handshake fits any socket's buffer, so there is no waiting.
  private func send(_ message: [UInt8]) throws(IPCError) {
    try connection.sendBlocking(message, [], .zero)
  }

  private func receive() throws(IPCError) -> [UInt8]? {
    var length = 0
    var status: Int32 = 0
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Handshake.maximumLength) {
      buffer, initialized in
      status = unsafe cipc_connection_receive_into(
        connection.handle, buffer.baseAddress, buffer.count, &length, nil, nil, 0)
      initialized = status < 0 ? 0 : length
    }
    if status == CIPC_ETIMEDOUT.rawValue { return nil }
    if status == CIPC_EMSGSIZE.rawValue {
      throw IPCError(
        .authenticationFailed, context: "authentication: a message of \(length) bytes")
    }
    if status == CIPC_EDESCRIPTORSREFUSED.rawValue {
      throw IPCError(
        .authenticationFailed, context: "authentication: the peer sent descriptors before its proof"
      )
    }
    try IPCError.check(status, "authentication")
    return bytes
  }
}

extension Connection {
  /// Does a handshake; closes the connection if it fails.
  func shakeHands(
    _ handshake: Handshake, patience: Duration = HandshakeProgress.patience, until limit: Int64
  ) throws(IPCError) {
    do throws(IPCError) {
      var progress = try HandshakeProgress(
        handshake, over: self, patience: patience, until: limit)
      while try !progress.advance() {
        try IPCError.check(
          { status in status == CIPC_ETIMEDOUT.rawValue ? 0 : status }(
            unsafe cipc_connection_poll(handle, progress.deadline)), "authentication")
      }
    } catch {
      close()
      throw error
    }
  }

  /// The same without a blocked thread.
  func shakeHands(
    _ handshake: Handshake, patience: Duration = HandshakeProgress.patience, until limit: Int64
  ) async throws(IPCError) {
    do throws(IPCError) {
      var progress = try HandshakeProgress(
        handshake, over: self, patience: patience, until: limit)
      while try !progress.advance() {
        let status = await suspendingPoll(until: progress.deadline)
        if status != CIPC_ETIMEDOUT.rawValue { try IPCError.check(status, "authentication") }
      }
    } catch {
      close()
      throw error
    }
  }
}
