// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// A text that processes share, up to a length fixed when it is made; changed whole or not at all.
///
/// ```swift
/// let status = try SharedString("starting", capacity: 64)
/// try status.store("ready")
/// try status.withLock { $0 += " since noon" }
/// print(status.value)
/// ```
///
/// A process killed during a change has changed nothing, and a reader never sees a part of a
/// change. The bytes are UTF-8; where another process wrote something that is not, the reader gets
/// replacement characters. For processes that trust each other, because of the lock: a process that
/// writes over its bytes can make the others write to memory of theirs, see `Lock`.
///
/// Any number of threads and processes may use it. It travels to another process as an argument of
/// a child or in a message on a `Connection`. The corresponding C type is `cipc_bytes_t`.
@safe
public final class SharedString: SegmentObject {
  /// The memory in which the text lies. For the library.
  public var memory: ObjectMemory { ObjectMemory(storage.segment) }
  private let storage: SharedBytesStorage

  /// Makes a shared text; with a name, one that other programs find by it, or finds theirs.
  ///
  /// - Parameters:
  ///   - text: what it says at first, where it is made.
  ///   - capacity: the longest text that will fit, in bytes of UTF-8; what is found has the same. The
  ///     memory is twice that.
  /// - Throws: `IPCError` with `capacityExceeded` when `text` does not fit, `invalidArgument` for a
  ///   negative capacity or one that cannot be represented, `outOfMemory` or `resourceLimit`; with a
  ///   name, `nameExists` or `nameNotFound` as the mode says, `segmentMismatch` when it is that of
  ///   something else than a `SharedString` of this capacity, `invalidArgument` when it cannot be one.
  ///   See `NamedObject`.
  public convenience init(
    _ text: String = "", capacity: Int, named name: String? = nil,
    _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(text, capacity: capacity, name: name.map { ObjectName($0, mode) })
  }

  /// Finds a shared text by its name, of whatever capacity.
  ///
  /// - Throws: `IPCError` with `nameNotFound`, or otherwise as `init(_:capacity:named:_:)`.
  public convenience init(named name: String) throws(IPCError) {
    try self.init(finding: ObjectName(name, .open))
  }

  init(finding name: ObjectName) throws(IPCError) {
    storage = try SharedBytesStorage(
      finding: name, kind: Int(CIPC_KIND_STRING), unit: "bytes of UTF-8", subject: "SharedString")
  }

  init(_ text: String, capacity: Int, name: ObjectName?) throws(IPCError) {
    storage = try unsafe Self.withUTF8(of: text) { (utf8) throws(IPCError) in
      try unsafe SharedBytesStorage(
        kind: Int(CIPC_KIND_STRING), utf8, capacity: capacity, name: name,
        subject: "SharedString", unit: "bytes of UTF-8")
    }
  }

  /// Receives a text from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a `SharedString`; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    storage = try SharedBytesStorage(
      from: decoder, as: SharedString.self, kind: Int(CIPC_KIND_STRING), unit: "bytes of UTF-8",
      subject: "SharedString")
  }

  /// The longest text that fits, in bytes of UTF-8.
  public var capacity: Int { storage.capacity }

  /// The text as it was last changed.
  ///
  /// Takes no lock, so it cannot fail. Inside `withLock` it is still the text from before the
  /// change. When writers overtake the reader again and again, it waits for one of them.
  /// Complexity: O(the length of the text).
  public var value: String {
    storage.reading { room in
      var missing: Int?
      let text = unsafe String(unsafeUninitializedCapacity: room) { buffer in
        let count = unsafe storage.read(into: UnsafeMutableRawBufferPointer(buffer))
        if count <= buffer.count { return count }
        missing = count
        return 0
      }
      return (text, missing)
    }
  }

  /// Replaces the text.
  ///
  /// Blocks while another caller changes it. Complexity: O(the length of the text).
  ///
  /// - Throws: `IPCError` with `capacityExceeded` when the text is more than `capacity` bytes of
  ///   UTF-8; `alreadyLocked` inside `withLock` of the same text. Nothing has changed then.
  public func store(_ text: String) throws(IPCError) {
    try unsafe Self.withUTF8(of: text) { (utf8) throws(IPCError) in
      try unsafe storage.store(utf8)
    }
  }

  /// Changes the text as a whole: what the body leaves in its argument becomes the text.
  ///
  /// The body works on a copy; nobody sees it before the body has ended. Blocks while another
  /// caller changes the text.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `capacityExceeded` when what it leaves does
  ///   not fit; `alreadyLocked` inside another `withLock` of the same text;
  ///   `timedOut` when others held the lock all the time, and the body did not run. Nothing has
  ///   changed then.
  public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: (inout String) throws -> R
  ) throws -> R {
    try withLock(until: Deadline.after(timeout), body)
  }

  private func withLock<R: ~Copyable>(
    until deadline: Int64, _ body: (inout String) throws -> R
  ) throws -> R {
    try unsafe storage.update(
      until: deadline, parse: { unsafe String(copying: $0) },
      withBytes: { text, body in
        try text.withUTF8 { try unsafe body(UnsafeRawBufferPointer($0)) }
      }, body)
  }

  private static func withUTF8<R>(
    of text: String, _ body: (UnsafeRawBufferPointer) throws(IPCError) -> R
  ) throws(IPCError) -> R {
    var text = text
    let result = text.withUTF8 { utf8 in
      Result { () throws(IPCError) in try unsafe body(UnsafeRawBufferPointer(utf8)) }
    }
    return try result.get()
  }
}
