// SPDX-License-Identifier: Apache-2.0

/// Shared memory for long frames in one direction, used again and again by its sender: a frame is
/// written into a parcel and read there, and no pipe copies it twice.
/// Unchecked: one thread at a time.
final class OutgoingParcels: @unchecked Sendable {
  final class Parcel: @unchecked Sendable {
    let number: UInt32
    let memory: SharedMemory
    let segment: Segment
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

  private var free: [Parcel] = []
  /// In the order in which they were sent.
  private var sent = PoolDeque<Parcel>()
  private var last: UInt32 = 0

  /// The most that are on their way at a time, and that are kept.
  private static let most = 4
  private static let smallest = 1 << 18

  /// A parcel with so much room; `nil` where too many are on their way, or there is no memory.
  func take(_ size: Int) -> Parcel? {
    if sent.count >= Self.most { return nil }
    if let place = free.firstIndex(where: { $0.memory.size >= size }) {
      return free.remove(at: place)
    }
    // One that is too small makes room for one that is not.
    if !free.isEmpty && free.count + sent.count >= Self.most { free.removeFirst() }
    var room = Self.smallest
    while room < size { room *= 2 }
    last &+= 1
    return try? Parcel(last, size: room)
  }

  func giveBack(_ parcel: Parcel) { free.append(parcel) }

  func wasSent(_ parcel: Parcel) {
    parcel.isKnown = true
    sent.append(parcel)
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

/// The parcels that the other side has sent.
struct IncomingParcels {
  private var known: [(number: UInt32, memory: SharedMemory, segment: Segment)] = []
  private static let most = 8

  mutating func add(_ number: UInt32, _ memory: SharedMemory) throws(IPCError) {
    if known.count >= Self.most { known.removeFirst() }
    known.append((number, memory, try memory.opened()))
  }

  /// - Throws: `malformedMessage` for one that is not known, or shorter.
  func bytes(_ number: UInt32, _ length: UInt64) throws(IPCError) -> UnsafeRawBufferPointer {
    guard let parcel = known.last(where: { $0.number == number }),
      length <= UInt64(parcel.memory.size)
    else { throw IPCError(.malformedMessage, context: "a parcel of a pool") }
    return unsafe UnsafeRawBufferPointer(start: parcel.segment.address, count: Int(length))
  }
}
