// SPDX-License-Identifier: Apache-2.0
public import CIPC

/// The memory of a `SharedArray`, whatever its elements, with private copies of what its shared
/// bytes say.
///
/// The payload is a journal, whose mutex is the array's lock, where the redo area is as a word of
/// 8 bytes (0: none), the rank and an extent for each dimension in 8 bytes each, from the next multiple of
/// 64 (or of a larger alignment of the elements) the elements, and from the next such multiple the
/// redo area, as large as the elements.
@safe @usableFromInline
final class SharedArrayStorage: @unchecked Sendable {
  static let maximumRank = 64

  @usableFromInline let segment: Segment
  let shape: [Int]
  let count: Int
  /// Where the elements begin; valid as long as the segment.
  let elements: UnsafeMutableRawPointer
  /// Where updates are prepared, likewise; `nil` in an array that is not transactional.
  @usableFromInline let redo: UnsafeMutableRawPointer?

  /// Makes the memory and has `fill` put the elements there, or finds it by its name.
  ///
  /// - Parameter shape: one whose `elementCount` was taken.
  /// - Throws: also `segmentMismatch` when what was found has another shape, or is not transactional
  ///   as wanted.
  convenience init(
    making type: cipc_segment_type_t, shape: [Int], transactional: Bool, name: ObjectName?,
    subject: String, fill: (UnsafeMutableRawPointer) -> Void
  ) throws(IPCError) {
    guard let offset = Self.elementOffset(rank: shape.count, alignment: Int(type.alignment)) else {
      throw IPCError(.unsupported, context: "\(subject): elements aligned to more than a page")
    }
    let (bytes, overflow) = Int(clamping: type.count).multipliedReportingOverflow(
      by: Int(type.stride))
    let end =
      overflow ? nil : Self.end(elements: offset, bytes: bytes, type.alignment, transactional)
    let redoOffset = transactional ? end?.redo : nil
    let segment = try unsafe Segment.make(
      type, size: end?.size ?? .max, name: name, subject: subject
    ) { address in
      unsafe Self.redoWord(address).pointee = UInt64(redoOffset ?? 0)
      unsafe Self.rankWord(address).pointee = UInt64(shape.count)
      for (index, extent) in shape.enumerated() {
        unsafe Self.rankWord(address)[1 + index] = UInt64(extent)
      }
      unsafe fill(address + offset)
      return unsafe cipc_journal_init(address.assumingMemoryBound(to: cipc_journal_t.self))
    }
    try self.init(
      checking: segment, stride: Int(type.stride), alignment: Int(type.alignment), subject: subject)
    if self.shape != shape || isTransactional != transactional {
      throw IPCError(
        .segmentMismatch,
        context:
          "\(subject): segment shape: \(self.shape)\(isTransactional ? ", transactional" : "")"
          + " instead of \(shape)\(transactional ? ", transactional" : "")")
    }
  }

  /// Takes memory from another process, whose header was checked.
  ///
  /// - Throws: `segmentMismatch` that names the rank, the extent or the count that is wrong.
  init(checking segment: Segment, stride: Int, alignment: Int, subject: String) throws(IPCError) {
    let smallest = unsafe MemoryLayout<cipc_journal_t>.size + 2 * MemoryLayout<UInt64>.size
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
    let redoOffset = unsafe Self.redoWord(segment.address).pointee
    if redoOffset != 0 {
      let end = Self.end(elements: offset, bytes: bytes, UInt64(alignment), true)
      guard let end, redoOffset == UInt64(end.redo), end.size <= segment.size else {
        throw IPCError(
          .segmentMismatch, context: "\(subject): segment redo area: offset \(redoOffset)")
      }
      unsafe redo = unsafe segment.address + end.redo
    } else {
      unsafe redo = nil
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

  private static func redoWord(_ payload: UnsafeMutableRawPointer) -> UnsafeMutablePointer<UInt64> {
    unsafe (payload + MemoryLayout<cipc_journal_t>.size).assumingMemoryBound(to: UInt64.self)
  }

  private static func rankWord(_ payload: UnsafeMutableRawPointer) -> UnsafeMutablePointer<UInt64> {
    unsafe redoWord(payload) + 1
  }

  /// From the payload to the redo area, and the size of the payload; `nil` when it cannot be
  /// represented.
  private static func end(
    elements offset: Int, bytes: Int, _ alignment: UInt64, _ transactional: Bool
  ) -> (redo: Int, size: Int)? {
    let (elementsEnd, overflow) = offset.addingReportingOverflow(bytes)
    if overflow { return nil }
    if !transactional { return (elementsEnd, elementsEnd) }
    let alignment = max(64, Int(alignment))
    let (padded, carry) = elementsEnd.addingReportingOverflow(alignment - 1)
    if carry { return nil }
    // The elements are aligned to this in the mapping, so what is a multiple of it behind them is.
    let redo = offset + (padded - offset) / alignment * alignment
    let (size, excess) = redo.addingReportingOverflow(bytes)
    return excess ? nil : (redo, size)
  }

  /// From the payload to the elements; `nil` for an alignment that a mapping does not have.
  private static func elementOffset(rank: Int, alignment: Int) -> Int? {
    let page = 4096
    guard alignment <= page else { return nil }
    let header = Int(CIPC_SEGMENT_HEADER_SIZE)
    let words = MemoryLayout<UInt64>.size * (2 + rank)
    let alignment = max(64, alignment)
    let end = unsafe header + MemoryLayout<cipc_journal_t>.size + words
    return (end + alignment - 1) / alignment * alignment - header
  }
}

// The array's lock in transactional mode: which changes of a dead owner are told of. All by the
// owner of the lock.
extension SharedArrayStorage {
  @inlinable var isTransactional: Bool { unsafe redo != nil }

  @inlinable var journal: UnsafeMutablePointer<cipc_journal_t> {
    unsafe segment.address.assumingMemoryBound(to: cipc_journal_t.self)
  }

  private func withArea<R>(stride: Int, _ body: (UnsafePointer<cipc_journal_area_t>) -> R) -> R {
    let size = count * stride
    return unsafe withUnsafePointer(
      to: cipc_journal_area_t(
        data: elements, size: size, redo: redo, capacity: isTransactional ? size : 0), body)
  }

  /// Puts a range of elements into the redo area.
  @usableFromInline func stage(_ range: Range<Int>, stride: Int) throws {
    let status = unsafe withArea(stride: stride) { area in
      unsafe cipc_journal_stage(area, range.lowerBound * stride, range.count * stride)
    }
    try IPCError.check(status, "SharedArray")
  }

  /// Makes the redo area the elements of a range.
  @usableFromInline func apply(_ range: Range<Int>, stride: Int) throws {
    let status = unsafe withArea(stride: stride) { area in
      unsafe cipc_journal_apply(journal, area, range.lowerBound * stride, range.count * stride)
    }
    try IPCError.check(status, "SharedArray")
  }

  /// Finishes or drops what a dead owner was updating, and has `repair` put in order what it was
  /// changing in place.
  @usableFromInline func settle(stride: Int, _ repair: () throws -> Void) throws {
    let status = unsafe withArea(stride: stride) { unsafe cipc_journal_settle(journal, $0) }
    try IPCError.check(status, "SharedArray")
    if status == CIPC_OWNER_DIED.rawValue { try repair() }
  }

  /// Runs a body of which it is told when the process is killed in it.
  @inlinable func changingInPlace<R: ~Copyable>(_ body: () throws -> R) throws -> R {
    unsafe cipc_journal_mark(journal, 1)
    defer { unsafe cipc_journal_mark(journal, 0) }
    return try body()
  }
}
