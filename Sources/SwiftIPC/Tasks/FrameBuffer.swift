// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// The bytes of a frame that is being written: memory that grows and is used again. One thread's at a
/// time.
@safe final class FrameBuffer: @unchecked Sendable {
  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  /// Whose memory it is, where it is not its own.
  private(set) var owner: AnyObject?
  private(set) var count = 0
  var attachments: DescriptorOutbox?

  init(capacity: Int = 4096) {
    self.capacity = capacity
    unsafe base = .allocate(byteCount: capacity, alignment: 16)
  }

  deinit { if owner == nil { unsafe base.deallocate() } }

  var bytes: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: base, count: count)
  }

  /// Begins another frame.
  func clear() {
    count = 0
    attachments = nil
    // One large frame does not keep its memory for ever.
    if capacity > 1 << 20 || owner != nil {
      if owner == nil { unsafe base.deallocate() }
      owner = nil
      capacity = 4096
      unsafe base = .allocate(byteCount: capacity, alignment: 16)
    }
  }

  /// Goes on in the caller's memory, as long as that is enough.
  func move(into memory: UnsafeMutableRawBufferPointer, owner: AnyObject) {
    guard let start = memory.baseAddress, memory.count >= count else { return }
    unsafe start.copyMemory(from: base, byteCount: count)
    if self.owner == nil { unsafe base.deallocate() }
    unsafe base = start
    capacity = memory.count
    self.owner = owner
  }

  func truncate(to count: Int) { self.count = min(count, self.count) }

  @inline(__always)
  func reserve(_ wanted: Int) {
    if capacity - count < wanted { grow(wanted) }
  }

  @inline(never)
  private func grow(_ wanted: Int) {
    let larger = max(capacity * 2, count + wanted)
    let new = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
    unsafe new.copyMemory(from: base, byteCount: count)
    if owner == nil { unsafe base.deallocate() }
    owner = nil
    unsafe base = new
    capacity = larger
  }

  @inline(__always)
  func append<I: FixedWidthInteger>(_ value: I) {
    reserve(MemoryLayout<I>.size)
    unsafe base.storeBytes(of: value, toByteOffset: count, as: I.self)
    count += MemoryLayout<I>.size
  }

  func append(_ bytes: UnsafeRawBufferPointer) {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return }
    reserve(bytes.count)
    unsafe (base + count).copyMemory(from: start, byteCount: bytes.count)
    count += bytes.count
  }

  func append(_ bytes: [UInt8]) { unsafe bytes.withUnsafeBytes { unsafe append($0) } }

  /// Bytes with their number in front.
  func append(counted bytes: [UInt8]) {
    append(UInt64(bytes.count))
    append(bytes)
  }

  func append(counted text: String) {
    append(UInt64(text.utf8.count))
    var text = text
    text.withUTF8 { unsafe append(UnsafeRawBufferPointer($0)) }
  }

  /// Sets an integer that was written before.
  func set<I: FixedWidthInteger>(_ value: I, at offset: Int) {
    precondition(offset >= 0 && offset + MemoryLayout<I>.size <= count)
    unsafe base.storeBytes(of: value, toByteOffset: offset, as: I.self)
  }
}

/// Reads a frame that is not trusted: each integer once, each length checked.
@safe struct FrameReader {
  private let bytes: UnsafeRawBufferPointer
  private(set) var offset = 0

  init(_ bytes: UnsafeRawBufferPointer) { unsafe self.bytes = unsafe bytes }

  var rest: Int { unsafe bytes.count - offset }

  @inline(__always)
  mutating func integer<I: FixedWidthInteger>(_ type: I.Type) throws(IPCError) -> I {
    guard rest >= MemoryLayout<I>.size else { throw malformed() }
    defer { offset += MemoryLayout<I>.size }
    return unsafe bytes.loadUnaligned(fromByteOffset: offset, as: I.self)
  }

  mutating func raw(_ count: Int) throws(IPCError) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= rest else { throw malformed() }
    defer { offset += count }
    return unsafe UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + count])
  }

  mutating func counted() throws(IPCError) -> UnsafeRawBufferPointer {
    let count = try integer(UInt64.self)
    return try unsafe raw(Int(clamping: count))
  }

  mutating func text() throws(IPCError) -> String {
    let bytes = try unsafe counted()
    return unsafe String(copying: bytes)
  }

  mutating func remaining() -> UnsafeRawBufferPointer {
    defer { offset = unsafe bytes.count }
    return unsafe UnsafeRawBufferPointer(rebasing: bytes[offset...])
  }

  /// - Parameter field: what is wrong.
  func malformed(_ field: String = "its end") -> IPCError {
    IPCError(.malformedMessage, context: "a frame of tasks: \(field) at offset \(offset)")
  }
}
