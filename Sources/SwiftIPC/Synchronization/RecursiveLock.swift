// SPDX-License-Identifier: Apache-2.0

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
public final class RecursiveLock: Sendable {
  @usableFromInline let segment: Segment

  /// Makes a lock that nobody holds.
  ///
  /// - Throws: `IPCError` with `outOfMemory` or `resourceLimit`.
  public init() throws(IPCError) {
    segment = try RobustMutex.segment(recursive: true, subject: "RecursiveLock")
  }

  /// Makes a lock that other programs find by its name, or finds it.
  ///
  /// - Throws: `IPCError` with `nameExists` or `nameNotFound` as the mode says, `segmentMismatch` when
  ///   the name is that of something else than a RecursiveLock, `invalidArgument` when it cannot be one;
  ///   `outOfMemory` or `resourceLimit`. See `NamedObject`.
  public init(named name: String, _ mode: NameMode = .openOrCreate) throws(IPCError) {
    segment = try RobustMutex.segment(
      recursive: true, name: ObjectName(name, mode), subject: "RecursiveLock")
  }

  init(name: ObjectName) throws(IPCError) {
    segment = try RobustMutex.segment(recursive: true, name: name, subject: "RecursiveLock")
  }

  /// Receives a lock from another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another decoder, `segmentMismatch` when what
  ///   came is not a RecursiveLock; the context names the field that differs.
  public init(from decoder: any Decoder) throws {
    segment = try Segment.decode(
      from: decoder, as: RecursiveLock.self, RobustMutex.segmentType(recursive: true))
  }

  /// Takes the lock, runs the body and releases the lock.
  ///
  /// Blocks until the lock is free.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `ownerDied` when an owner died and nobody has
  ///   repaired yet: the body did not run, and the next caller is told as well; `resourceLimit`
  ///   when it is held too often; `timedOut` when the lock was held all the time; the body did not
  ///   run.
  @inlinable public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () throws -> R
  ) throws -> R {
    try withExtendedLifetime(segment) {
      try RobustMutex(segment).withLock(until: Deadline.after(timeout), body)
    }
  }

  /// Takes the lock, repairs what a dead owner left behind if there is one, and runs the body.
  ///
  /// `repair` runs under the lock, and only when an owner died. If it throws, or is itself
  /// killed, the next owner is told again. Blocks until the lock is free.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what `repair` or the body throws; `IPCError` with `resourceLimit` when the lock is
  ///   held too often; `timedOut` when the lock was held all the time.
  @inlinable public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R {
    try withExtendedLifetime(segment) {
      try RobustMutex(segment).withLock(
        until: Deadline.after(timeout), body, recovering: repair)
    }
  }

  /// Runs the body under the lock if the lock is free right now.
  ///
  /// Does not block.
  ///
  /// - Returns: what the body returns, or `nil` when somebody else holds the lock.
  /// - Throws: as `withLock(timeout:_:)`.
  @inlinable public func withLockIfAvailable<R: ~Copyable>(
    _ body: () throws -> R
  ) throws -> R? {
    try withExtendedLifetime(segment) {
      try RobustMutex(segment).withLockIfAvailable(body)
    }
  }

  /// Runs the body under the lock if the lock is free right now, after a repair if an owner died.
  ///
  /// Does not block.
  ///
  /// - Returns: what the body returns, or `nil` when somebody else holds the lock.
  /// - Throws: as `withLock(timeout:_:recovering:)`.
  @inlinable public func withLockIfAvailable<R: ~Copyable>(
    _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R? {
    try withExtendedLifetime(segment) {
      try RobustMutex(segment).withLockIfAvailable(body, recovering: repair)
    }
  }
}

extension RecursiveLock: NamedObject {
  /// How the lock is known by name. For the library.
  public var naming: ObjectNaming { segment.naming }
}

extension RecursiveLock: Codable {
  /// Gives the lock to another process: works inside a message alone.
  ///
  /// - Throws: `IPCError` with `notTransferable` for another encoder.
  public func encode(to encoder: any Encoder) throws {
    try segment.encode(to: encoder, as: RecursiveLock.self)
  }
}
