// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// The memory of a `SharedArray`, whatever its elements, with private copies of what its shared
/// bytes say.
///
/// The payload is a mutex, the rank as a word of 8 bytes, an extent of 8 bytes for each dimension,
/// and from the next multiple of 64 (or of a larger alignment of the elements) the elements.
@safe @usableFromInline
final class SharedArrayStorage: @unchecked Sendable {
  static let maximumRank = 64

  @usableFromInline let segment: Segment
  let shape: [Int]
  let count: Int
  /// Where the elements begin; valid as long as the segment.
  let elements: UnsafeMutableRawPointer

  /// Makes the memory and has `fill` put the elements there.
  ///
  /// - Parameter shape: one whose `elementCount` was taken.
  init(
    making type: cipc_segment_type_t, shape: [Int], subject: String,
    fill: (UnsafeMutableRawPointer) -> Void
  ) throws(IPCError) {
    guard let offset = Self.elementOffset(rank: shape.count, alignment: Int(type.alignment)) else {
      throw IPCError(.unsupported, context: "\(subject): elements aligned to more than a page")
    }
    let (bytes, overflow) = type.count.multipliedReportingOverflow(by: type.stride)
    let (size, carry) = bytes.addingReportingOverflow(UInt64(offset))
    segment = try unsafe Segment.make(
      type, size: overflow || carry ? .max : Int(clamping: size), subject: subject
    ) { address in
      unsafe Self.rankWord(address).pointee = UInt64(shape.count)
      for (index, extent) in shape.enumerated() {
        unsafe Self.rankWord(address)[1 + index] = UInt64(extent)
      }
      unsafe fill(address + offset)
      return unsafe cipc_mutex_init(address.assumingMemoryBound(to: cipc_mutex_t.self), nil)
    }
    self.shape = shape
    count = Int(type.count)
    unsafe elements = unsafe segment.address + offset
  }

  /// Takes memory from another process, whose header was checked.
  ///
  /// - Throws: `segmentMismatch` that names the rank, the extent or the count that is wrong.
  init(checking segment: Segment, stride: Int, alignment: Int, subject: String) throws(IPCError) {
    let smallest = unsafe MemoryLayout<cipc_mutex_t>.size + MemoryLayout<UInt64>.size
    guard segment.size >= smallest else {
      throw IPCError(status: CIPC_ESEGMENTSIZE.rawValue, subject)
    }
    // Read once: from here on this copy counts.
    let claimed = unsafe Self.rankWord(segment.address).pointee
    guard (1...UInt64(Self.maximumRank)).contains(claimed),
      let offset = Self.elementOffset(rank: Int(claimed), alignment: alignment),
      offset <= segment.size
    else {
      throw IPCError(.segmentMismatch, context: "\(subject): segment shape: rank \(claimed)")
    }
    let words = (1...Int(claimed)).map { unsafe Self.rankWord(segment.address)[$0] }
    shape = words.map { Int(clamping: $0) }
    // A product that overflows is no count of elements in memory.
    guard (try? Self.elementCount(of: shape, subject: subject)) == segment.count else {
      throw IPCError(
        .segmentMismatch,
        context: "\(subject): segment shape: \(words) for \(segment.count) elements")
    }
    // The header's check had the whole payload in mind; the elements have what is behind the shape.
    let (bytes, overflow) = segment.count.multipliedReportingOverflow(by: stride)
    guard !overflow, bytes <= segment.size - offset else {
      throw IPCError(status: CIPC_ESEGMENTCOUNT.rawValue, subject)
    }
    self.segment = segment
    count = segment.count
    unsafe elements = unsafe segment.address + offset
  }

  /// The product of a shape's extents.
  ///
  /// - Throws: `invalidArgument`.
  static func elementCount(of shape: [Int], subject: String) throws(IPCError) -> Int {
    var product = 1
    var overflow = !(1...maximumRank).contains(shape.count) || shape.contains { $0 < 0 }
    // An extent of 0 makes the product 0 wherever it stands, also beside extents that overflow.
    if !overflow && !shape.contains(0) {
      for extent in shape where !overflow {
        (product, overflow) = product.multipliedReportingOverflow(by: extent)
      }
    } else {
      product = 0
    }
    if overflow {
      throw IPCError(
        .invalidArgument,
        context: "\(subject): shape \(shape): 1 to \(maximumRank) extents, none negative, "
          + "whose product can be represented")
    }
    return product
  }

  private static func rankWord(_ payload: UnsafeMutableRawPointer) -> UnsafeMutablePointer<UInt64> {
    unsafe (payload + MemoryLayout<cipc_mutex_t>.size).assumingMemoryBound(to: UInt64.self)
  }

  /// From the payload to the elements; `nil` for an alignment that a mapping does not have.
  private static func elementOffset(rank: Int, alignment: Int) -> Int? {
    let page = 4096
    guard alignment <= page else { return nil }
    let header = Int(CIPC_SEGMENT_HEADER_SIZE)
    let words = MemoryLayout<UInt64>.size * (1 + rank)
    let alignment = max(64, alignment)
    let end = unsafe header + MemoryLayout<cipc_mutex_t>.size + words
    return (end + alignment - 1) / alignment * alignment - header
  }
}
