// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// Bytes of any length up to a capacity in a segment: what `SharedString` and `SharedBytes` are made
/// of.
@safe
struct SharedBytesStorage: Sendable {
  let segment: Segment
  /// A private copy, checked against the segment's size.
  let capacity: Int
  /// The type for errors, and its unit.
  private let subject: StaticString
  private let unit: StaticString

  /// Makes bytes of a first content, or finds those of a name, with this capacity.
  ///
  /// - Throws: `capacityExceeded`, `invalidArgument` for a capacity that is negative or cannot be
  ///   represented, `outOfMemory`, `resourceLimit`; for a name as `Segment.make`.
  init(
    kind: Int, _ content: UnsafeRawBufferPointer, capacity: Int, name: ObjectName? = nil,
    subject: StaticString, unit: StaticString = "bytes"
  ) throws(IPCError) {
    guard capacity >= 0 else {
      throw IPCError(.invalidArgument, context: "\(subject): capacity \(capacity)")
    }
    self.capacity = capacity
    self.subject = subject
    self.unit = unit
    try Self.check(content.count, capacity, subject, unit)
    segment = try unsafe Segment.make(
      Self.type(kind, UInt64(capacity)),
      size: Int(clamping: cipc_bytes_footprint(capacity)), name: name, subject: "\(subject)"
    ) { address in
      unsafe cipc_bytes_init(
        address.assumingMemoryBound(to: cipc_bytes_t.self), capacity, content.baseAddress,
        content.count)
    }
    try Self.check(segment, subject)
  }

  /// Finds bytes by their name, of whatever capacity.
  ///
  /// - Throws: `nameNotFound`, `segmentMismatch`.
  init(
    finding name: ObjectName, kind: Int, unit: StaticString = "bytes", subject: StaticString
  ) throws(IPCError) {
    segment = try Segment.open(
      name,
      as: Self.type(kind, Segment.anyCount),
      subject: "\(subject)")
    capacity = segment.count
    self.subject = subject
    self.unit = unit
    try Self.check(segment, subject)
  }

  /// Takes bytes that came along with the message being read.
  ///
  /// - Throws: `notTransferable`, `malformedMessage`, `segmentMismatch`.
  init(
    from decoder: any Decoder, as type: Any.Type, kind: Int, unit: StaticString = "bytes",
    subject: StaticString
  ) throws {
    segment = try Segment.decode(
      from: decoder, as: type,
      Self.type(kind, Segment.anyCount))
    capacity = segment.count
    self.subject = subject
    self.unit = unit
    try Self.check(segment, subject)
  }

  private static func type(_ kind: Int, _ capacity: UInt64) -> cipc_segment_type_t {
    kind == CIPC_KIND_STRING ? cipc_string_type(capacity) : cipc_bytes_type(capacity)
  }

  private static func check(_ segment: Segment, _ subject: StaticString) throws(IPCError) {
    guard cipc_bytes_footprint(segment.count) == segment.size else {
      throw segment.misfit("\(subject)")
    }
  }

  private var bytes: UnsafeMutablePointer<cipc_bytes_t> {
    unsafe segment.address.assumingMemoryBound(to: cipc_bytes_t.self)
  }

  /// How many bytes there are.
  var count: Int { unsafe read(into: UnsafeMutableRawBufferPointer(start: nil, count: 0)) }

  /// Copies the bytes if they fit. Takes no lock and cannot fail.
  ///
  /// - Returns: how many there are.
  func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    withExtendedLifetime(segment) {
      var count = 0
      var deadline: Int64 = 0
      while true {
        let status = unsafe cipc_bytes_read(
          bytes, capacity, buffer.baseAddress, buffer.count, &count, deadline)
        // Ends: either a writer lets go of the lock, or the sequence stands still and the reading
        // without a lock succeeds.
        if status == 0 || status == CIPC_EMSGSIZE.rawValue { return count }
        deadline = Deadline.after(.milliseconds(10))
      }
    }
  }

  /// Has `attempt` read with ever more room until the bytes fit, which is as much as they say that
  /// they are, and not as much as the capacity.
  ///
  /// - Parameter attempt: gets the room that it is to offer; returns what it read, and how many
  ///   bytes there are when they did not fit.
  func reading<Content>(_ attempt: (_ room: Int) -> (Content, missing: Int?)) -> Content {
    var room = min(capacity, 256)
    while true {
      let (content, missing) = attempt(room)
      guard let missing else { return content }
      room = min(capacity, missing + missing / 4)
    }
  }

  /// Replaces the bytes. Blocks while another caller changes them.
  ///
  /// - Throws: `capacityExceeded`, `alreadyLocked`.
  func store(_ content: UnsafeRawBufferPointer) throws(IPCError) {
    try Self.check(content.count, capacity, subject, unit)
    let status = withExtendedLifetime(segment) {
      unsafe cipc_bytes_store(bytes, capacity, content.baseAddress, content.count, .max)
    }
    try IPCError.check(status, "\(subject)")
  }

  /// Has `body` change what `parse` made of the bytes, and commits what `withBytes` gives of it.
  ///
  /// - Throws: what the body throws, `capacityExceeded`, `alreadyLocked`, `timedOut`. Nothing has
  ///   changed then.
  func update<Content, R: ~Copyable>(
    until deadline: Int64, parse: (UnsafeRawBufferPointer) -> Content,
    withBytes: (inout Content, (UnsafeRawBufferPointer) throws -> Void) throws -> Void,
    _ body: (inout Content) throws -> R
  ) throws -> R {
    try withExtendedLifetime(segment) {
      var current: UnsafeRawPointer?
      var count = 0
      try IPCError.check(
        unsafe cipc_bytes_begin(bytes, capacity, &current, &count, deadline), "\(subject)")
      do {
        var content = unsafe parse(UnsafeRawBufferPointer(start: current, count: count))
        let result = try body(&content)
        try unsafe withBytes(&content) { content in
          try Self.check(content.count, capacity, subject, unit)
          try IPCError.check(
            unsafe cipc_bytes_commit(bytes, capacity, content.baseAddress, content.count),
            "\(subject)")
        }
        return result
      } catch {
        // The first error is what the caller wants to know.
        _ = unsafe cipc_bytes_cancel(bytes)
        throw error
      }
    }
  }

  private static func check(
    _ count: Int, _ capacity: Int, _ subject: StaticString, _ unit: StaticString
  ) throws(IPCError) {
    if count > capacity {
      throw IPCError(
        .capacityExceeded,
        context: "\(subject): \(count) \(unit) in a capacity of \(capacity)")
    }
  }
}
