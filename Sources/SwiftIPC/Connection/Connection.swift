// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// One end of a stream of messages between two processes, in either direction or in one.
///
/// ```swift
/// let (ours, theirs) = try Connection.pair()
/// try await ours.send(["temperature": 21.5])
/// let reading = try await theirs.receive([String: Double].self)
/// try await theirs.send(bytes: [1, 2, 3])
/// let bytes = try await ours.receiveBytes()
/// ```
///
/// A message is a value that is `Codable`, a `MessageValue`, or plain bytes; Python's
/// `multiprocessing.connection` reads and writes the same. Each operation exists for synchronous
/// code, where it blocks, and for asynchronous code, where it suspends and ends with `cancelled` when
/// its task is cancelled. Timeouts are relative; without one an operation waits for as long as it
/// takes.
///
/// Any number of threads and tasks may use a connection at once: each message is sent and received
/// whole, and whoever waits is served in order. `close()` wakes all of them with `closed`.
///
/// **What ends a connection.** When the peer closes its end, or its process ends, what it had sent can
/// still be received, then the error is `peerClosed`. A message that is malformed, too long or cut
/// off is told once (`malformedFrame`, `messageTooLong`, `descriptorsLost`); after that every
/// operation says `closed`. A send that times out or is cancelled when part of the message is out
/// closes the connection, since the peer cannot tell where the next message begins; before that, and
/// in receiving always, a timeout or cancellation changes nothing.
///
/// **In another process.** A connection travels as an argument of a child or in a message over another
/// connection. That *moves* it: here it is closed once the message was sent, so that the end of the
/// stream is noticed when the other process ends. `duplicate()` keeps one.
///
/// The bytes from the peer are checked; a hostile peer gets an error. Beyond 1 MiB, receiving
/// allocates as bytes arrive and not as they claim. Decoding takes a multiple of a message's size:
/// towards peers that are not trusted, ask for a maximum that fits what is expected, and receive no
/// types with shared objects in them: what is data is checked, and a lock of theirs cannot be, see
/// `Lock`. The corresponding C type is `cipc_connection_t`.
@safe
public final class Connection: Sendable {
  /// The longest message unless another maximum is asked for: 64 MiB.
  public static let defaultMaximumMessageSize = DescriptorInbox.defaultMaximumMessageSize

  /// Owned; the C functions serve any number of threads.
  nonisolated(unsafe) let handle: OpaquePointer

  /// Whether the other end is known to be a program with this library, which can be sent arrays of
  /// numbers as memory (`MessageEncoder.NumberArrays`).
  ///
  /// So it is for the ends that `pair()` and `pipe()` made, here and wherever they were given, unless
  /// their maker says otherwise; for others where their maker says so. Receiving does not depend on it.
  public let isPeerSwift: Bool

  // Tasks come one at a time to the C core, which knows threads only.
  let asyncSenders = SuspensionQueue()
  let asyncReceivers = SuspensionQueue()
  let waitingToSend = SuspensionSet()
  let waitingToReceive = SuspensionSet()

  /// Takes over a connection of the C core.
  init(handle: OpaquePointer, isPeerSwift: Bool = false) {
    unsafe self.handle = unsafe handle
    self.isPeerSwift = isPeerSwift
  }

  deinit { unsafe cipc_connection_free(handle) }

  // MARK: - Making

  /// Makes two connected ends that both send and receive.
  ///
  /// - Parameters:
  ///   - isPeerSwift: both ends stay with programs that have this library; `false` where the descriptor
  ///     of one goes to another program.
  ///   - maximumMessageSize: the longest message that they send or receive, in bytes.
  /// - Throws: `IPCError` with `resourceLimit`, `outOfMemory`, or `invalidArgument` for a maximum
  ///   below 1.
  public static func pair(
    isPeerSwift: Bool = true, maximumMessageSize: Int = defaultMaximumMessageSize
  ) throws(IPCError) -> (Connection, Connection) {
    unsafe try two(maximumMessageSize, isPeerSwift) { first, second, maximum in
      unsafe cipc_connection_pair(first, second, maximum)
    }
  }

  /// Makes two connected ends for one direction: what the writer sends, the reader receives.
  ///
  /// - Parameters:
  ///   - isPeerSwift: as with `pair(isPeerSwift:maximumMessageSize:)`.
  ///   - maximumMessageSize: the longest message, in bytes.
  /// - Throws: `IPCError` with `resourceLimit`, `outOfMemory`, or `invalidArgument` for a maximum
  ///   below 1.
  public static func pipe(
    isPeerSwift: Bool = true, maximumMessageSize: Int = defaultMaximumMessageSize
  ) throws(IPCError) -> (reader: Connection, writer: Connection) {
    unsafe try two(maximumMessageSize, isPeerSwift) { first, second, maximum in
      unsafe cipc_connection_pipe(first, second, maximum)
    }
  }

  private static func two(
    _ maximum: Int, _ isPeerSwift: Bool,
    _ make: (
      UnsafeMutablePointer<OpaquePointer?>, UnsafeMutablePointer<OpaquePointer?>, UInt64
    ) -> Int32
  ) throws(IPCError) -> (Connection, Connection) {
    let maximum = try check(maximum)
    var first: OpaquePointer?
    var second: OpaquePointer?
    let status = unsafe make(&first, &second, maximum)
    guard status >= 0, let first = unsafe first, let second = unsafe second else {
      throw IPCError(status: status, "connection")
    }
    return unsafe (
      Connection(handle: first, isPeerSwift: isPeerSwift),
      Connection(handle: second, isPeerSwift: isPeerSwift)
    )
  }

  private static func check(_ maximum: Int) throws(IPCError) -> UInt64 {
    guard maximum > 0 else {
      throw IPCError(.invalidArgument, context: "connection: maximum message size \(maximum)")
    }
    return UInt64(maximum)
  }

  /// Makes a connection of a descriptor from elsewhere: a pipe or a connected stream socket.
  ///
  /// ```swift
  /// // A Python started us with one end of its `multiprocessing.Pipe()` as descriptor 3.
  /// let python = try Connection(adopting: 3)
  /// try await python.send([42, nil, "hello"] as MessageValue)
  /// ```
  ///
  /// The descriptor is the connection's from then on, unless this throws. Its flags are left alone,
  /// but it becomes close-on-exec.
  ///
  /// - Parameters:
  ///   - descriptor: an open one that nobody else uses.
  ///   - isShared: other processes read from the same end, one at a time. Then nothing is read ahead, so
  ///     that the next one finds the next message; that costs a system call for each message.
  ///   - isPeerSwift: the program at the other end has this library as well. Then arrays of numbers are
  ///     sent as memory, which Python, for one, cannot read.
  ///   - maximumMessageSize: the longest message, in bytes.
  /// - Throws: `IPCError` with `unsupported` for another kind of descriptor, `system` for one that is
  ///   not open, `outOfMemory`, `invalidArgument` for a maximum below 1.
  public init(
    adopting descriptor: Int32, isShared: Bool = false, isPeerSwift: Bool = false,
    maximumMessageSize: Int = defaultMaximumMessageSize
  ) throws(IPCError) {
    var handle: OpaquePointer?
    let status = unsafe cipc_connection_adopt(
      &handle, descriptor, isShared ? CIPC_CONNECTION_SHARED : 0,
      try Self.check(maximumMessageSize))
    guard status >= 0, let handle = unsafe handle else {
      throw IPCError(status: status, "connection of descriptor \(descriptor)")
    }
    unsafe self.handle = unsafe handle
    self.isPeerSwift = isPeerSwift
  }

  /// Makes a second connection for the same end, to keep one when the other is given away.
  ///
  /// What either sends arrives at the same peer, and what the peer sends goes to whichever receives
  /// first. Messages that this one has read already stay with it. From then on neither reads ahead.
  ///
  /// The two take no turns: let one of them send at a time, and one receive, by a `Lock` if need be.
  /// Where both do, a message can be taken apart between them, and both ends break.
  ///
  /// - Throws: `IPCError` with `unsupported` while somebody receives or part of a message has been
  ///   received or sent, `closed`, `resourceLimit`, `outOfMemory`.
  public func duplicate() throws(IPCError) -> Connection {
    var copy: OpaquePointer?
    let status = unsafe cipc_connection_duplicate(handle, &copy)
    if status == CIPC_EBUSY.rawValue {
      throw IPCError(
        .unsupported, context: "duplicating a connection in the middle of a message or receive")
    }
    guard status >= 0, let copy = unsafe copy else { throw IPCError(status: status, "connection") }
    return unsafe Connection(handle: copy, isPeerSwift: isPeerSwift)
  }

  // MARK: - Properties

  /// The longest message that this end sends or receives, in bytes.
  public var maximumMessageSize: Int { unsafe Int(clamping: cipc_connection_maximum(handle)) }

  /// Whether this end receives.
  public var isReadable: Bool {
    unsafe cipc_connection_flags(handle) & CIPC_CONNECTION_READABLE != 0
  }

  /// Whether this end sends.
  public var isWritable: Bool {
    unsafe cipc_connection_flags(handle) & CIPC_CONNECTION_WRITABLE != 0
  }

  /// Whether this end was closed, given away or broken. Says nothing about the peer.
  public var isClosed: Bool { unsafe cipc_connection_closed(handle) != 0 }

  // MARK: - Closing

  /// Closes this end. Callers that wait on it get the error `closed`; the peer sees the end.
  ///
  /// Closing twice does nothing. The last reference going away closes too.
  public func close() {
    unsafe cipc_connection_close(handle)
    waitingToSend.wake()
    waitingToReceive.wake()
  }

  // MARK: - Turns

  /// Calls a step as the only task that sends, or receives, here, until it has done what it is for;
  /// suspended in between. Threads do so beside it, and wake it when they are done.
  func inTurn(
    _ waiting: SuspensionSet, _ tasks: SuspensionQueue, until deadline: Int64,
    step: (_ wait: inout cipc_wait_t) -> Int32
  ) async -> Int32 {
    let turn = await tasks.enter(until: deadline)
    if turn < 0 { return turn }
    defer { tasks.leave() }
    return await statusOfStep(until: deadline, in: waiting) { _, wait in unsafe step(&wait) }
  }

  // MARK: - Errors

  /// Throws the error of a status, after telling the tasks that wait when it may concern them.
  func check(_ status: Int32, wake: SuspensionSet) throws(IPCError) {
    if status >= 0 {
      wake.wake()
      return
    }
    if unsafe cipc_connection_closed(handle) != 0 {
      waitingToSend.wake()
      waitingToReceive.wake()
    } else {
      wake.wake()
    }
    throw IPCError(status: status, "connection")
  }
}
