// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

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
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func send<T: Encodable>(_ value: T, timeout: Duration? = nil) throws {
    try encoder.encode(value, makesOutbox: true, nil) { encoding in
      let outbox = encoding.context.outbox
      try outbox?.followOffers()
      let descriptors = outbox?.descriptors ?? []
      if encoding.finishInPlace() {
        try sendBlocking(encoding.writer, descriptors, timeout)
      } else {
        try sendBlocking(encoding.finish(), descriptors, timeout)
      }
      outbox?.sent()
    }
  }

  /// Sends a value as one message; suspends while the peer is behind with receiving.
  ///
  /// As the blocking form; also throws `cancelled` when the task is cancelled: like a timeout, that
  /// closes the connection if part of the message was out.
  ///
  /// The value is encoded where the caller runs: it may belong to the caller's actor.
  public func send<T: Encodable>(
    _ value: T, timeout: Duration? = nil
  ) async throws {
    let (bytes, outbox) = try encoder.encodeWithDescriptors(value)
    try outbox?.followOffers()
    try await send(bytes: bytes, descriptors: outbox?.descriptors ?? [], timeout: timeout)
    outbox?.sent()
  }

  /// Whether arrays of numbers are sent as memory is not up to the caller: a peer that is not known to
  /// understand them never gets them.
  private var encoder: MessageEncoder { MessageEncoder(isPeerSwift: isPeerSwift) }

  /// Sends an array of numbers as one message, from where they are.
  ///
  /// Blocks while the peer is behind with receiving, also in asynchronous code.
  ///
  /// ```swift
  /// try connection.send(numbers: samples.span)
  /// ```
  ///
  /// The peer receives it as any array: as memory where it is Swift, a `list` in Python.
  ///
  /// - Parameter timeout: how long to wait; zero or less does not wait.
  /// - Throws: `IPCError` as `send(bytes:descriptors:timeout:)`, and `unsupported` for a type that is no
  ///   number of the standard library.
  public func send<Number: MessageNumber>(
    numbers: Span<Number>, timeout: Duration? = nil
  ) throws(IPCError) {
    try sendBlocking(encoder.encode(numbers), [], timeout)
  }

  /// Receives an array of numbers into memory of the caller.
  ///
  /// Blocks until there is a message, also in asynchronous code.
  ///
  /// ```swift
  /// var samples = [Double](repeating: 0, count: 1000)
  /// var span = samples.mutableSpan
  /// let count = try connection.receive(into: &span)
  /// ```
  ///
  /// - Returns: how many numbers there were; what is behind them in the buffer is left alone.
  /// - Throws: `IPCError` with `messageTooLong` for more numbers than fit, `malformedMessage` for
  ///   anything but numbers that the type can hold: the message is gone then, the buffer untouched, and
  ///   the connection goes on. Otherwise as `receiveBytes(timeout:)`.
  public func receive<Number: MessageNumber>(
    into numbers: inout MutableSpan<Number>, timeout: Duration? = nil
  ) throws -> Int {
    var message = Arrival()
    let status = take(&message, withDescriptors: false, until: Deadline.after(timeout))
    try check(status, wake: waitingToReceive)
    return try MessageDecoder().decode(into: &numbers, from: message.bytes)
  }

  /// Receives one message as a value of a type.
  ///
  /// Blocks until there is one. Shared objects in it are opened where the type has them. From a peer
  /// that is not trusted receive no type with a lock in it, nor with a queue, a `Value` or another object
  /// that has one: the peer could have this process write over memory of its own, see `Lock`.
  ///
  /// ```swift
  /// let reading = try connection.receive(Reading.self, timeout: .seconds(1))
  /// ```
  ///
  /// - Parameter timeout: how long to wait; zero or less does not wait.
  /// - Throws: `IPCError` with `malformedMessage` when the message is not data or not of that type;
  ///   the message is gone then, and the connection goes on. Otherwise as `receiveBytes(timeout:)`,
  ///   and what the type's own `init(from:)` throws.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func receive<T: Decodable>(_ type: T.Type, timeout: Duration? = nil) throws -> T {
    let (bytes, descriptors) = try receiveBytesAndDescriptors(timeout: timeout)
    return try MessageDecoder().decode(type, from: bytes, inbox: inbox(descriptors))
  }

  /// Receives one message as a value of a type; suspends until there is one.
  ///
  /// As the blocking form; also throws `cancelled` when the task is cancelled, which loses nothing.
  @concurrent public func receive<T: Decodable>(
    _ type: T.Type, timeout: Duration? = nil
  ) async throws -> T {
    let message = try await receive(withDescriptors: true, timeout)
    return try MessageDecoder().decode(
      type, from: message.bytes, inbox: inbox(message.descriptors))
  }

  fileprivate func inbox(_ descriptors: [Int32]) -> DescriptorInbox {
    DescriptorInbox(descriptors, maximumMessageSize: maximumMessageSize)
  }

  /// Receives one message as mixed data. Blocks until there is one.
  ///
  /// - Throws: as `receive(_:timeout:)`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func receive(timeout: Duration? = nil) throws -> MessageValue {
    try receive(MessageValue.self, timeout: timeout)
  }

  /// Receives one message as mixed data; suspends until there is one.
  ///
  /// - Throws: as `receive(_:timeout:)`.
  @concurrent public func receive(timeout: Duration? = nil) async throws -> MessageValue {
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
  /// throws what `receive(_:)` throws, `cancelled` and `closed` (by this side) among it, and so ends at
  /// the first message that is not of the type; `messageResults(of:)` goes on behind it. Each message
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
      @concurrent public func next() async throws -> Element? {
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

extension Connection {
  /// What becomes of the messages that arrive, until the peer closes: mixed data, or why a message is
  /// none.
  public var messageResults: MessageResults<MessageValue> { messageResults(of: MessageValue.self) }

  /// What becomes of the messages that arrive, until the peer closes: a value of a type, or why the
  /// message is none.
  ///
  /// ```swift
  /// for try await result in connection.messageResults(of: Reading.self) {
  ///   switch result {
  ///   case .success(let reading): show(reading)
  ///   case .failure(let error): log("skipped: \(error)")
  ///   }
  /// }
  /// ```
  ///
  /// Unlike `messages(of:)` the loop goes on behind a message that is not data or not of the type: a
  /// failure is that one message's, which is gone. It throws what ends the stream: `cancelled`,
  /// `closed`, and what `receiveBytes(timeout:)` says of a broken one.
  public func messageResults<T: Decodable>(of type: T.Type) -> MessageResults<T> {
    MessageResults(connection: self)
  }

  /// What becomes of the messages of a connection, as an asynchronous sequence.
  public struct MessageResults<Value: Decodable>: AsyncSequence {
    /// A message as a value, or why it is none.
    public typealias Element = Result<Value, any Error>

    fileprivate let connection: Connection

    /// Makes an iterator; all iterators take from the same stream.
    public func makeAsyncIterator() -> Iterator { Iterator(connection: connection) }

    /// Takes one message after the other.
    public struct Iterator: AsyncIteratorProtocol {
      fileprivate let connection: Connection

      /// What becomes of the next message; `nil` once the peer has closed.
      @concurrent public func next() async throws -> Result<Value, any Error>? {
        let message: Arrival
        do throws(IPCError) {
          message = try await connection.receive(withDescriptors: true, nil)
        } catch  where error.code == .peerClosed {
          return nil
        }
        // Not Result(catching:): the compiler (6.3.1) crashes over its closure.
        do {
          return .success(
            try MessageDecoder().decode(
              Value.self, from: message.bytes, inbox: connection.inbox(message.descriptors)))
        } catch {
          return .failure(error)
        }
      }
    }
  }
}

extension Connection.MessageResults: Sendable {}
