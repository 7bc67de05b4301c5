// SPDX-License-Identifier: Apache-2.0
public import CIPC
internal import MessageCoding

// The blocking forms are disfavoured, or a body without `await` would choose them in asynchronous
// code: turning that into an asynchronous function counts as much against the other form as blocking
// does against these. In synchronous code they are the only ones.
extension ReadWriteLock {
  /// Runs the body while nobody writes.
  /// Blocks while a writer writes or waits, and when all places of readers are taken.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `ownerDied` when a writer died and no later
  ///   writer has repaired it yet: the body did not run, and the next caller is told as well;
  ///   `alreadyLocked` when this thread writes; `timedOut` when the time was over first.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  @inlinable public func withReadLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () throws -> R
  ) throws -> R {
    try reading(until: Deadline.after(timeout), body)
  }

  /// Runs the body if no writer writes or waits right now.
  ///
  /// Does not block.
  ///
  /// - Returns: what the body returns, or `nil` when a writer is there or all places of readers are
  ///   taken.
  /// - Throws: what the body throws; `IPCError` with `ownerDied` or `alreadyLocked`.
  @inlinable public func withReadLockIfAvailable<R: ~Copyable>(
    _ body: () throws -> R
  ) throws -> R? {
    try withExtendedLifetime(segment) {
      let status = unsafe cipc_rwlock_read_trylock(pointer, lines)
      if status == CIPC_EBUSY.rawValue { return nil }
      if status != 0 { throw refusalToRead(status) }
      return try releasingShare(after: body)
    }
  }

  @inlinable func reading<R: ~Copyable>(
    until deadline: Int64, _ body: () throws -> R
  ) throws -> R {
    try withExtendedLifetime(segment) {
      let status = unsafe cipc_rwlock_read_lock(pointer, lines, deadline)
      if status != 0 { throw refusalToRead(status) }
      return try releasingShare(after: body)
    }
  }

  @inlinable func releasingShare<R: ~Copyable>(after body: () throws -> R) throws -> R {
    let result: R
    do {
      result = try body()
    } catch {
      // The body's error is what the caller wants to know.
      _ = unsafe cipc_rwlock_read_unlock(pointer, lines)
      throw error
    }
    let status = unsafe cipc_rwlock_read_unlock(pointer, lines)
    if status != 0 { throw failure(status) }
    return result
  }

  /// The error for a share that was not plainly had; it is given back.
  @usableFromInline @inline(never) func refusalToRead(_ status: Int32) -> IPCError {
    guard status == CIPC_OWNER_DIED.rawValue else { return failure(status) }
    let error = ownerDied()
    let released = unsafe cipc_rwlock_read_unlock(pointer, lines)
    return released == 0 ? error : failure(released)
  }
}

// MARK: With await

extension ReadWriteLock {
  /// Runs the body while nobody writes.
  /// Suspends the task while a writer writes or waits, and when all places of readers are taken.
  /// The body may suspend it too; writers wait meanwhile.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `ownerDied` when a writer died and no later
  ///   writer has repaired it yet: the body did not run, and the next caller is told as well;
  ///   `cancelled` when the task was cancelled before the body ran; `timedOut` when the time was
  ///   over first.
  public func withReadLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () async throws -> R
  ) async throws -> R {
    try await reading(until: Deadline.after(timeout), body)
  }

  private func reading<R: ~Copyable>(
    until deadline: Int64, _ body: () async throws -> R
  ) async throws -> R {
    // The task may go on and end in any thread.
    let reader = cipc_participant_current()
    let place = try await share(of: reader, until: deadline)
    let result: R
    do {
      result = try await body()
    } catch {
      // The body's error is what the caller wants to know.
      _ = unsafe cipc_rwlock_read_leave(pointer, lines, reader, place)
      throw error
    }
    try IPCError.check(
      unsafe cipc_rwlock_read_leave(pointer, lines, reader, place), "ReadWriteLock")
    return result
  }

  /// Waits for a share, and says which place it has.
  private func share(
    of reader: cipc_participant_t, until deadline: Int64
  ) async throws(IPCError) -> UInt32 {
    // CIPC_RWLOCK_NOWHERE.
    var place = UInt32.max
    var status: Int32 = 0
    do throws(IPCError) {
      status = try await waitForStep(until: deadline, subject: "ReadWriteLock") { look, wait in
        unsafe cipc_rwlock_read_step(pointer, lines, reader, look ? 1 : 0, &place, &wait)
      }
    } catch {
      if unsafe cipc_rwlock_read_abandon(pointer, lines, reader, &place) == 0 { throw error }
      // Let in at the last moment, it reads, unless it does not want to any more.
      guard error.code == .timedOut else {
        _ = unsafe cipc_rwlock_read_leave(pointer, lines, reader, place)
        throw error
      }
      status = unsafe cipc_rwlock_casualty(pointer) == 0 ? 0 : CIPC_OWNER_DIED.rawValue
    }
    if status == CIPC_OWNER_DIED.rawValue {
      let error = ownerDied()
      _ = unsafe cipc_rwlock_read_leave(pointer, lines, reader, place)
      throw error
    }
    return place
  }
}
