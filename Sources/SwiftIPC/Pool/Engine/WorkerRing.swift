// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// One direction of the channel to a worker: a ring with one producer and one consumer.
@safe final class WorkerRing: Sendable {
  /// Owned. Each end is used by one thread at a time.
  private nonisolated(unsafe) let ring: OpaquePointer

  /// How many bytes frames may take while they wait.
  static let capacity: UInt64 = 1 << 17
  /// The longest record that goes through the ring. Longer ones would leave space for few.
  static let longest = Int(capacity) / 8
  /// How many looks, at up to 1,024 records each, find all that a dead worker left: a record takes 8 bytes
  /// or more.
  static let mostLooks = Int(capacity) / 8 / 1024 + 1

  init() throws(IPCError) {
    var options = unsafe cipc_ring_options_t()
    unsafe options.flags = UInt32(CIPC_RING_SPSC)
    unsafe options.capacity = Self.capacity
    var ring: OpaquePointer?
    let status = unsafe cipc_ring_create(&ring, &options)
    guard status >= 0, let ring = unsafe ring else {
      throw IPCError(status: status, "a ring to a worker")
    }
    unsafe self.ring = ring
  }

  private init(owning ring: OpaquePointer) { unsafe self.ring = unsafe ring }

  deinit { unsafe cipc_ring_close(ring) }

  /// Puts a record that `write` writes, if there is space now.
  ///
  /// - Returns: 0, `CIPC_EAGAIN`, or why it can never be put.
  func put(_ length: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) -> Int32 {
    var place: UnsafeMutableRawPointer?
    let status = unsafe cipc_ring_reserve_step(ring, length, &place, 0, nil)
    return unsafe commit(status, place, length, write)
  }

  /// The same; waits for space. Blocks.
  func putWaiting(_ length: Int, _ write: (UnsafeMutableRawBufferPointer) -> Void) -> Int32 {
    var place: UnsafeMutableRawPointer?
    let status = unsafe cipc_ring_reserve(ring, length, &place, .max)
    return unsafe commit(status, place, length, write)
  }

  @inline(__always)
  private func commit(
    _ status: Int32, _ place: UnsafeMutableRawPointer?, _ length: Int,
    _ write: (UnsafeMutableRawBufferPointer) -> Void
  ) -> Int32 {
    if status < 0 { return status }
    unsafe write(UnsafeMutableRawBufferPointer(start: place, count: length))
    return unsafe cipc_ring_commit(ring)
  }

  /// The next record that was not shown since the last `release`; `nil` where there is none.
  func peek() -> UnsafeRawBufferPointer? {
    var record = unsafe cipc_ring_record_t()
    guard unsafe cipc_ring_peek_step(ring, &record, 0, nil) == 0 else { return nil }
    return unsafe UnsafeRawBufferPointer(start: record.data, count: record.length)
  }

  /// The next record; waits for it. Blocks. `nil` where none will come.
  func peekWaiting() -> UnsafeRawBufferPointer? {
    var record = unsafe cipc_ring_record_t()
    guard unsafe cipc_ring_peek(ring, &record, .max) == 0 else { return nil }
    return unsafe UnsafeRawBufferPointer(start: record.data, count: record.length)
  }

  /// Removes the records that were shown.
  func release() { _ = unsafe cipc_ring_release(ring) }
}

extension WorkerRing: Codable {
  func encode(to encoder: any Encoder) throws {
    let descriptor = unsafe cipc_segment_descriptor(cipc_ring_segment(ring))
    let index = try encoder.descriptorOutbox(for: WorkerRing.self)
      .enclose(descriptor, keeping: self)
    var container = encoder.singleValueContainer()
    try container.encode(index)
  }

  convenience init(from decoder: any Decoder) throws {
    let inbox = try decoder.descriptorInbox(for: WorkerRing.self)
    let index = try decoder.singleValueContainer().decode(Int.self)
    try self.init(adopting: inbox.take(index))
  }

  private convenience init(adopting descriptor: Int32) throws(IPCError) {
    var options = unsafe cipc_ring_options_t()
    unsafe options.flags = UInt32(CIPC_RING_SPSC)
    var ring: OpaquePointer?
    let status = unsafe cipc_ring_open(&ring, descriptor, &options)
    guard status >= 0, let ring = unsafe ring else {
      cipc_descriptor_drop(descriptor)
      throw IPCError(status: status, "a ring to the pool")
    }
    unsafe self.init(owning: ring)
  }
}
