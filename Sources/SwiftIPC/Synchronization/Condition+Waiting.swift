// SPDX-License-Identifier: Apache-2.0
internal import CIPC

// Inside `withLock`. There is no form with `await`: that is `withLock(when:)`.
extension Condition {
  /// Lets the lock go, waits until notified, and takes the lock again. Inside `withLock`.
  ///
  /// Blocks the thread; in asynchronous code use `withLock(when:)`. What was waited for need not hold
  /// afterwards, since others may have the lock first: see `wait(for:)`.
  ///
  /// - Throws: `IPCError` with `ownerDied` when an owner of the lock died: the lock is held all the
  ///   same, so leave `withLock` by this error, and have the next one repair; `notOwner` when this
  ///   thread does not hold the lock; `capacityExceeded` when there are too many waiters.
  public func wait() throws(IPCError) { try wait(until: .max) }

  /// Lets the lock go, waits until notified, at most for a time, and takes the lock again. Inside
  /// `withLock`.
  ///
  /// Blocks the thread. The lock is waited for beyond the time, and is held afterwards in any case.
  ///
  /// - Parameter timeout: how long to wait; zero or less only lets others have the lock.
  /// - Throws: `IPCError` with `timedOut` when not notified by then; otherwise as `wait()`.
  public func wait(timeout: Duration) throws(IPCError) { try wait(until: Deadline.after(timeout)) }

  /// Lets the lock go, waits until notified, at most until a deadline, and takes the lock again.
  /// Inside `withLock`.
  ///
  /// Blocks the thread. The lock is waited for beyond the deadline, and is held afterwards in any case.
  ///
  /// - Parameter deadline: on the clock that stands still while the machine sleeps; one in the past
  ///   only lets others have the lock.
  /// - Throws: `IPCError` with `timedOut` when not notified by then; otherwise as `wait()`.
  public func wait(until deadline: SuspendingClock.Instant) throws(IPCError) {
    try wait(until: Deadline.at(deadline))
  }

  /// Waits until a predicate holds, looking each time that it is notified. Inside `withLock`.
  ///
  /// Does not wait when it holds already. Blocks the thread.
  ///
  /// - Parameter predicate: whether the wait is over. Runs under the lock.
  /// - Throws: what the predicate throws; otherwise as `wait()`.
  public func wait(for predicate: () throws -> Bool) throws {
    try wait(until: .max, for: predicate)
  }

  /// Waits until a predicate holds, at most for a time. Inside `withLock`.
  ///
  /// Blocks the thread.
  ///
  /// - Parameters:
  ///   - timeout: how long to wait; zero or less looks, lets others have the lock, and looks again.
  ///   - predicate: whether the wait is over. Runs under the lock, for the last time when the time is
  ///     over.
  /// - Throws: what the predicate throws; `IPCError` with `timedOut` when it did not hold in the end;
  ///   otherwise as `wait()`.
  public func wait(timeout: Duration, for predicate: () throws -> Bool) throws {
    try wait(until: Deadline.after(timeout), for: predicate)
  }

  /// Waits until a predicate holds, at most until a deadline. Inside `withLock`.
  ///
  /// Blocks the thread.
  ///
  /// - Parameters:
  ///   - deadline: on the clock that stands still while the machine sleeps.
  ///   - predicate: whether the wait is over. Runs under the lock, for the last time when the deadline
  ///     has passed.
  /// - Throws: as `wait(timeout:for:)`.
  public func wait(
    until deadline: SuspendingClock.Instant, for predicate: () throws -> Bool
  ) throws {
    try wait(until: Deadline.at(deadline), for: predicate)
  }

  private func wait(until deadline: Int64, for predicate: () throws -> Bool) throws {
    while try !predicate() {
      do {
        try wait(until: deadline)
      } catch let error where error.code == .timedOut {
        if try predicate() { return }
        throw error
      }
    }
  }
}
