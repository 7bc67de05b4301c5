// SPDX-License-Identifier: Apache-2.0

/// The first byte of a record in a ring of a worker's channel: where a frame is, or results are.
enum RecordKind: UInt8 {
  /// {frame}
  case frame = 0
  /// {}: the next frame on the socket, since descriptors come with it.
  case onSocket = 1
  /// {u32 buffer, u64 length}: a long frame in a shared buffer that the receiver has, behind its first byte.
  case inBuffer = 2
  /// The same in a buffer that comes with the next frame on the socket.
  case inNewBuffer = 3
  /// From a worker: {u64 nanoseconds, u32 count}: results that it has left in their slot of the status
  /// page.
  case left = 4
}

extension RecordKind {
  /// The record that announces a frame of this length in a buffer.
  static func record(of buffer: SharedBufferPool.Buffer, _ length: Int) -> [UInt8] {
    let record = FrameBuffer(capacity: 16)
    record.append((buffer.isKnown ? inBuffer : inNewBuffer).rawValue)
    record.append(buffer.number)
    record.append(UInt64(length))
    return unsafe Array(record.bytes)
  }
}
