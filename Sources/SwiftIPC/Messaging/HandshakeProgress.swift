// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// A handshake on its way over a connection.
struct HandshakeProgress {
  let connection: Connection
  /// When it has to be done.
  let deadline: Int64
  private var handshake: Handshake

  /// How long a handshake may take unless the caller says otherwise: what Python's clients wait.
  static let defaultTimeout = Duration.seconds(20)

  /// Begins a handshake: sends what there is to send.
  init(
    _ handshake: Handshake, over connection: Connection, until deadline: Int64
  ) throws(IPCError) {
    self.handshake = handshake
    self.connection = connection
    self.deadline = deadline
    for message in handshake.begin() { try send(message) }
  }

  /// Takes what has come, without waiting.
  ///
  /// - Returns: whether the handshake is done.
  /// - Throws: when it cannot be done any more.
  mutating func advance() throws(IPCError) -> Bool {
    while let message = try receive() {
      let step = handshake.receive(message)
      switch step.outcome {
      case .goesOn:
        for reply in step.replies { try send(reply) }
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
    try IPCError.check(status, "authentication")
    return bytes
  }
}

extension Connection {
  /// Does a handshake; closes the connection if it fails.
  func shakeHands(_ handshake: Handshake, until deadline: Int64) throws(IPCError) {
    do throws(IPCError) {
      var progress = try HandshakeProgress(handshake, over: self, until: deadline)
      while try !progress.advance() {
        try IPCError.check(
          { status in status == CIPC_ETIMEDOUT.rawValue ? 0 : status }(
            unsafe cipc_connection_poll(handle, deadline)), "authentication")
      }
    } catch {
      close()
      throw error
    }
  }

  /// The same without a blocked thread.
  func shakeHands(_ handshake: Handshake, until deadline: Int64) async throws(IPCError) {
    do throws(IPCError) {
      var progress = try HandshakeProgress(handshake, over: self, until: deadline)
      while try !progress.advance() {
        let status = await suspendingPoll(until: deadline)
        if status != CIPC_ETIMEDOUT.rawValue { try IPCError.check(status, "authentication") }
      }
    } catch {
      close()
      throw error
    }
  }
}
