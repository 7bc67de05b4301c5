// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

/// A lock that processes share and that its owner may take again.
///
/// ```swift
/// let lock = try RecursiveLock()
/// try lock.withLock {
///   try lock.withLock { print("the same thread, twice") }
/// }
/// ```
///
/// The lock survives the death of its owner. When a process is killed inside `withLock`, or the
/// thread that holds the lock ends, what the lock guards may be half-changed: the next owner gets
/// the error `ownerDied`, and so does each one after it, until one comes with a repair, in
/// `withLock { } recovering: { }`.
///
/// It is released when the outermost `withLock` ends. Inside `recovering:` the lock is still to be
/// repaired, so taking it again there says `ownerDied`.
///
/// All forms block the calling thread, also in asynchronous code: there, keep what you do inside
/// short. Any number of threads and processes may use it. It travels to another process
/// as an argument of a child or in a message on a `Connection`, and is for processes that trust
/// each other: a process that writes over the lock's bytes can crash the others and make them write
/// to memory of theirs, see `Lock`.
///
/// The corresponding C type is `cipc_mutex_t`.
@safe
public final class RecursiveLock: Lockable {
  /// The memory in which the lock lies. For the library.
  public let memory: ObjectMemory

  /// Makes a lock that nobody holds; with a name, one that other programs find by it, or finds theirs.
  ///
  /// - Throws: `IPCError` with `outOfMemory` or `resourceLimit`; with a name, `nameExists` or
  ///   `nameNotFound` as the mode says, `segmentMismatch` when it is that of something else than
  ///   a RecursiveLock, `invalidArgument` when it cannot be one. See `NamedObject`.
  public convenience init(
    named name: String? = nil, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(name: name.map { ObjectName($0, mode) })
  }

  init(name: ObjectName?) throws(IPCError) {
    memory = ObjectMemory(
      try RobustMutex.segment(recursive: true, name: name, subject: "RecursiveLock"))
  }

  /// Receives a lock from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a RecursiveLock; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    memory = ObjectMemory(
      try Segment.decode(
        from: decoder, as: RecursiveLock.self, RobustMutex.segmentType(recursive: true)))
  }
}
