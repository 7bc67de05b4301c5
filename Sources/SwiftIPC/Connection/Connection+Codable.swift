// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// A connection in a message. Its descriptors travel beside the bytes.
private struct ConnectionTicket: Codable {
  /// Index in the message's descriptors.
  var descriptor: Int
  var flags: UInt32
  var maximum: UInt64
  var isPeerSwift: Bool
  /// What was read of the stream and not received.
  var unread: [UInt8]
  /// Descriptors that had come with it: their indices, and where in `unread` they came.
  var arrived: [Int]
  var offsets: [UInt64]
}

/// Keeps the descriptors of a connection that is being given away until the message was sent.
@safe private final class DepartingConnection: @unchecked Sendable {
  // Not changed after `init`.
  private(set) var state = unsafe cipc_connection_state_t()

  init(_ connection: Connection) throws(IPCError) {
    let status = unsafe cipc_connection_export(connection.handle, &state)
    if status == CIPC_EBUSY.rawValue {
      throw IPCError(
        .notTransferable, context: "Connection: somebody is sending or receiving on it")
    }
    try IPCError.check(status, "Connection")
  }

  deinit { unsafe cipc_connection_state_dispose(&state) }
}

extension Connection: Codable {
  /// Gives the connection to another process: works inside a message alone.
  ///
  /// It is closed here once the message was sent. Let nobody use it from the encoding on: what is
  /// received in between is received twice.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another encoder, while somebody sends or
  ///   receives on it, and when it is in the message already; `closed`, `resourceLimit`,
  ///   `outOfMemory`.
  public func encode(to encoder: any Encoder) throws {
    let outbox = try encoder.descriptorOutbox(for: Connection.self)
    let departing = try DepartingConnection(self)
    let ticket = unsafe ConnectionTicket(
      descriptor: outbox.enclose(departing.state.descriptor, keeping: departing),
      flags: departing.state.flags,
      maximum: departing.state.maximum,
      isPeerSwift: isPeerSwift,
      unread: Array(
        UnsafeBufferPointer(start: departing.state.unread, count: departing.state.unread_length)),
      arrived: (0..<departing.state.descriptor_count).map {
        unsafe outbox.enclose(departing.state.descriptors[$0], keeping: departing)
      },
      offsets: Array(
        UnsafeBufferPointer(
          start: departing.state.offsets, count: departing.state.descriptor_count)))
    try ticket.encode(to: encoder)
    try outbox.move(self) { self.close() }
  }

  /// Receives a connection from another process: works inside a message alone.
  ///
  /// Its `maximumMessageSize` is what the sender says, and at most that of the connection which carries
  /// the message; in a child's or worker's result at most `defaultMaximumMessageSize`. What a child is
  /// given by its parent is taken as it is.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `malformedMessage` when what
  ///   came is not a connection.
  public convenience init(from decoder: any Decoder) throws {
    let inbox = try decoder.descriptorInbox(for: Connection.self)
    let ticket = try ConnectionTicket(from: decoder)
    guard ticket.arrived.count == ticket.offsets.count else {
      throw IPCError(.malformedMessage, context: "Connection: arrived and offsets differ in number")
    }
    var state = unsafe cipc_connection_state_t()
    unsafe state.descriptor = -1
    unsafe state.is_foreign = 1
    // Frees what the import did not take over: after success that is nothing.
    defer { unsafe cipc_connection_state_dispose(&state) }
    unsafe state.descriptor = try inbox.take(ticket.descriptor)
    unsafe state.flags = ticket.flags
    unsafe state.maximum = min(ticket.maximum, inbox.maximumMessageSize)
    unsafe state.unread = Self.allocate(ticket.unread)
    unsafe state.unread_length = ticket.unread.count
    unsafe state.offsets = Self.allocate(ticket.offsets)
    unsafe state.descriptors = Self.allocate(ticket.arrived.map { _ in Int32(-1) })
    unsafe state.descriptor_count = ticket.arrived.count
    guard
      unsafe state.unread != nil && state.offsets != nil && state.descriptors != nil
    else {
      unsafe state.descriptor_count = 0
      throw IPCError(.outOfMemory, context: "Connection")
    }
    for (place, index) in ticket.arrived.enumerated() {
      unsafe state.descriptors[place] = try inbox.take(index)
    }
    var handle: OpaquePointer?
    let status = unsafe cipc_connection_import(&handle, &state)
    guard status >= 0, let handle = unsafe handle else {
      let error = IPCError(status: status, "Connection")
      throw status == CIPC_ENOMEM.rawValue
        ? error : IPCError(.malformedMessage, errno: error.errno, context: error.context)
    }
    unsafe self.init(handle: handle, isPeerSwift: ticket.isPeerSwift)
  }

  /// A copy from malloc, as the C core takes over; never of no bytes.
  private static func allocate<T: BitwiseCopyable>(_ elements: [T]) -> UnsafeMutablePointer<T>? {
    let size = max(1, elements.count * MemoryLayout<T>.stride)
    guard let memory = unsafe malloc(size) else { return nil }
    let copy = unsafe memory.bindMemory(to: T.self, capacity: elements.count)
    unsafe copy.initialize(from: elements, count: elements.count)
    return unsafe copy
  }
}
