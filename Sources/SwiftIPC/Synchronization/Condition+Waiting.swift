// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

// Inside `withLock`. There is no form with `await`: that is `withLock(when:)`.
extension Condition {
  /// Lets the lock go, waits until notified, and takes the lock again. Inside `withLock`.
  ///
  /// Blocks the thread; in asynchronous code use `withLock(when:)`. What was waited for need not hold
  /// afterwards, since others may have the lock first: see `wait(for:)`.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less only lets
  ///   others have the lock.
  /// - Throws: `IPCError` with `ownerDied` when an owner of the lock died: the lock is held all the
  ///   same, so leave `withLock` by this error, and have the next one repair; `notOwner` when this
  ///   thread does not hold the lock; `capacityExceeded` when there are too many waiters;
  ///   `timedOut` when not notified by then.
  public func wait(timeout: Duration? = nil) throws(IPCError) {
    try wait(until: Deadline.after(timeout))
  }

  /// Waits until a predicate holds, looking each time that it is notified. Inside `withLock`.
  ///
  /// Does not wait when it holds already. Blocks the thread.
  ///
  /// - Parameter predicate: whether the wait is over. Runs under the lock.
  /// - Throws: what the predicate throws; otherwise as `wait(timeout:)`.
  public func wait(timeout: Duration? = nil, for predicate: () throws -> Bool) throws {
    try wait(until: Deadline.after(timeout), for: predicate)
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
