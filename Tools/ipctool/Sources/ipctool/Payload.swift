// SPDX-License-Identifier: Apache-2.0
import CIPC
import Glibc

/// A copy of the beginning of a segment's payload: read once, so that nothing changes while it is
/// looked at, and nothing of it is trusted.
final class Payload {
  /// No object but a region keeps its state further from its beginning, and that is looked into up
  /// to here.
  private static let limit = 64 << 20
  /// A queue's memory is mostly its elements, and `QueueReport` looks at the rest.
  private static let queueLimit = 4096

  let type: cipc_segment_type_t
  private let bytes: UnsafeMutableRawBufferPointer
  private let descriptor: Int32
  private let info: cipc_segment_info_t

  init(_ descriptor: Int32, _ info: cipc_segment_info_t) {
    type = info.type
    (self.descriptor, self.info) = (dup(descriptor), info)
    let isQueue = Int(info.type.kind) == CIPC_KIND_RING
    let size = min(info.size, isQueue ? Self.queueLimit : Self.limit)
    // As far aligned as the original.
    bytes = .allocate(byteCount: size, alignment: 64)
    read()
  }

  deinit {
    bytes.deallocate()
    close(descriptor)
  }

  private func read() {
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    _ = pread(descriptor, bytes.baseAddress, bytes.count, off_t(CIPC_SEGMENT_HEADER_SIZE))
  }

  /// How it is now.
  func again() -> Payload { Payload(descriptor, info) }

  var count: Int { bytes.count }

  /// A structure of the C core at an offset, if all of it is there.
  func pointer<T>(to: T.Type, at offset: Int = 0) -> UnsafeMutablePointer<T>? {
    guard offset >= 0, offset <= bytes.count - MemoryLayout<T>.size,
      offset % MemoryLayout<T>.alignment == 0
    else { return nil }
    return bytes.baseAddress!.advanced(by: offset).assumingMemoryBound(to: T.self)
  }

  func load<T: BitwiseCopyable>(_: T.Type, at offset: Int) -> T? {
    guard offset >= 0, offset <= bytes.count - MemoryLayout<T>.size else { return nil }
    return bytes.loadUnaligned(fromByteOffset: offset, as: T.self)
  }
}
