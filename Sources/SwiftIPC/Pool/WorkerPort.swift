// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// A worker's end of the channel to its pool.
@safe final class WorkerPort {
  let desk: WorkerDesk
  private let connection: Connection
  private let process = cipc_participant_self()

  /// Where the results of the order at hand may be left.
  struct Room {
    var offset: Int
    var stride: Int
    var count: Int
  }
  private(set) var room: Room?
  private var incoming = Connection.Arrival()
  private let outgoing = FrameBuffer()

  init(_ connection: Connection, _ desk: WorkerDesk) {
    self.connection = connection
    self.desk = desk
  }

  /// Whether this is a fork of the worker, in which its loop must not go on.
  var isFork: Bool { cipc_participant_current() != process }

  /// The next frame, which stays until the next call; `nil` when the pool is gone. Blocks.
  func receive<R>(_ body: (UnsafeRawBufferPointer, DescriptorInbox?) throws -> R) throws -> R? {
    let status = connection.take(&incoming, withDescriptors: true, until: .max)
    if status < 0 { return nil }
    let inbox = incoming.descriptors.isEmpty ? nil : DescriptorInbox(incoming.descriptors)
    incoming.descriptors = []
    return try unsafe incoming.bytes.withUnsafeBytes { bytes in
      var reader = unsafe FrameReader(bytes)
      room = nil
      switch ChannelRecord(rawValue: try reader.integer(UInt8.self)) {
      case .frame: break
      case .frameWithRoom:
        let offset = Int(clamping: try reader.integer(UInt64.self))
        let stride = Int(try reader.integer(UInt32.self))
        let count = Int(try reader.integer(UInt32.self))
        guard stride > 0, stride * count <= desk.room, offset <= desk.room - stride * count else {
          throw reader.malformed()
        }
        room = Room(offset: offset, stride: stride, count: count)
      case .left, nil: throw reader.malformed()
      }
      return try unsafe body(reader.remaining(), inbox)
    }
  }

  /// Begins a frame.
  func begin(_ report: WorkerReport) -> FrameBuffer {
    outgoing.clear()
    outgoing.append(ChannelRecord.frame.rawValue)
    outgoing.append(report.rawValue)
    return outgoing
  }

  /// Sends the frame that was begun. Blocks while the pool is behind.
  ///
  /// - Returns: whether somebody is there to take it.
  @discardableResult
  func send() -> Bool {
    let descriptors = outgoing.attachments?.descriptors ?? []
    let status = unsafe cipc_connection_send(
      connection.handle, outgoing.bytes.baseAddress, outgoing.count, descriptors,
      descriptors.count, .max)
    if status >= 0 { outgoing.attachments?.sent() }
    return status >= 0
  }

  /// Says that the results are where there was room for them.
  @discardableResult
  func sendLeft(_ count: Int, _ nanoseconds: UInt64) -> Bool {
    outgoing.clear()
    outgoing.append(ChannelRecord.left.rawValue)
    outgoing.append(nanoseconds)
    outgoing.append(UInt32(count))
    return send()
  }
}
