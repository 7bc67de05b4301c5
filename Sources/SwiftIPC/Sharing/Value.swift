// SPDX-License-Identifier: Apache-2.0
public import CIPC
public import MessageCoding

/// One value that processes share: read without a lock, changed as a whole or not at all.
///
/// ```swift
/// let number = try Value(0.0)
/// try number.store(3.1415927)
/// try number.withLock { $0 += 1 }
/// print(number.value)
/// ```
///
/// A process killed during a change has changed nothing: the last value stands, and no process needs to
/// repair anything. A reader never sees a part of a change. For a counter that several processes
/// add to, `SharedAtomic` is faster.
///
/// The value is made of its bytes. `BitwiseCopyable` lets some types through whose bytes mean
/// nothing in another process: `Unmanaged`, `StaticString`, `ObjectIdentifier`, metatypes and C
/// function pointers. Do not share these.
///
/// For processes that trust each other: a process that writes over the lock's bytes can crash the
/// others and make them write to memory of theirs, see `Lock`, and one that writes over the value can
/// leave a bit pattern that its type does not have (`Bool`, enums and optionals have such patterns),
/// which is undefined behaviour where it is read. Send data over a `Connection` to processes that you
/// do not trust, and `SharedAtomic` numbers, which have no lock.
///
/// Any number of threads and processes may use it. It travels to another process as an argument of
/// a child or in a message on a `Connection`. The corresponding C type is `cipc_cell_t`.
@safe
public final class Value<T: BitwiseCopyable & Sendable>: SegmentObject {
  /// The memory in which the value lies. For the library.
  public let memory: ObjectMemory

  /// Makes a shared value; with a name, one that other programs find by it, or finds theirs.
  ///
  /// - Parameter value: what it is at first, where it is made.
  /// - Throws: `IPCError` with `outOfMemory` or `resourceLimit`; with a name, `nameExists` or
  ///   `nameNotFound` as the mode says, `segmentMismatch` when it is that of something else than
  ///   a `Value` of this type, `invalidArgument` when it cannot be one. See `NamedObject`.
  public convenience init(
    _ value: T, named name: String? = nil, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(value, name: name.map { ObjectName($0, mode) })
  }

  init(_ value: T, name: ObjectName?) throws(IPCError) {
    memory = ObjectMemory(try Self.makeSegment(value, name: name))
  }

  /// Finds a shared value by its name.
  ///
  /// - Throws: `IPCError` with `nameNotFound`, or otherwise as `init(_:named:_:)`.
  public init(named name: String) throws(IPCError) {
    let segment = try Segment.open(
      ObjectName(name, .open), as: Self.segmentType, subject: "\(Value.self)")
    try Self.check(segment)
    memory = ObjectMemory(segment)
  }

  /// Receives a value from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a `Value` of this type; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    let segment = try Segment.decode(from: decoder, as: Value.self, Self.segmentType)
    try Self.check(segment)
    memory = ObjectMemory(segment)
  }

  private static func makeSegment(_ value: T, name: ObjectName?) throws(IPCError) -> Segment {
    let size = MemoryLayout<T>.size
    let segment = try unsafe Segment.make(
      segmentType, size: Int(clamping: cipc_cell_footprint(size)), name: name,
      subject: "\(Value.self)"
    ) { address in
      unsafe withUnsafePointer(to: value) { value in
        unsafe cipc_cell_init(address.assumingMemoryBound(to: cipc_cell_t.self), value, size)
      }
    }
    try check(segment)
    return segment
  }

  /// The header has been checked with an element in mind, not with what is around it.
  private static func check(_ segment: Segment) throws(IPCError) {
    guard cipc_cell_footprint(MemoryLayout<T>.size) <= segment.size else {
      throw segment.misfit("\(Value.self)")
    }
  }

  private static var segmentType: cipc_segment_type_t {
    var element = cipc_element_t(of: T.self)
    return unsafe cipc_cell_type(&element)
  }

  @inlinable var cell: UnsafeMutablePointer<cipc_cell_t> {
    unsafe segment.address.assumingMemoryBound(to: cipc_cell_t.self)
  }

  /// The value as it was last changed.
  ///
  /// Takes no lock, so it cannot fail. Inside `withLock` it is still the value from before the
  /// change. When writers overtake the reader again and again, it waits for one of them.
  @inlinable public var value: T {
    withExtendedLifetime(segment) {
      unsafe withUnsafeTemporaryAllocation(of: T.self, capacity: 1) { copy in
        // Of capacity 1, so there is a base address. It goes to inlined functions alone, so that
        // a small value stays in registers.
        let copied = copy.baseAddress!
        if unsafe cipc_cell_try_read(cell, copied, MemoryLayout<T>.size) != 0 {
          return unsafe copied.pointee
        }
        return overtakenValue()
      }
    }
  }

  // Ends: either a writer lets go of the lock, or the sequence stands still and the reading without
  // a lock succeeds.
  @usableFromInline @inline(never) func overtakenValue() -> T {
    unsafe withUnsafeTemporaryAllocation(of: T.self, capacity: 1) { copy in
      let copied = copy.baseAddress!
      var deadline: Int64 = 0
      while unsafe cipc_cell_read(cell, copied, MemoryLayout<T>.size, deadline) != 0 {
        deadline = Deadline.after(.milliseconds(10))
      }
      return unsafe copied.pointee
    }
  }

  /// Replaces the value.
  ///
  /// Blocks while another caller changes it.
  ///
  /// - Throws: `IPCError` with `alreadyLocked` inside `withLock` of the same value.
  @inlinable public func store(_ value: T) throws(IPCError) {
    let status = withExtendedLifetime(segment) {
      unsafe withUnsafePointer(to: value) { value in
        unsafe cipc_cell_store(cell, value, MemoryLayout<T>.size, .max)
      }
    }
    if status != 0 { throw failure(status) }
  }

  /// Changes the value as a whole: what the body leaves in its argument becomes the value.
  ///
  /// The body works on a copy; nobody sees it before the body has ended. Blocks while another
  /// caller changes the value.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws: then nothing has changed; `IPCError` with `alreadyLocked`
  ///   inside another `withLock` of the same value; `timedOut` when others held the lock all the
  ///   time; the body did not run.
  @inlinable public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: (inout T) throws -> R
  ) throws -> R {
    try withLock(until: Deadline.after(timeout), body)
  }

  @inlinable func withLock<R: ~Copyable>(
    until deadline: Int64, _ body: (inout T) throws -> R
  ) throws -> R {
    try withExtendedLifetime(segment) {
      try unsafe withUnsafeTemporaryAllocation(of: T.self, capacity: 1) { copy in
        // Of capacity 1, so there is a base address.
        let copied = copy.baseAddress!
        let status = unsafe cipc_cell_begin(cell, copied, MemoryLayout<T>.size, deadline)
        if status != 0 { throw failure(status) }
        let result: R
        do {
          result = try unsafe body(&copied.pointee)
        } catch {
          // The body's error is what the caller wants to know.
          _ = unsafe cipc_cell_cancel(cell)
          throw error
        }
        let committed = unsafe cipc_cell_commit(cell, copied, MemoryLayout<T>.size)
        if committed != 0 { throw failure(committed) }
        return result
      }
    }
  }

  @usableFromInline @inline(never) func failure(_ status: Int32) -> IPCError {
    IPCError(status: status, "\(Value.self)")
  }
}
