// SPDX-License-Identifier: Apache-2.0
public import CIPC
public import MessageCoding

/// A lock that processes share: many read at a time, or one writes, and a killed one is noticed.
///
/// ```swift
/// let lock = try ReadWriteLock()
/// try await lock.withReadLock { print("together with other readers") }
/// try await lock.withWriteLock { print("alone") }
/// try await lock.withWriteLock { print("alone again") } recovering: { print("a writer was killed") }
/// ```
///
/// Neither side starves: a writer that waits holds new readers back, and a waiting reader is let
/// in before the next writer. Readers do not disturb each other: each thread marks its reading in a
/// line of memory of its own.
/// The lock survives the death of a holder or waiter, be it by a kill or by the end of
/// the thread. The share of a dead reader comes back within 250 ms. When a writer dies inside
/// `withWriteLock`, what the lock guards may be half-changed: every later reader or writer gets
/// the error `ownerDied`, until a writer comes with a repair, in `withWriteLock { } recovering: { }`.
///
/// Each form exists for synchronous code, where it blocks the thread, and with `await`, where the
/// task is suspended; that wait ends with `cancelled` when the task is cancelled.
/// - In synchronous code the lock is the thread's. A thread may read inside `withReadLock`, also
///   while a writer waits. Writing inside `withReadLock`, and reading or writing inside
///   `withWriteLock`, is the error `alreadyLocked`.
/// - Reading with `await` is the process's, since a task changes threads; the body may `await`. A task
///   that asks to write inside it waits for itself, and so does one that reads again while a writer
///   waits: do neither, or use a timeout.
/// - Writing with `await` waits without a thread and then runs the body, which is synchronous, on the
///   thread that it is on.
///
/// Any number of threads and processes may use it; as many as the lock was made for read at a time,
/// and further ones wait. It travels to another process as an argument of a child or in a message on a
/// `Connection`, and is for processes that trust each other: one that writes over the lock's bytes can
/// crash the others and make them write to memory of theirs, see `Lock`.
///
/// The corresponding C type is `cipc_rwlock_t`.
@safe
public final class ReadWriteLock: SegmentObject {
  /// The memory in which the lock lies. For the library.
  public let memory: ObjectMemory

  /// In private memory: no bytes of another process lead out of the lock.
  @usableFromInline let lines: UInt32

  /// Makes a lock that nobody holds; with a name, one that other programs find by it, or finds theirs.
  ///
  /// - Parameter readers: how many can read at a time, 1 to 32,768, the same in all programs; rounded up
  ///   to 8 times a power of two. Each costs 8 bytes, and a look of every writer.
  /// - Throws: `IPCError` with `invalidArgument` for any other number, `outOfMemory` or
  ///   `resourceLimit`; with a name, `nameExists` or `nameNotFound` as the mode says,
  ///   `segmentMismatch` when it is that of something else, or of a lock for another number of
  ///   readers, `invalidArgument` when it cannot be one. See `NamedObject`.
  public convenience init(
    readers: Int = 128, named name: String? = nil, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(readers, name: name.map { ObjectName($0, mode) })
  }

  init(_ readers: Int, name: ObjectName?) throws(IPCError) {
    let lines = try Self.lines(for: readers)
    let segment = try unsafe Segment.make(
      Self.segmentType(lines: UInt64(lines)), size: cipc_rwlock_footprint(lines), name: name,
      subject: "ReadWriteLock"
    ) { address in
      unsafe cipc_rwlock_init(address.assumingMemoryBound(to: cipc_rwlock_t.self), lines)
    }
    self.lines = try Self.lines(of: segment)
    memory = ObjectMemory(segment)
  }

  /// Receives a lock from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a ReadWriteLock; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    let segment = try Segment.decode(
      from: decoder, as: ReadWriteLock.self, Self.segmentType(lines: Segment.anyCount))
    lines = try Self.lines(of: segment)
    memory = ObjectMemory(segment)
  }

  /// How many lines there are, as the header says, and whether they all are there.
  private static func lines(of segment: Segment) throws(IPCError) -> UInt32 {
    let lines = UInt32(clamping: segment.count)
    // The footprint is SIZE_MAX for a number of lines that no lock has: -1 here.
    guard (1...segment.size).contains(cipc_rwlock_footprint(lines)) else {
      throw segment.misfit("ReadWriteLock")
    }
    return lines
  }

  /// How many can read at a time.
  public var readerCapacity: Int { Int(lines) * Int(CIPC_RWLOCK_LINE_READERS) }

  private static func lines(for readers: Int) throws(IPCError) -> UInt32 {
    let perLine = Int(CIPC_RWLOCK_LINE_READERS)
    let maximum = Int(CIPC_RWLOCK_LINES_MAXIMUM) * perLine
    guard (1...maximum).contains(readers) else {
      throw IPCError(
        .invalidArgument, context: "ReadWriteLock: \(readers) readers; 1 to \(maximum) are possible"
      )
    }
    var lines: UInt32 = 1
    while Int(lines) * perLine < readers { lines *= 2 }
    return lines
  }

  private static func segmentType(lines: UInt64) -> cipc_segment_type_t {
    cipc_rwlock_type(lines)
  }

  @inlinable var pointer: UnsafeMutablePointer<cipc_rwlock_t> {
    unsafe segment.address.assumingMemoryBound(to: cipc_rwlock_t.self)
  }

  @usableFromInline @inline(never) func failure(_ status: Int32) -> IPCError {
    IPCError(status: status, "ReadWriteLock")
  }

  /// For a holder that was told of a death.
  func ownerDied() -> IPCError {
    let casualty = unsafe cipc_rwlock_casualty(pointer)
    let who = casualty == 0 ? "a process" : "process \(casualty)"
    return IPCError(
      .ownerDied,
      context: "\(who) died while it wrote; withWriteLock { } recovering: { } repairs")
  }

}
