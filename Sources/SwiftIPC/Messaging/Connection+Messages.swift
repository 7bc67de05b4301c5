// SPDX-License-Identifier: Apache-2.0

extension Connection {
  /// Sends a value as one message.
  ///
  /// Blocks while the peer is behind with receiving. Shared objects in the value travel along:
  /// locks and shared memory are then shared with the peer, and connections move to it.
  ///
  /// ```swift
  /// try connection.send([42, nil, "hello"] as MessageValue)
  /// try connection.send(Reading(sensor: "a", values: [1, 2, 3]), timeout: .seconds(1))
  /// ```
  ///
  /// - Parameter timeout: how long to wait; zero or less does not wait.
  /// - Throws: what encoding the value throws, see `MessageEncoder`; otherwise as
  ///   `send(bytes:descriptors:timeout:)`. When it throws, nothing has moved.
  @available(*, noasync, message: "use 'try await send(_:)'")
  public func send<T: Encodable>(_ value: T, timeout: Duration? = nil) throws {
    let (bytes, outbox) = try MessageEncoder().encodeWithDescriptors(value)
    try outbox?.followOffers()
    try sendBlocking(bytes, outbox?.descriptors ?? [], timeout)
    outbox?.sent()
  }

  /// Sends a value as one message; suspends while the peer is behind with receiving.
  ///
  /// As the blocking form; also throws `cancelled` when the task is cancelled: like a timeout, that
  /// closes the connection if part of the message was out.
  public func send<T: Encodable>(_ value: T, timeout: Duration? = nil) async throws {
    let (bytes, outbox) = try MessageEncoder().encodeWithDescriptors(value)
    try outbox?.followOffers()
    try await send(bytes: bytes, descriptors: outbox?.descriptors ?? [], timeout: timeout)
    outbox?.sent()
  }

  /// Receives one message as a value of a type.
  ///
  /// Blocks until there is one.
  ///
  /// ```swift
  /// let reading = try connection.receive(Reading.self, timeout: .seconds(1))
  /// ```
  ///
  /// - Parameter timeout: how long to wait; zero or less does not wait.
  /// - Throws: `IPCError` with `malformedMessage` when the message is not data or not of that type;
  ///   the message is gone then, and the connection goes on. Otherwise as `receiveBytes(timeout:)`,
  ///   and what the type's own `init(from:)` throws.
  @available(*, noasync, message: "use 'try await receive(_:)'")
  public func receive<T: Decodable>(_ type: T.Type, timeout: Duration? = nil) throws -> T {
    let (bytes, descriptors) = try receiveBytesAndDescriptors(timeout: timeout)
    return try MessageDecoder().decode(type, from: bytes, inbox: DescriptorInbox(descriptors))
  }

  /// Receives one message as a value of a type; suspends until there is one.
  ///
  /// As the blocking form; also throws `cancelled` when the task is cancelled, which loses nothing.
  public func receive<T: Decodable>(_ type: T.Type, timeout: Duration? = nil) async throws -> T {
    let message = try await receive(withDescriptors: true, timeout)
    return try MessageDecoder().decode(
      type, from: message.bytes, inbox: DescriptorInbox(message.descriptors))
  }

  /// Receives one message as mixed data. Blocks until there is one.
  ///
  /// - Throws: as `receive(_:timeout:)`.
  @available(*, noasync, message: "use 'try await receive()'")
  public func receive(timeout: Duration? = nil) throws -> MessageValue {
    try receive(MessageValue.self, timeout: timeout)
  }

  /// Receives one message as mixed data; suspends until there is one.
  ///
  /// - Throws: as `receive(_:timeout:)`.
  public func receive(timeout: Duration? = nil) async throws -> MessageValue {
    try await receive(MessageValue.self, timeout: timeout)
  }

  /// The messages that arrive, as mixed data, until the peer closes.
  public var messages: Messages<MessageValue> { messages(of: MessageValue.self) }

  /// The messages that arrive, as values of a type, until the peer closes.
  ///
  /// ```swift
  /// for try await reading in connection.messages(of: Reading.self) { print(reading) }
  /// ```
  ///
  /// The loop ends when the peer closed its end, or its process ended, between two messages. It
  /// throws what `receive(_:)` throws, `cancelled` and `closed` (by this side) among it. Each message
  /// goes to one receiver only, so two loops over one connection share its messages.
  public func messages<T: Decodable>(of type: T.Type) -> Messages<T> { Messages(connection: self) }

  /// The messages of a connection as an asynchronous sequence.
  public struct Messages<Element: Decodable>: AsyncSequence {
    fileprivate let connection: Connection

    /// Makes an iterator; all iterators take from the same stream.
    public func makeAsyncIterator() -> Iterator { Iterator(connection: connection) }

    /// Takes one message after the other.
    public struct Iterator: AsyncIteratorProtocol {
      fileprivate let connection: Connection

      /// The next message; `nil` once the peer has closed.
      public func next() async throws -> Element? {
        do {
          return try await connection.receive(Element.self)
        } catch let error as IPCError where error.code == .peerClosed {
          return nil
        }
      }
    }
  }
}

extension Connection.Messages: Sendable {}
