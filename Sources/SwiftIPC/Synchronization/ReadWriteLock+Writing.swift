// SPDX-License-Identifier: Apache-2.0
public import CIPC
internal import MessageCoding

extension ReadWriteLock {
  /// Runs the body while nobody else reads or writes.
  ///
  /// Blocks while others do. New readers wait from the moment that the caller is the first of the
  /// writers.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `ownerDied` when a writer died and no later
  ///   writer has repaired it yet: the body did not run, and the next caller is told as well;
  ///   `alreadyLocked` when this thread reads or writes; `timedOut` when the time was over first.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @inlinable public func withWriteLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () throws -> R
  ) throws -> R {
    try writing(until: Deadline.after(timeout)) { status in try told(status, body) }
  }

  /// Runs the body while nobody else reads or writes, after a repair if a writer died.
  ///
  /// `repair` runs under the lock, and only when a writer died. If it throws, or is itself killed,
  /// the next is told again. Blocks while others read or write.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what `repair` or the body throws; `IPCError` with `alreadyLocked` when this thread
  ///   reads or writes; `timedOut` when the time was over first.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @inlinable public func withWriteLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R {
    try writing(until: Deadline.after(timeout)) { status in
      try told(status, body, recovering: repair)
    }
  }

  /// Runs the body if nobody reads or writes right now.
  ///
  /// Does not block.
  ///
  /// - Returns: what the body returns, or `nil` while another holder reads or writes.
  /// - Throws: as `withWriteLock(timeout:_:)`.
  @inlinable public func withWriteLockIfAvailable<R: ~Copyable>(
    _ body: () throws -> R
  ) throws -> R? {
    try withExtendedLifetime(segment) {
      let status = unsafe cipc_rwlock_write_trylock(pointer, lines)
      if status == CIPC_EBUSY.rawValue { return nil }
      return try told(status, body)
    }
  }

  /// Runs the body if nobody reads or writes right now, after a repair if a writer died.
  ///
  /// Does not block.
  ///
  /// - Returns: what the body returns, or `nil` while another holder reads or writes.
  /// - Throws: as `withWriteLock(timeout:_:recovering:)`.
  @inlinable public func withWriteLockIfAvailable<R: ~Copyable>(
    _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R? {
    try withExtendedLifetime(segment) {
      let status = unsafe cipc_rwlock_write_trylock(pointer, lines)
      if status == CIPC_EBUSY.rawValue { return nil }
      return try told(status, body, recovering: repair)
    }
  }

  /// - Parameter enter: gets what asking to write gave, and ends writing if it was granted.
  @inlinable func writing<R: ~Copyable>(
    until deadline: Int64, _ enter: (_ status: Int32) throws -> R
  ) throws -> R {
    try withExtendedLifetime(segment) {
      try enter(unsafe cipc_rwlock_write_lock(pointer, lines, deadline))
    }
  }

  @inlinable func told<R: ~Copyable>(_ status: Int32, _ body: () throws -> R) throws -> R {
    if status != 0 { throw refusalToWrite(status) }
    return try unlocking(after: body)
  }

  @inlinable func told<R: ~Copyable>(
    _ status: Int32, _ body: () throws -> R, recovering repair: () throws -> Void
  ) throws -> R {
    if status != 0 { try recover(from: status, repair) }
    return try unlocking(after: body)
  }

  @inlinable func unlocking<R: ~Copyable>(after body: () throws -> R) throws -> R {
    let result: R
    do {
      result = try body()
    } catch {
      // The body's error is what the caller wants to know.
      _ = unsafe cipc_rwlock_write_unlock(pointer, lines)
      throw error
    }
    let status = unsafe cipc_rwlock_write_unlock(pointer, lines)
    if status != 0 { throw failure(status) }
    return result
  }

  /// The error for what was not plainly granted. If a writer died, the lock is released and still
  /// says so to the next.
  @usableFromInline @inline(never) func refusalToWrite(_ status: Int32) -> IPCError {
    guard status == CIPC_OWNER_DIED.rawValue else { return failure(status) }
    let error = ownerDied()
    let released = unsafe cipc_rwlock_write_unlock(pointer, lines)
    return released == 0 ? error : failure(released)
  }

  /// Has the death of a writer repaired, as the new one; afterwards the lock is held and clean.
  @usableFromInline @inline(never) func recover(
    from status: Int32, _ repair: () throws -> Void
  ) throws {
    guard status == CIPC_OWNER_DIED.rawValue else { throw failure(status) }
    do {
      try repair()
      let recovered = unsafe cipc_rwlock_recover(pointer)
      if recovered != 0 { throw failure(recovered) }
    } catch {
      // Still to be repaired: the next is told as well.
      _ = unsafe cipc_rwlock_write_unlock(pointer, lines)
      throw error
    }
  }
}

// MARK: With await

extension ReadWriteLock {
  /// Runs the body, which is synchronous, while nobody else reads or writes.
  ///
  /// Suspends the task while others do. New readers wait meanwhile.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `ownerDied` when a writer died and no later
  ///   writer has repaired it yet: the body did not run, and the next caller is told as well;
  ///   `cancelled` when the task was cancelled before the body ran; `timedOut` when the time was
  ///   over first.
  public func withWriteLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () throws -> R
  ) async throws -> R {
    try await writing(until: Deadline.after(timeout)) { status in try told(status, body) }
  }

  /// Runs the body, which is synchronous, while nobody else reads or writes, after a repair if a
  /// writer died.
  ///
  /// `repair` runs under the lock, and only when a writer died. If it throws, or is itself killed,
  /// the next is told again. Suspends the task while others read or write.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what `repair` or the body throws; `IPCError` with `cancelled` when the task was
  ///   cancelled before they ran; `timedOut` when the time was over first.
  public func withWriteLock<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () throws -> R, recovering repair: () throws -> Void
  ) async throws -> R {
    try await writing(until: Deadline.after(timeout)) { status in
      try told(status, body, recovering: repair)
    }
  }

  /// - Parameter enter: as in the blocking form. It runs inside the step that took the lock, since
  ///   the mutex is the thread's and what comes behind the wait may be on another.
  private func writing<R: ~Copyable>(
    until deadline: Int64, _ enter: (_ status: Int32) throws -> R
  ) async throws -> R {
    let owner = cipc_participant_current()
    var result: R?
    var thrown: (any Error)?
    do {
      try await waitForStep(until: deadline, subject: "ReadWriteLock") { look, wait in
        let status = unsafe cipc_rwlock_write_step(pointer, lines, owner, look ? 1 : 0, &wait)
        if status < 0 { return status }
        do { result = try enter(status) } catch { thrown = error }
        return 0
      }
    } catch {
      // Lets in again whom the wait has held back.
      _ = unsafe cipc_rwlock_write_abandon(pointer, lines, owner)
      throw error
    }
    if let thrown { throw thrown }
    // Entered, and nothing was thrown.
    return result.take()!
  }
}
