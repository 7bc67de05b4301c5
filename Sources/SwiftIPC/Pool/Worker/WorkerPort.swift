// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// A worker's end of the channel to its pool.
@safe final class WorkerPort {
  let desk: WorkerDesk
  private let ends: WorkerEnds
  private let process = cipc_participant_self()

  /// Where the results of the order at hand may be left.
  struct Room {
    var offset: Int
    var stride: Int
    var count: Int
  }
  private(set) var room: Room?
  private let outgoing = FrameBuffer()
  private let parcels = OutgoingParcels()
  private var incoming = IncomingParcels()
  private var parcelsRead: UInt64 = 0

  init(_ ends: WorkerEnds) throws(IPCError) {
    self.ends = ends
    desk = try WorkerDesk(ends.desk)
  }

  /// Whether this is a fork of the worker, in which its loop must not go on.
  var isFork: Bool { cipc_participant_current() != process }

  /// Gives the next frame to the body; `nil` when the pool is gone. Blocks.
  func receive<R>(_ body: (UnsafeRawBufferPointer, DescriptorInbox?) throws -> R) throws -> R? {
    guard let record = unsafe ends.down.peekWaiting() else { return nil }
    // Taken in any case: an error ends the worker.
    defer { ends.down.release() }
    var reader = unsafe FrameReader(record)
    let kind = ChannelRecord(rawValue: try reader.integer(UInt8.self))
    let stride = Int(try reader.integer(UInt32.self))
    let count = Int(try reader.integer(UInt32.self))
    let offset = Int(clamping: try reader.integer(UInt64.self))
    room = nil
    if stride > 0 {
      let (size, overflow) = stride.multipliedReportingOverflow(by: count)
      guard !overflow, size <= desk.room, offset <= desk.room - size else {
        throw reader.malformed()
      }
      room = Room(offset: offset, stride: stride, count: count)
    }
    switch kind {
    case .frame: return try unsafe body(reader.remaining(), nil)
    case .onSocket:
      guard let (bytes, inbox) = receiveOnSocket() else { return nil }
      return try unsafe bytes.withUnsafeBytes { try unsafe body($0, inbox) }
    case .inParcel, .inNewParcel:
      let number = try reader.integer(UInt32.self)
      let length = try reader.integer(UInt64.self)
      if kind == .inNewParcel {
        guard let (bytes, inbox) = receiveOnSocket() else { return nil }
        try incoming.add(
          number, MessageDecoder().decode(SharedMemory.self, from: bytes, inbox: inbox))
      }
      return try unsafe body(incoming.bytes(number, length), nil)
    case .left, nil: throw reader.malformed()
    }
  }

  private func receiveOnSocket() -> ([UInt8], DescriptorInbox)? {
    var arrival = Connection.Arrival()
    guard ends.socket.take(&arrival, withDescriptors: true, until: .max) >= 0 else { return nil }
    // The pool's word counts.
    return (arrival.bytes, DescriptorInbox(arrival.descriptors, maximumMessageSize: .max))
  }

  /// Begins a frame.
  func begin(_ report: WorkerReport) -> FrameBuffer {
    outgoing.clear()
    outgoing.append(ChannelRecord.frame.rawValue)
    outgoing.append(report.rawValue)
    return outgoing
  }

  /// Has the frame that was begun, which will be so long, written where it is to be in the end.
  func expect(_ size: Int) {
    if size < WorkerRing.longest { return }
    settleParcels()
    guard let parcel = parcels.take(size + 256) else { return }
    unsafe outgoing.move(into: parcel.bytes, owner: parcel)
  }

  /// Sends the frame that was begun. Blocks while the pool is behind.
  ///
  /// - Returns: whether somebody is there to take it.
  @discardableResult
  func send() -> Bool {
    let parcel = outgoing.owner as? OutgoingParcels.Parcel
    defer { outgoing.clear() }
    if let attachments = outgoing.attachments, !attachments.descriptors.isEmpty {
      if let parcel { parcels.giveBack(parcel) }
      // First the socket, then the ring: whoever finds the record finds the frame.
      guard unsafe sendOnSocket(outgoing.frameBytes, attachments.descriptors) else { return false }
      attachments.sent()
      return unsafe put(1) {
        unsafe $0.storeBytes(of: ChannelRecord.onSocket.rawValue, as: UInt8.self)
      }
    }
    if let parcel { return send(parcel, unsafe outgoing.bytes.count - 1) }
    let bytes = unsafe outgoing.bytes
    if bytes.count <= WorkerRing.longest {
      return unsafe put(bytes.count) { unsafe $0.copyMemory(from: bytes) }
    }
    settleParcels()
    if let parcel = parcels.take(bytes.count) {
      unsafe parcel.bytes.copyMemory(from: bytes)
      return send(parcel, bytes.count - 1)
    }
    guard unsafe sendOnSocket(outgoing.frameBytes, []) else { return false }
    return unsafe put(1) {
      unsafe $0.storeBytes(of: ChannelRecord.onSocket.rawValue, as: UInt8.self)
    }
  }

  /// The frame begins at the second byte of the parcel.
  private func send(_ parcel: OutgoingParcels.Parcel, _ length: Int) -> Bool {
    var kind = ChannelRecord.inParcel
    if !parcel.isKnown {
      kind = .inNewParcel
      guard let (bytes, outbox) = try? MessageEncoder().encodeWithDescriptors(parcel.memory),
        unsafe bytes.withUnsafeBytes({ unsafe sendOnSocket($0, outbox?.descriptors ?? []) })
      else { return false }
    }
    parcels.wasSent(parcel)
    return unsafe put(13) { record in
      unsafe record.storeBytes(of: kind.rawValue, as: UInt8.self)
      unsafe record.storeBytes(of: parcel.number, toByteOffset: 1, as: UInt32.self)
      unsafe record.storeBytes(of: UInt64(length), toByteOffset: 5, as: UInt64.self)
    }
  }

  private func settleParcels() {
    let read = desk.parcelsRead
    while parcelsRead < read, parcels.wasRead() { parcelsRead += 1 }
  }

  private func sendOnSocket(_ bytes: UnsafeRawBufferPointer, _ descriptors: [Int32]) -> Bool {
    unsafe cipc_connection_send(
      ends.socket.handle, bytes.baseAddress, bytes.count, descriptors, descriptors.count, .max) >= 0
  }

  /// Puts a record and wakes the pool if it sleeps.
  func put(_ length: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) -> Bool {
    guard unsafe ends.up.putWaiting(length, write) == 0 else { return false }
    if desk.isPoolAsleep && desk.takeWakeUp() {
      // A frame of no bytes. Where there is no room for it there is one already.
      _ = unsafe cipc_connection_send(ends.socket.handle, nil, 0, nil, 0, 0)
    }
    return true
  }

  /// Says that results are where there was room for them.
  @discardableResult
  func sendLeft(_ count: Int, _ nanoseconds: UInt64) -> Bool {
    unsafe put(13) { record in
      unsafe record.storeBytes(of: ChannelRecord.left.rawValue, as: UInt8.self)
      unsafe record.storeBytes(of: nanoseconds, toByteOffset: 1, as: UInt64.self)
      unsafe record.storeBytes(of: UInt32(count), toByteOffset: 9, as: UInt32.self)
    }
  }
}

/// What a worker gets of the channel.
struct WorkerEnds: Codable, Sendable {
  var socket: Connection
  var down: WorkerRing
  var up: WorkerRing
  var desk: SharedMemory
}
