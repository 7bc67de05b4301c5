// SPDX-License-Identifier: Apache-2.0
public import CIPC
internal import MessageCoding

/// The memory of a `SharedArray`, whatever its elements, with private copies of what its shared
/// bytes say: an array of the C core, see cipc/array.h.
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
    making element: cipc_element_t, shape: [Int], transactional: Bool, name: ObjectName?,
    subject: String, fill: (UnsafeMutableRawPointer) -> Void
  ) throws(IPCError) {
    guard element.alignment <= 4096 else {
      throw IPCError(.unsupported, context: "\(subject): elements aligned to more than a page")
    }
    var element = element
    let extents = shape.map { UInt64($0) }
    let rank = UInt64(extents.count)
    // What C has as its largest size is negative here.
    let footprint = unsafe cipc_array_footprint(&element, rank, extents, transactional ? 1 : 0)
    let type = unsafe cipc_array_type(&element, cipc_array_count(rank, extents))
    let segment = try unsafe Segment.make(
      type, size: footprint < 0 ? .max : footprint, name: name, subject: subject
    ) { address in
      var array = unsafe cipc_array_t()
      let status = unsafe cipc_array_format(
        &array, address, footprint, &element, rank, extents, transactional ? 1 : 0)
      if status == 0 { unsafe fill(array.elements) }
      return status
    }
    try self.init(checking: segment, of: element, subject: subject)
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
  init(checking segment: Segment, of element: cipc_element_t, subject: String) throws(IPCError) {
    var element = element
    var type = unsafe cipc_array_type(&element, UInt64(segment.count))
    var array = unsafe cipc_array_t()
    try IPCError.check(
      unsafe cipc_array_view(&array, segment.address, segment.size, &type), subject)
    self.segment = segment
    count = segment.count
    // A shape with an extent of 0 may have others that are beyond all memory.
    shape = unsafe withUnsafeBytes(of: &array.shape) { extents in
      unsafe extents.bindMemory(to: UInt64.self).prefix(Int(array.rank)).map { Int(clamping: $0) }
    }
    unsafe elements = unsafe array.elements
    unsafe redo = unsafe array.area.redo
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
