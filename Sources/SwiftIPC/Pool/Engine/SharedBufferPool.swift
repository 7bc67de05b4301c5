// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// Shared memory for the long frames of one direction, used again and again by their sender: a frame is
/// written into a buffer and read there, and no pipe copies it twice.
///
/// The first byte of a buffer is unused: a frame stands in it as in a `FrameBuffer`.
/// Unchecked: one thread at a time.
final class SharedBufferPool: @unchecked Sendable {
  final class Buffer: @unchecked Sendable {
    let number: UInt32
    let memory: SharedMemory
    let segment: Segment
    /// Whether the receiver has it.
    var isKnown = false

    init(_ number: UInt32, size: Int) throws(IPCError) {
      self.number = number
      memory = try SharedMemory(size: size)
      segment = try memory.opened()
    }

    var bytes: UnsafeMutableRawBufferPointer {
      unsafe UnsafeMutableRawBufferPointer(start: segment.address, count: memory.size)
    }
  }

  private var free: [Buffer] = []
  /// In the order in which they were sent.
  private var sent = PoolDeque<Buffer>()
  private var last: UInt32 = 0

  /// The most that are on their way at a time, and that are kept.
  private static let most = 4
  private static let smallest = 1 << 18

  /// A buffer of this size or larger; `nil` where too many are on their way, or there is no memory.
  func take(_ size: Int) -> Buffer? {
    if sent.count >= Self.most { return nil }
    if let place = free.firstIndex(where: { $0.memory.size >= size }) {
      return free.remove(at: place)
    }
    // One that is too small gives way to one that is not.
    if !free.isEmpty && free.count + sent.count >= Self.most { free.removeFirst() }
    var capacity = Self.smallest
    while capacity < size { capacity *= 2 }
    last &+= 1
    return try? Buffer(last, size: capacity)
  }

  /// A buffer that holds a copy of this frame.
  func take(copying frame: UnsafeRawBufferPointer) -> Buffer? {
    guard let buffer = take(frame.count) else { return nil }
    unsafe buffer.bytes.copyMemory(from: frame)
    return buffer
  }

  func giveBack(_ buffer: Buffer) { free.append(buffer) }

  func wasSent(_ buffer: Buffer) {
    buffer.isKnown = true
    sent.append(buffer)
  }

  /// The one sent first was read.
  ///
  /// - Returns: whether there was one.
  @discardableResult
  func wasRead() -> Bool {
    if sent.isEmpty { return false }
    free.append(sent.removeFirst())
    free.sort { $0.memory.size < $1.memory.size }
    return true
  }
}

/// A frame that came over the socket, and what descriptors came with it.
struct SocketFrame {
  var bytes: [UInt8]
  var inbox: DescriptorInbox
}

/// Finds the frames that the records of one direction announce, and keeps the buffers that its sender has
/// shared.
///
/// Unchecked: one thread at a time.
final class FrameReceiver: @unchecked Sendable {
  private var buffers: [(number: UInt32, memory: SharedMemory, segment: Segment)] = []
  private static let most = 8

  /// Gives a frame to the body, with the descriptors that came with it.
  ///
  /// - Parameters:
  ///   - record: what stands behind the kind.
  ///   - fromSocket: the next frame on the socket.
  /// - Throws: `malformedMessage` for a buffer that is unknown or too short, and what the closures throw.
  @inline(__always)
  func withFrame<R>(
    _ kind: RecordKind, _ record: inout FrameReader, fromSocket: () throws -> SocketFrame,
    _ body: (inout FrameReader, DescriptorInbox?) throws -> R
  ) throws -> R {
    if kind == .frame { return try body(&record, nil) }
    return try withDistantFrame(kind, &record, fromSocket, body)
  }

  @inline(never)
  private func withDistantFrame<R>(
    _ kind: RecordKind, _ record: inout FrameReader, _ fromSocket: () throws -> SocketFrame,
    _ body: (inout FrameReader, DescriptorInbox?) throws -> R
  ) throws -> R {
    if kind == .onSocket {
      let frame = try fromSocket()
      return try unsafe frame.bytes.withUnsafeBytes { bytes in
        var reader = unsafe FrameReader(bytes)
        return try body(&reader, frame.inbox)
      }
    }
    guard kind == .inBuffer || kind == .inNewBuffer else { throw record.malformed() }
    let number = try record.integer(UInt32.self)
    let length = try record.integer(UInt64.self)
    if kind == .inNewBuffer {
      let frame = try fromSocket()
      let memory = try MessageDecoder().decode(
        SharedMemory.self, from: frame.bytes, inbox: frame.inbox)
      if buffers.count >= Self.most { buffers.removeFirst() }
      buffers.append((number, memory, try memory.opened()))
    }
    guard let buffer = buffers.last(where: { $0.number == number }),
      length < UInt64(buffer.memory.size)
    else { throw IPCError(.malformedMessage, context: "a shared buffer of a pool") }
    var reader = unsafe FrameReader(
      UnsafeRawBufferPointer(start: buffer.segment.address + 1, count: Int(length)))
    return try body(&reader, nil)
  }
}
