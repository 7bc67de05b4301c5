// SPDX-License-Identifier: Apache-2.0

/// A lock of its own in shared memory: a `Lock` or a `RecursiveLock`.
///
/// All forms block the calling thread, also in asynchronous code: there, keep what you do inside
/// short. Any number of threads and processes may use a lock.
//
// Of classes alone: otherwise the optimiser counts a reference around each lock, which costs 10 ns.
public protocol Lockable: AnyObject, SegmentObject {}

extension Lockable {
  /// Takes the lock, runs the body and releases the lock.
  ///
  /// Blocks until the lock is free, or the time is over.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws. Where the body did not run, `IPCError` with `ownerDied` when
  ///   an owner died and no later owner has repaired it yet, which the next caller is told as well;
  ///   `timedOut` when the lock was held all the time; `alreadyLocked` when this thread holds the
  ///   `Lock`; `resourceLimit` when it holds the `RecursiveLock` too often.
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
  /// killed, the next owner is told again. Blocks until the lock is free, or the time is over.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what `repair` or the body throws; otherwise as `withLock(timeout:_:)`, `ownerDied` aside.
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
  /// - Returns: what the body returns, or `nil` while another owner holds the lock.
  /// - Throws: as `withLock(timeout:_:)`.
  @inlinable public func withLockIfAvailable<R: ~Copyable>(
    _ body: () throws -> R
  ) throws -> R? {
    try withExtendedLifetime(segment) { try RobustMutex(segment).withLockIfAvailable(body) }
  }

  /// Runs the body under the lock if the lock is free right now, after a repair if an owner died.
  ///
  /// Does not block.
  ///
  /// - Returns: what the body returns, or `nil` while another owner holds the lock.
  /// - Throws: as `withLock(timeout:_:recovering:)`.
  @inlinable public func withLockIfAvailable<R: ~Copyable>(
    _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R? {
    try withExtendedLifetime(segment) {
      try RobustMutex(segment).withLockIfAvailable(body, recovering: repair)
    }
  }
}
