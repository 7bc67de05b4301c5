// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// Bytes that processes share, up to a capacity fixed when they are made; changed whole or not at all.
///
/// ```swift
/// let frame = try SharedBytes(capacity: 1024)
/// try frame.store([1, 2, 3])
/// try frame.update { $0.append(4) }
/// print(frame.value, frame.count)
/// ```
///
/// A process killed during a change has changed nothing, and a reader never sees a part of a
/// change. For processes that trust each other, because of the lock: a process that writes over its
/// bytes can make the others write to memory of theirs, see `Lock`. For bytes that are changed in
/// place, there are `SharedArray<UInt8>` and `SharedMemory`.
///
/// Any number of threads and processes may use it. It travels to another process as an argument of
/// a child or in a message on a `Connection`. The corresponding C type is `cipc_bytes_t`.
@safe
public final class SharedBytes: SegmentObject {
  /// The memory in which the bytes lie. For the library.
  public var memory: ObjectMemory { ObjectMemory(storage.segment) }
  private let storage: SharedBytesStorage

  /// Makes shared bytes; with a name, some that other programs find by it, or finds theirs.
  ///
  /// - Parameters:
  ///   - bytes: what they are at first, where they are made.
  ///   - capacity: the most bytes that will fit; what is found has the same. The memory is twice that.
  /// - Throws: `IPCError` with `capacityExceeded` when `bytes` do not fit, `invalidArgument` for a
  ///   negative capacity or one that cannot be represented, `outOfMemory` or `resourceLimit`; with a
  ///   name, `nameExists` or `nameNotFound` as the mode says, `segmentMismatch` when it is that of
  ///   something else than `SharedBytes` of this capacity, `invalidArgument` when it cannot be one.
  ///   See `NamedObject`.
  public convenience init(
    _ bytes: some Sequence<UInt8> = [], capacity: Int, named name: String? = nil,
    _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(bytes, capacity: capacity, name: name.map { ObjectName($0, mode) })
  }

  /// Finds shared bytes by their name, of whatever capacity.
  ///
  /// - Throws: `IPCError` with `nameNotFound`, or otherwise as `init(_:capacity:named:_:)`.
  public convenience init(named name: String) throws(IPCError) {
    try self.init(finding: ObjectName(name, .open))
  }

  init(finding name: ObjectName) throws(IPCError) {
    storage = try SharedBytesStorage(
      finding: name, kind: Int(CIPC_KIND_BYTES), subject: "SharedBytes")
  }

  init(
    _ bytes: some Sequence<UInt8>, capacity: Int, name: ObjectName?
  ) throws(IPCError) {
    storage = try unsafe Self.withBytes(of: bytes) { (bytes) throws(IPCError) in
      try unsafe SharedBytesStorage(
        kind: Int(CIPC_KIND_BYTES), bytes, capacity: capacity, name: name, subject: "SharedBytes")
    }
  }

  /// Receives bytes from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not `SharedBytes`; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    storage = try SharedBytesStorage(
      from: decoder, as: SharedBytes.self, kind: Int(CIPC_KIND_BYTES), subject: "SharedBytes")
  }

  /// The most bytes that fit.
  public var capacity: Int { storage.capacity }

  /// How many bytes there are now.
  public var count: Int { storage.count }

  /// The bytes as they were last changed.
  ///
  /// Takes no lock, so it cannot fail. Inside `update` they are still those from before the change.
  /// When writers overtake the reader again and again, it waits for one of them.
  /// Complexity: O(`count`).
  public var value: [UInt8] {
    storage.reading { room in
      var missing: Int?
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, initialized in
        let count = unsafe storage.read(into: UnsafeMutableRawBufferPointer(buffer))
        if count <= buffer.count { initialized = count } else { missing = count }
      }
      return (bytes, missing)
    }
  }

  /// Gives the bytes as they were last changed to a closure: a copy that does not change meanwhile.
  ///
  /// As `value`, for code that reads from a span.
  public func withBytes<R: ~Copyable, E: Error>(
    _ body: (RawSpan) throws(E) -> R
  ) throws(E) -> R {
    let copy = value
    // The bytes of bytes: without padding.
    return try unsafe body(copy.span.bytes)
  }

  /// Replaces the bytes.
  ///
  /// Blocks while another caller changes them. Complexity: O(the number of bytes).
  ///
  /// - Throws: `IPCError` with `capacityExceeded` when there are more than `capacity`;
  ///   `alreadyLocked` inside `update` of the same bytes. Nothing has changed then.
  public func store(_ bytes: some Sequence<UInt8>) throws(IPCError) {
    try unsafe Self.withBytes(of: bytes) { (bytes) throws(IPCError) in
      try unsafe storage.store(bytes)
    }
  }

  /// Replaces the bytes by those of a span. As `store(_:)` with a sequence.
  public func store(_ bytes: RawSpan) throws(IPCError) {
    let result = unsafe bytes.withUnsafeBytes { bytes in
      Result { () throws(IPCError) in try unsafe storage.store(bytes) }
    }
    try result.get()
  }

  /// Changes the bytes as a whole: what the body leaves in its argument becomes the bytes.
  ///
  /// The body works on a copy; nobody sees it before the body has ended. Blocks while another
  /// caller changes the bytes.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `capacityExceeded` when what it leaves does
  ///   not fit; `alreadyLocked` inside another `update` of the same bytes;
  ///   `timedOut` when others held the lock all the time, and the body did not run. Nothing has
  ///   changed then.
  public func update<R: ~Copyable>(
    timeout: Duration? = nil, _ body: (inout [UInt8]) throws -> R
  ) throws -> R {
    try update(until: Deadline.after(timeout), body)
  }

  private func update<R: ~Copyable>(
    until deadline: Int64, _ body: (inout [UInt8]) throws -> R
  ) throws -> R {
    try unsafe storage.update(
      until: deadline, parse: { unsafe [UInt8]($0) },
      withBytes: { bytes, body in try unsafe bytes.withUnsafeBytes { try unsafe body($0) } }, body)
  }

  private static func withBytes<R>(
    of bytes: some Sequence<UInt8>, _ body: (UnsafeRawBufferPointer) throws(IPCError) -> R
  ) throws(IPCError) -> R {
    let bytes = ContiguousArray(bytes)
    let result = unsafe bytes.withUnsafeBytes { bytes in
      Result { () throws(IPCError) in try unsafe body(bytes) }
    }
    return try result.get()
  }
}
