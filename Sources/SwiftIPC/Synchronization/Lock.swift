// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

/// A lock that processes share, and that says so when its owner was killed.
///
/// ```swift
/// let lock = try Lock()
/// try lock.withLock { print("one process at a time") }
/// try lock.withLock { print("and again") } recovering: { print("somebody was killed in here") }
/// ```
///
/// The lock survives the death of its owner. When a process is killed inside `withLock`, or the
/// thread that holds the lock ends, what the lock guards may be half-changed: the next owner gets
/// the error `ownerDied`, and so does each one after it, until one comes with a repair, in
/// `withLock { } recovering: { }`.
///
/// A thread that takes the lock again inside `withLock` gets the error `alreadyLocked` instead of
/// waiting for itself; see `RecursiveLock`.
///
/// All forms block the calling thread, also in asynchronous code: there, keep what you do inside
/// short. Any number of threads and processes may use it. It travels to another process
/// as an argument of a child or in a message on a `Connection`, and is for processes that trust
/// each other.
///
/// **Trust.** The C library keeps the locks that a thread holds in a list, so that the kernel can free
/// them when the thread dies, and the list's pointers lie in the shared bytes. A process that has the
/// lock can write other pointers there, and then a process that takes or releases it writes where
/// they lead: into memory of its own that was never shared. That is more than a crash; it may be
/// enough to run code there. It holds for all shared objects with a lock in them: `Lock`,
/// `RecursiveLock`, `Condition`, `ReadWriteLock`, `Barrier`, `Value`, `SharedArray`,
/// `SharedString`, `SharedBytes`, `SharedRegion` and `Queue`. So neither give one to a process that
/// you do not trust, nor receive one from it: over a connection to such a process receive
/// `MessageValue` or types without shared objects, since one is opened only where the type that is
/// received has it. `SharedAtomic`, `Event`, `SharedSemaphore` and `SharedMemory` have no such
/// list.
///
/// The corresponding C type is `cipc_mutex_t`.
@safe
public final class Lock: Lockable {
  /// The memory in which the lock lies. For the library.
  public let memory: ObjectMemory

  /// Makes a lock that nobody holds; with a name, one that other programs find by it, or finds theirs.
  ///
  /// - Throws: `IPCError` with `outOfMemory` or `resourceLimit`; with a name, `nameExists` or
  ///   `nameNotFound` as the mode says, `segmentMismatch` when it is that of something else than
  ///   a Lock, `invalidArgument` when it cannot be one. See `NamedObject`.
  public convenience init(
    named name: String? = nil, _ mode: NameMode = .openOrCreate
  ) throws(IPCError) {
    try self.init(name: name.map { ObjectName($0, mode) })
  }

  init(name: ObjectName?) throws(IPCError) {
    memory = ObjectMemory(
      try RobustMutex.segment(recursive: false, name: name, subject: "Lock"))
  }

  /// Receives a lock from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a Lock; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    memory = ObjectMemory(
      try Segment.decode(
        from: decoder, as: Lock.self, RobustMutex.segmentType(recursive: false)))
  }
}
