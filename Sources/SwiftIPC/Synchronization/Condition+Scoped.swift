// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

extension Condition {
  /// Takes the lock, waits until a predicate holds, and runs the body.
  ///
  /// Blocks the thread meanwhile. The predicate and the body run under the lock.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less looks once,
  ///   or twice with others in between.
  /// - Returns: what the body returns.
  /// - Throws: what the predicate or the body throws; `IPCError` with `ownerDied` when an owner of
  ///   the lock died and nobody has repaired yet: the body did not run, and the next is told as
  ///   well; `alreadyLocked` when this thread holds the lock; `capacityExceeded` when there are too
  ///   many waiters; `timedOut` when the predicate did not hold in the end, or the lock was held
  ///   all the time.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, when predicate: () throws -> Bool, _ body: () throws -> R
  ) throws -> R {
    try scoped(until: Deadline.after(timeout), predicate, body) { throw casualty }
  }

  /// Takes the lock, repairs each time that an owner has died, waits until a predicate holds, and
  /// runs the body.
  ///
  /// Blocks the thread meanwhile. If the repair throws, or is itself killed, the next is told again.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the repair, the predicate or the body throws; otherwise as
  ///   `withLock(timeout:when:_:)`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, when predicate: () throws -> Bool, _ body: () throws -> R,
    recovering repair: () throws -> Void
  ) throws -> R {
    try scoped(until: Deadline.after(timeout), predicate, body, repair)
  }

  private func scoped<R: ~Copyable>(
    until deadline: Int64, _ predicate: () throws -> Bool, _ body: () throws -> R,
    _ repair: () throws -> Void
  ) throws -> R {
    var turn = Turn(owner: cipc_participant_this_thread(), deadline: deadline)
    while true {
      switch try attempt(&turn, predicate, body, repair) {
      case .some(let result): return result
      case .none: break
      }
      do throws(IPCError) {
        try waitForStep(until: deadline, subject: "Condition") { look, wait in
          unsafe step(&turn.entry, look, &wait)
        }
      } catch {
        turn.ended = error
      }
    }
  }
}

// MARK: With await

extension Condition {
  /// Takes the lock, waits until a predicate holds, and runs the body, which is synchronous.
  ///
  /// Suspends the task while it waits. The lock is taken as `Lock.withLock` takes it: blocking for as
  /// long as others have it, so keep what is done under it short. The predicate and the body run under
  /// the lock.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less looks once,
  ///   or twice with others in between.
  /// - Returns: what the body returns.
  /// - Throws: what the predicate or the body throws; `IPCError` with `ownerDied` when an owner of
  ///   the lock died and nobody has repaired yet: the body did not run, and the next is told as
  ///   well; `cancelled` when the task was cancelled before the predicate held; `capacityExceeded`
  ///   when there are too many waiters; `timedOut` when the predicate did not hold in the end, or
  ///   the lock was held all the time.
  public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, when predicate: () throws -> Bool, _ body: () throws -> R
  ) async throws -> R {
    try await scoped(until: Deadline.after(timeout), predicate, body) { throw casualty }
  }

  /// Takes the lock, repairs each time that an owner has died, waits until a predicate holds, and
  /// runs the body, which is synchronous.
  ///
  /// Suspends the task while it waits. If the repair throws, or is itself killed, the next is told
  /// again.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the repair, the predicate or the body throws; otherwise as
  ///   `withLock(timeout:when:_:)`.
  public func withLock<R: ~Copyable>(
    timeout: Duration? = nil, when predicate: () throws -> Bool, _ body: () throws -> R,
    recovering repair: () throws -> Void
  ) async throws -> R {
    try await scoped(until: Deadline.after(timeout), predicate, body, repair)
  }

  private func scoped<R: ~Copyable>(
    until deadline: Int64, _ predicate: () throws -> Bool, _ body: () throws -> R,
    _ repair: () throws -> Void
  ) async throws -> R {
    // The process's: a task changes threads.
    var turn = Turn(owner: cipc_participant_current(), deadline: deadline)
    while true {
      switch try attempt(&turn, predicate, body, repair) {
      case .some(let result): return result
      case .none: break
      }
      do throws(IPCError) {
        try await waitForStep(until: deadline, subject: "Condition") { look, wait in
          unsafe step(&turn.entry, look, &wait)
        }
      } catch {
        turn.ended = error
      }
    }
  }
}

// MARK: Both

extension Condition {
  /// How far a scoped wait has come.
  private struct Turn {
    let owner: cipc_participant_t
    let deadline: Int64
    var entry = cipc_condition_wait_t()
    var hasEntered = false
    /// Why there is no more waiting.
    var ended: IPCError?
  }

  private var casualty: IPCError { RobustMutex(lock.segment).casualty }

  /// All that happens under the lock, without a suspension: the lock is the thread's.
  ///
  /// - Returns: what the body returned; `nil` when the predicate does not hold: the lock is let go
  ///   then, and the turn has entered the condition.
  private func attempt<R: ~Copyable>(
    _ turn: inout Turn, _ predicate: () throws -> Bool, _ body: () throws -> R,
    _ repair: () throws -> Void
  ) throws -> R? {
    try withExtendedLifetime(self) {
      let mutex = RobustMutex(lock.segment)
      var isNotified = false
      var status: Int32
      if turn.hasEntered {
        status = leave(&turn.entry)
        turn.hasEntered = false
        isNotified = status != CIPC_ETIMEDOUT.rawValue
        // Held all the same.
        if !isNotified { status = 0 }
      } else {
        status = unsafe cipc_mutex_lock(mutex.pointer, turn.deadline)
      }
      if status != 0 { try mutex.recover(from: status, repair) }
      // A cancelled waiter has nothing to look for, unless it was notified in the place of others.
      let isOver = turn.ended?.code == .cancelled && !isNotified
      var holds = false
      do {
        holds = try !isOver && predicate()
      } catch {
        mutex.release()
        throw error
      }
      if holds { return try mutex.releasing(after: body) }
      if turn.ended == nil {
        status = enter(as: turn.owner, &turn.entry)
        turn.hasEntered = status >= 0
        if status >= 0 { return nil }
        turn.ended = IPCError(status: status, "Condition")
      }
      mutex.release()
      // Set in each way that leads here.
      throw turn.ended!
    }
  }
}

extension RobustMutex {
  fileprivate func release() { _ = unsafe cipc_mutex_unlock(pointer) }
}
