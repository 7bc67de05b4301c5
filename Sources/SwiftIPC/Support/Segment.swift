// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// One typed segment of shared memory: its mapping and its descriptor, both released with the last
/// reference. Or an object of a region, which is a part of the region's segment and keeps that.
///
/// Immutable, so any thread may use it; what is synchronised in the memory is its users' business.
@safe @usableFromInline
final class Segment: @unchecked Sendable {
  // First, where its place does not depend on the others: behind them an access cost 2 ns more.
  /// The payload, behind the header. Aligned to 64 bytes; valid as long as the segment.
  @usableFromInline let address: UnsafeMutableRawPointer
  /// Of a segment of its own.
  private let handle: OpaquePointer?
  /// Of an object in a region: the region.
  let region: Segment?
  /// Bytes of payload, checked once and kept privately.
  let size: Int
  /// How many elements the header said that there are, checked against the size.
  let count: Int

  /// CIPC_SEGMENT_ANY_COUNT, a macro that Swift does not see.
  static let anyCount = UInt64.max

  /// How the segment is known by name.
  let naming: ObjectNaming

  init(handle: OpaquePointer, name: String? = nil, wasCreated: Bool = false) {
    unsafe self.handle = unsafe handle
    region = nil
    naming = unsafe ObjectNaming(
      name: name, wasCreated: wasCreated, claim: cipc_segment_claim(handle))
    unsafe address = unsafe cipc_segment_address(handle)
    size = unsafe cipc_segment_size(handle)
    // The count fits the size, which is that of a mapping.
    count = unsafe Int(clamping: cipc_segment_type(handle).count)
  }

  /// An object of a region, where a checked entry of its directory says that it is.
  init(in region: Segment, at offset: Int, size: Int, count: Int, name: String, wasCreated: Bool) {
    unsafe handle = nil
    self.region = region
    naming = ObjectNaming(
      name: name, wasCreated: wasCreated, claim: cipc_segment_claim_t(), isInRegion: true)
    unsafe address = unsafe region.address + offset
    self.size = size
    self.count = count
  }

  /// The error for a header that promises more than there is behind it.
  func misfit(_ subject: String) -> IPCError {
    IPCError(
      .segmentMismatch, context: "\(subject): segment count: \(count), and \(size) bytes for them")
  }

  // Of a slice there is nothing to close.
  deinit { unsafe cipc_segment_close(handle) }

  /// Whether this process may write there: always in typed segments.
  var isWritable: Bool { unsafe region != nil || cipc_segment_is_writable(handle) != 0 }

  /// The descriptor, which stays the segment's.
  var descriptor: Int32 {
    if let region { return region.descriptor }
    // One of both there is.
    return unsafe cipc_segment_descriptor(handle!)
  }

  /// Makes a segment, has `prepare` fill its payload, then publishes it; or finds the one that has
  /// the name wanted.
  ///
  /// - Parameters:
  ///   - size: bytes of payload; `Int.max` when they cannot be represented.
  ///   - name: what it is to be found by; `nil` for anonymous memory.
  ///   - subject: the type being made, for errors.
  ///   - prepare: gets the zeroed payload; returns a status of the C core.
  /// - Returns: the segment. Where `naming.wasCreated` says that it was found, it is of the type
  ///   wanted, and what its payload says is still to be checked.
  /// - Throws: `outOfMemory`, `invalidArgument` for a size beyond reason or a name that is none,
  ///   `resourceLimit`; with a name, what its mode says, and `segmentMismatch` for another object.
  static func make(
    _ type: cipc_segment_type_t, size: Int, name: ObjectName? = nil,
    subject: @autoclosure () -> String, prepare: (UnsafeMutableRawPointer) -> Int32
  ) throws(IPCError) -> Segment {
    if let name {
      return try unsafe make(name, as: type, size: size, subject: subject(), prepare: prepare)
    }
    var handle: OpaquePointer?
    let status = unsafe withUnsafePointer(to: type) { type in
      unsafe "swift-ipc".withCString { label in
        var options = unsafe cipc_segment_options_t()
        unsafe options.type = unsafe type
        unsafe options.label = unsafe label
        return unsafe cipc_segment_create(&handle, size, &options)
      }
    }
    guard status >= 0, let handle = unsafe handle else {
      throw IPCError(status: status, "\(subject()) of \(size) bytes")
    }
    let segment = unsafe Segment(handle: handle, wasCreated: true)
    try IPCError.check(unsafe prepare(segment.address), subject())
    try IPCError.check(unsafe cipc_segment_publish(handle, nil), subject())
    return segment
  }

  /// Opens a segment that arrived as a descriptor, which it takes over, and closes on failure.
  ///
  /// - Throws: `segmentMismatch`, whose context names the field that differs.
  static func open(
    _ descriptor: Int32, as type: cipc_segment_type_t, subject: @autoclosure () -> String
  ) throws(IPCError) -> Segment {
    try unsafe withUnsafePointer(to: type) { type throws(IPCError) in
      var options = unsafe cipc_segment_options_t()
      unsafe options.type = unsafe type
      return try unsafe open(descriptor, options, subject: subject())
    }
  }

  /// As `open(_:as:subject:)`, with the options of the C core.
  static func open(
    _ descriptor: Int32, _ options: cipc_segment_options_t, subject: @autoclosure () -> String
  ) throws(IPCError) -> Segment {
    var options = unsafe options
    var handle: OpaquePointer?
    let status = unsafe cipc_segment_open(&handle, descriptor, &options)
    guard status >= 0, let handle = unsafe handle else {
      cipc_descriptor_drop(descriptor)
      if status == -EPERM || status == -EACCES {
        throw IPCError(
          .segmentMismatch, errno: -status,
          context: "\(subject()): segment memory: cannot be written")
      }
      throw IPCError(status: status, subject())
    }
    return unsafe Segment(handle: handle)
  }
}

extension Segment {
  /// Encloses the segment in the message being written: its descriptor; of an object of a region, that
  /// of the region, and the name.
  ///
  /// - Throws: `notTransferable` when `encoder` does not write a message between processes.
  func encode(to encoder: any Encoder, as type: Any.Type) throws {
    if let region { return try encode(in: region, to: encoder, as: type) }
    let index = try encoder.descriptorOutbox(for: type).enclose(descriptor, keeping: self)
    var container = encoder.singleValueContainer()
    try container.encode(index)
  }

  /// Opens the segment that came along with the message being read.
  ///
  /// - Throws: `notTransferable`, `malformedMessage`, `segmentMismatch`.
  static func decode(
    from decoder: any Decoder, as type: Any.Type, _ expected: cipc_segment_type_t
  ) throws -> Segment {
    let inbox = try decoder.descriptorInbox(for: type)
    let index: Int
    do {
      index = try decoder.singleValueContainer().decode(Int.self)
    } catch {
      guard let place = try? RegionPlace(from: decoder) else { throw error }
      return try find(place, from: inbox, as: expected, "\(type)")
    }
    return try open(inbox.take(index), as: expected, subject: "\(type)")
  }
}
