// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// Memory that a worker and its pool share: a page in which the worker says what it is doing, so that this
/// is known when it has died; and behind it slots in which it leaves results that all have the same size.
///
/// | bytes | who writes | |
/// |---|---|---|
/// | 0..<8 | worker | elements begun since its start: stored before the element is looked at |
/// | 8..<16 | worker | when the last was begun, where the chunk asks for it: stored before the former |
/// | 64..<72 | worker | results left in slots since its start. The commit point of each is this store |
/// | 128..<136 | pool | whether it sleeps and wants to be woken: 0 or 1; the worker makes it 0 |
/// | 192..<200 | pool | shared buffers of the worker that it has read |
/// | 4096... | worker | the slots, which the pool hands out in turn |
@safe final class WorkerStatusPage: Sendable {
  /// Kept for its mapping.
  let memory: SharedMemory
  private nonisolated(unsafe) let base: UnsafeMutableRawPointer
  /// Bytes for slots.
  let capacity: Int

  static let header = 4096

  init(_ memory: SharedMemory) throws(IPCError) {
    self.memory = memory
    let segment = try memory.opened()
    guard memory.size >= Self.header, segment.isWritable else {
      throw IPCError(.segmentMismatch, context: "the status page of a worker: size")
    }
    unsafe base = segment.address
    capacity = memory.size - Self.header
  }

  convenience init(capacity: Int) throws(IPCError) {
    try self.init(SharedMemory(size: Self.header + capacity, options: .init(receiversWrite: true)))
  }

  var begun: UInt64 {
    get { unsafe cipc_atomic_load(base, 8) }
    set { unsafe cipc_atomic_publish(base, newValue) }
  }
  var begunAt: Int64 {
    get { unsafe Int64(bitPattern: cipc_atomic_load(base + 8, 8)) }
    set { unsafe cipc_atomic_publish(base + 8, UInt64(bitPattern: newValue)) }
  }
  var left: UInt64 {
    get { unsafe cipc_atomic_load(base + 64, 8) }
    set { unsafe cipc_atomic_publish(base + 64, newValue) }
  }

  /// Whether the pool sleeps. Sequentially consistent, as are the ring's indices: of a worker that puts
  /// a record and a pool that falls asleep, one sees the other.
  var isPoolAsleep: Bool {
    get { unsafe cipc_atomic_load(base + 128, 8) != 0 }
    set { unsafe cipc_atomic_store(base + 128, 8, newValue ? 1 : 0) }
  }
  /// Takes over waking the pool.
  func takeWakeUp() -> Bool { unsafe cipc_atomic_exchange(base + 128, 8, 0) != 0 }

  var buffersRead: UInt64 {
    get { unsafe cipc_atomic_load(base + 192, 8) }
    set { unsafe cipc_atomic_publish(base + 192, newValue) }
  }

  /// The memory of a slot.
  ///
  /// - Precondition: it lies within the capacity.
  func slot(_ offset: Int, _ size: Int) -> UnsafeMutableRawBufferPointer {
    precondition(offset >= 0 && size >= 0 && offset <= capacity && size <= capacity - offset)
    return unsafe UnsafeMutableRawBufferPointer(start: base + Self.header + offset, count: size)
  }
}
