// SPDX-License-Identifier: Apache-2.0

#if Authentication
  internal import Crypto
  public import MessageCoding

  extension Handshake.Secret {
    /// A key that both ends know.
    init(key: [UInt8], allowsMD5: Bool) {
      self.init(
        authenticate: { digest, message in
          let key = SymmetricKey(data: key)
          return switch digest {
          case .md5:
            Array(HMAC<Insecure.MD5>.authenticationCode(for: message, using: key))
          case .sha256: Array(HMAC<SHA256>.authenticationCode(for: message, using: key))
          case .sha384: Array(HMAC<SHA384>.authenticationCode(for: message, using: key))
          }
        }, allowsMD5: allowsMD5)
    }
  }

  extension Listener {
    /// Listens at an address for whoever knows a key: `connect(to:authenticationKey:)`, or Python's
    /// `Client(address, authkey=key)`.
    ///
    /// ```swift
    /// let key = Array("secret".utf8)
    /// let listener = try Listener(at: .tcp("localhost", 6000), authenticationKey: key)
    /// ```
    ///
    /// Both ends prove that they know the key, by an HMAC of random bytes of the other's, before
    /// `accept` returns the connection. That says who was there at the beginning and no more: messages
    /// are neither encrypted nor protected against change, and somebody who can make a client connect
    /// to them instead can relay the proof to the listener. (A process answers no challenge that it has
    /// issued itself over another connection in the same role; of other processes with the key it cannot
    /// know.) Towards a network use TLS, or a tunnel.
    ///
    /// Until a peer has proved that it knows the key, no descriptors are taken from it.
    ///
    /// - Parameters:
    ///   - authenticationKey: Python's `authkey`, of any length.
    ///   - allowsMD5: also accept clients that answer with HMAC-MD5, as Python does up to 3.11. Without
    ///     this they are refused.
    /// - Throws: as `init(at:options:)`.
    public convenience init(
      at address: Connection.Address, authenticationKey: [UInt8], allowsMD5: Bool = false,
      options: Options = .init()
    ) throws(IPCError) {
      try self.init(
        at: address, secret: .init(key: authenticationKey, allowsMD5: allowsMD5), options: options)
    }

    /// Listens at a socket that listens already, for whoever knows a key.
    ///
    /// As `init(adopting:options:)`, with a key as in
    /// `init(at:authenticationKey:allowsMD5:options:)`.
    ///
    /// - Throws: as `init(adopting:options:)`.
    public convenience init(
      adopting descriptor: Int32, authenticationKey: [UInt8], allowsMD5: Bool = false,
      options: Options = .init()
    ) throws(IPCError) {
      try self.init(
        adopting: descriptor, secret: .init(key: authenticationKey, allowsMD5: allowsMD5),
        options: options)
    }
  }

  extension Connection {
    /// Connects to a listener that has a key: a `Listener` with the same one, or Python's
    /// `Listener(address, authkey=key)`, or a manager.
    ///
    /// ```swift
    /// let python = try Connection.connect(
    ///   to: .tcp("localhost", 6000), authenticationKey: Array("secret".utf8))
    /// ```
    ///
    /// Blocks until both ends have proved that they know the key; what that is not is said at
    /// `Listener.init(at:authenticationKey:allowsMD5:options:)`. Without a timeout connecting may take
    /// for ever, as it may without a key, and each answer of the other end's 20 seconds.
    ///
    /// - Parameters:
    ///   - authenticationKey: Python's `authkey`, of any length.
    ///   - allowsMD5: also speak to a listener of Python 3.11 or earlier, which knows HMAC-MD5 alone.
    /// - Throws: `IPCError` with `authenticationFailed` when the other end has another key, or a digest
    ///   that is not allowed, or none; `peerClosed` when it closes in the middle; `timedOut`; and what
    ///   `connect(to:timeout:maximumMessageSize:)` throws.
    @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
    public static func connect(
      to address: Address, authenticationKey: [UInt8], allowsMD5: Bool = false,
      timeout: Duration? = nil, maximumMessageSize: Int = defaultMaximumMessageSize
    ) throws(IPCError) -> Connection {
      let deadline = Deadline.after(timeout)
      let connection = try connectBlocking(to: address, until: deadline, maximumMessageSize)
      try connection.shakeHands(
        Handshake(.client, .init(key: authenticationKey, allowsMD5: allowsMD5)),
        until: deadline)
      return connection
    }

    /// Connects to a listener that has a key; suspends until both ends have proved that they know it.
    ///
    /// As the blocking form; also throws `cancelled`.
    public static func connect(
      to address: Address, authenticationKey: [UInt8], allowsMD5: Bool = false,
      timeout: Duration? = nil, maximumMessageSize: Int = defaultMaximumMessageSize
    ) async throws(IPCError) -> Connection {
      let deadline = Deadline.after(timeout)
      let connection = try await connectSuspending(
        to: address, until: deadline, maximumMessageSize)
      try await connection.shakeHands(
        Handshake(.client, .init(key: authenticationKey, allowsMD5: allowsMD5)),
        until: deadline)
      return connection
    }
  }
#endif
