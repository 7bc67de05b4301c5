// SPDX-License-Identifier: Apache-2.0
internal import CIPC

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
/// replacement characters. For processes that trust each other, because of the lock.
///
/// Any number of threads and processes may use it. It travels to another process as an argument of
/// a child or in a message on a `Connection`. The corresponding C type is `cipc_cell_t`.
@safe
public final class SharedString: Sendable {
  private let segment: Segment

  /// The longest text that fits, in bytes of UTF-8.
  public let capacity: Int

  /// Makes a shared text.
  ///
  /// - Parameters:
  ///   - text: what it says at first.
  ///   - capacity: the longest text that will fit, in bytes of UTF-8. The memory is twice that.
  /// - Throws: `IPCError` with `messageTooLong` when `text` does not fit, `invalidArgument` for a
  ///   negative capacity or one that cannot be represented, `outOfMemory` or `resourceLimit`.
  public init(_ text: String = "", capacity: Int) throws(IPCError) {
    guard capacity >= 0 else {
      throw IPCError(.invalidArgument, context: "SharedString: capacity \(capacity)")
    }
    let size = Self.cellSize(capacity: capacity)
    self.capacity = capacity
    try Self.check(text, capacity: capacity)
    segment = try unsafe Segment.make(
      Self.segmentType(capacity: UInt64(capacity)),
      size: Int(clamping: cipc_cell_footprint(size)), subject: "SharedString"
    ) { address in
      unsafe Self.withContent(of: text, size: size) { content in
        unsafe cipc_cell_init(
          address.assumingMemoryBound(to: cipc_cell_t.self), content.baseAddress, content.count)
      }
    }
  }

  /// Receives a text from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a `SharedString`; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    segment = try Segment.decode(
      from: decoder, as: SharedString.self, Self.segmentType(capacity: Segment.anyCount))
    capacity = segment.count
    guard cipc_cell_footprint(Self.cellSize(capacity: capacity)) == segment.size else {
      throw IPCError(status: CIPC_ESEGMENTCOUNT.rawValue, "SharedString")
    }
  }

  private static func segmentType(capacity: UInt64) -> cipc_segment_type_t {
    cipc_segment_type_t(kind: Int(CIPC_KIND_STRING), count: capacity, of: UInt8.self)
  }

  /// The text as it was last changed.
  ///
  /// Takes no lock, so it cannot fail. Inside `withLock` it is still the text from before the
  /// change. When writers overtake the reader again and again, it waits for one of them.
  /// Complexity: O(capacity).
  public var value: String {
    withExtendedLifetime(segment) {
      unsafe withContent { content in
        var deadline: Int64 = 0
        // Ends: either a writer lets go of the lock, or the sequence stands still and the reading
        // without a lock succeeds.
        while unsafe cipc_cell_read(cell, content.baseAddress, content.count, deadline) != 0 {
          deadline = Deadline.after(.milliseconds(10))
        }
        return unsafe text(of: content)
      }
    }
  }

  /// Replaces the text.
  ///
  /// Blocks while somebody else changes it. Complexity: O(capacity).
  ///
  /// - Throws: `IPCError` with `messageTooLong` when the text is more than `capacity` bytes of
  ///   UTF-8; `alreadyLocked` inside `withLock` of the same text. Nothing has changed then.
  public func store(_ text: String) throws(IPCError) {
    try Self.check(text, capacity: capacity)
    let status = withExtendedLifetime(segment) {
      unsafe Self.withContent(of: text, size: Self.cellSize(capacity: capacity)) { content in
        unsafe cipc_cell_store(cell, content.baseAddress, content.count, .max)
      }
    }
    try IPCError.check(status, "SharedString")
  }

  /// Changes the text as a whole: what the body leaves in its argument becomes the text.
  ///
  /// The body works on a copy; nobody sees it before the body has ended. Blocks while somebody
  /// else changes the text.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `messageTooLong` when what it leaves does not
  ///   fit; `alreadyLocked` inside another `withLock` of the same text. Nothing has changed then.
  public func withLock<R: ~Copyable>(_ body: (inout String) throws -> R) throws -> R {
    try withLock(until: .max, body)
  }

  /// Changes the text as a whole, if nobody else has been changing it for the whole of a time.
  ///
  /// - Parameter timeout: how long to wait; zero or less tries once.
  /// - Throws: `IPCError` with `timedOut` when others held the lock all the time; the body did not
  ///   run. Otherwise as `withLock(_:)`.
  public func withLock<R: ~Copyable>(
    timeout: Duration, _ body: (inout String) throws -> R
  ) throws -> R {
    try withLock(until: Deadline.after(timeout), body)
  }

  private func withLock<R: ~Copyable>(
    until deadline: Int64, _ body: (inout String) throws -> R
  ) throws -> R {
    try withExtendedLifetime(segment) {
      var text = ""
      let status = unsafe withContent { content in
        let status = unsafe cipc_cell_begin(cell, content.baseAddress, content.count, deadline)
        if status == 0 { text = unsafe self.text(of: content) }
        return status
      }
      try IPCError.check(status, "SharedString")
      let result: R
      do {
        result = try Self.change(&text, capacity: capacity, body)
      } catch {
        // The body's error is what the caller wants to know.
        _ = unsafe cipc_cell_cancel(cell)
        throw error
      }
      let committed = unsafe Self.withContent(
        of: text, size: Self.cellSize(capacity: capacity)
      ) { content in
        unsafe cipc_cell_commit(cell, content.baseAddress, content.count)
      }
      try IPCError.check(committed, "SharedString")
      return result
    }
  }
}

// In the cell: the length in bytes as a word of 8, then `capacity` bytes, those behind the text
// zero.
extension SharedString {
  private static let prefix = MemoryLayout<UInt64>.size

  private static func cellSize(capacity: Int) -> Int {
    let (size, overflow) = capacity.addingReportingOverflow(prefix)
    return overflow ? .max : size
  }

  private static func check(_ text: String, capacity: Int) throws(IPCError) {
    let count = text.utf8.count
    if count > capacity {
      throw IPCError(
        .messageTooLong,
        context: "SharedString: \(count) bytes of UTF-8 in a capacity of \(capacity)")
    }
  }

  private static func change<R: ~Copyable>(
    _ text: inout String, capacity: Int, _ body: (inout String) throws -> R
  ) throws -> R {
    let result = try body(&text)
    try check(text, capacity: capacity)
    return result
  }

  private var cell: UnsafeMutablePointer<cipc_cell_t> {
    unsafe segment.address.assumingMemoryBound(to: cipc_cell_t.self)
  }

  private func withContent<R>(_ body: (UnsafeMutableRawBufferPointer) -> R) -> R {
    unsafe withUnsafeTemporaryAllocation(
      byteCount: Self.cellSize(capacity: capacity), alignment: Self.prefix, body)
  }

  /// Gives `body` what the cell is to hold for a text that was checked to fit.
  private static func withContent<R>(
    of text: String, size: Int, _ body: (UnsafeMutableRawBufferPointer) -> R
  ) -> R {
    unsafe withUnsafeTemporaryAllocation(byteCount: size, alignment: prefix) { content in
      // All of it, or what was on the stack before would go to the other processes.
      unsafe content.initializeMemory(as: UInt8.self, repeating: 0)
      unsafe content.storeBytes(of: UInt64(text.utf8.count), as: UInt64.self)
      unsafe UnsafeMutableRawBufferPointer(rebasing: content[prefix...])
        .copyBytes(from: text.utf8)
      return unsafe body(content)
    }
  }

  /// The text in a private copy of the cell, whatever is in there.
  private func text(of content: UnsafeMutableRawBufferPointer) -> String {
    let claimed = unsafe content.load(as: UInt64.self)
    let count = Int(clamping: min(claimed, UInt64(capacity)))
    return unsafe String(
      decoding: content[Self.prefix..<Self.prefix + count], as: UTF8.self)
  }
}

extension SharedString: Codable {
  /// Gives the text to another process, which then shares it: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another encoder.
  public func encode(to encoder: any Encoder) throws {
    try segment.encode(to: encoder, as: SharedString.self)
  }
}
