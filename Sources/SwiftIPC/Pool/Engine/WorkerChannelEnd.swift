// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// A worker's end of the channel to its pool.
@safe final class WorkerChannelEnd {
  let page: WorkerStatusPage
  private let channel: WorkerChannel
  private let process = cipc_participant_self()

  private let outgoing = FrameBuffer()
  private let buffers = SharedBufferPool()
  private let frames = FrameReceiver()
  private var buffersRead: UInt64 = 0

  private struct PoolIsGone: Error {}

  init(_ channel: WorkerChannel) throws(IPCError) {
    self.channel = channel
    page = try WorkerStatusPage(channel.page)
  }

  /// Whether this is a fork of the worker, in which its loop must not go on.
  var isFork: Bool { cipc_participant_current() != process }

  /// Gives the next frame to the body; `nil` when the pool is gone. Blocks.
  func receive<R>(_ body: (inout FrameReader, DescriptorInbox?) throws -> R) throws -> R? {
    guard let record = unsafe channel.down.peekWaiting() else { return nil }
    // Taken in any case: an error ends the worker.
    defer { channel.down.release() }
    var reader = unsafe FrameReader(record)
    guard let kind = RecordKind(rawValue: try reader.integer(UInt8.self)) else {
      throw reader.malformed()
    }
    do {
      return try frames.withFrame(kind, &reader, fromSocket: receiveOnSocket, body)
    } catch is PoolIsGone {
      return nil
    }
  }

  private func receiveOnSocket() throws -> SocketFrame {
    var arrival = Connection.Arrival()
    guard channel.socket.take(&arrival, withDescriptors: true, until: .max) >= 0 else {
      throw PoolIsGone()
    }
    // The pool is trusted.
    return SocketFrame(
      bytes: arrival.bytes,
      inbox: DescriptorInbox(arrival.descriptors, maximumMessageSize: .max))
  }

  /// Begins a frame.
  func begin(_ report: ReportKind) -> FrameBuffer {
    outgoing.begin(report)
    return outgoing
  }

  /// Has the frame that was begun, which will be of this size, written where it is to be in the end.
  func expect(_ size: Int) {
    if size < WorkerRing.longest { return }
    reclaimBuffers()
    guard let buffer = buffers.take(size + 256) else { return }
    unsafe outgoing.move(into: buffer.bytes, owner: buffer)
  }

  /// Sends the frame that was begun. Blocks while the pool is behind.
  ///
  /// - Returns: whether the pool is there to take it.
  @discardableResult
  func send() -> Bool {
    let buffer = outgoing.owner as? SharedBufferPool.Buffer
    defer { outgoing.clear() }
    if let attachments = outgoing.attachments, !attachments.descriptors.isEmpty {
      if let buffer { buffers.giveBack(buffer) }
      guard sendOutgoingOnSocket(attachments.descriptors) else { return false }
      attachments.sent()
      return true
    }
    let bytes = unsafe outgoing.bytes
    if let buffer { return send(buffer, bytes.count) }
    if bytes.count <= WorkerRing.longest {
      return unsafe put(bytes.count) { unsafe $0.copyMemory(from: bytes) }
    }
    reclaimBuffers()
    if let buffer = unsafe buffers.take(copying: bytes) { return send(buffer, bytes.count) }
    return sendOutgoingOnSocket([])
  }

  /// First the socket, then the ring: a pool that finds the record finds the frame.
  private func sendOutgoingOnSocket(_ descriptors: [Int32]) -> Bool {
    guard unsafe sendOnSocket(outgoing.frameBytes, descriptors) else { return false }
    return put([RecordKind.onSocket.rawValue])
  }

  private func send(_ buffer: SharedBufferPool.Buffer, _ count: Int) -> Bool {
    let record = RecordKind.record(of: buffer, count - 1)
    if !buffer.isKnown {
      guard let (bytes, outbox) = try? MessageEncoder().encodeWithDescriptors(buffer.memory),
        unsafe bytes.withUnsafeBytes({ unsafe sendOnSocket($0, outbox?.descriptors ?? []) })
      else { return false }
    }
    buffers.wasSent(buffer)
    return put(record)
  }

  private func reclaimBuffers() {
    let read = page.buffersRead
    while buffersRead < read, buffers.wasRead() { buffersRead += 1 }
  }

  private func sendOnSocket(_ bytes: UnsafeRawBufferPointer, _ descriptors: [Int32]) -> Bool {
    unsafe cipc_connection_send(
      channel.socket.handle, bytes.baseAddress, bytes.count, descriptors, descriptors.count, .max)
      >= 0
  }

  private func put(_ record: [UInt8]) -> Bool {
    unsafe put(record.count) { unsafe $0.copyBytes(from: record) }
  }

  /// Puts a record and wakes the pool if it sleeps.
  func put(_ length: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) -> Bool {
    guard unsafe channel.up.putWaiting(length, write) == 0 else { return false }
    if page.isPoolAsleep && page.takeWakeUp() {
      // A frame without bytes. Where there is no space for it there is one already.
      _ = unsafe cipc_connection_send(channel.socket.handle, nil, 0, nil, 0, 0)
    }
    return true
  }

  /// Announces results that are in the slot of their run.
  @discardableResult
  func sendLeft(_ count: Int, _ nanoseconds: UInt64) -> Bool {
    unsafe put(13) { record in
      unsafe record.storeBytes(of: RecordKind.left.rawValue, as: UInt8.self)
      unsafe record.storeBytes(of: nanoseconds, toByteOffset: 1, as: UInt64.self)
      unsafe record.storeBytes(of: UInt32(count), toByteOffset: 9, as: UInt32.self)
    }
  }
}
