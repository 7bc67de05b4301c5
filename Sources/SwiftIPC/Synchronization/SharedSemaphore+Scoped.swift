// SPDX-License-Identifier: Apache-2.0
public import CIPC

extension SharedSemaphore {
  // MARK: Blocking

  // Disfavoured: the compiler would take these for a body without `await` in asynchronous code too,
  // where they are unavailable. In other code they are the only ones that fit.

  /// Takes a permit, runs the body and gives the permit back.
  ///
  /// Blocks until a permit is free. The permit is the calling thread's: it comes back also when the
  /// thread ends inside, or its process is killed.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the body throws.
  @available(
    *, noasync,
    message:
      "use 'try await withPermit { }'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  @inlinable public func withPermit<R: ~Copyable>(_ body: () throws -> R) throws -> R {
    try blocking(until: .max, body)
  }

  /// Takes a permit if one is free within a time, runs the body and gives the permit back.
  ///
  /// - Parameter timeout: how long to wait; zero or less tries once.
  /// - Throws: `IPCError` with `timedOut` when no permit was free; the body did not run. What the
  ///   body throws.
  @available(
    *, noasync,
    message:
      "use 'try await withPermit(timeout:) { }'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  @inlinable public func withPermit<R: ~Copyable>(
    timeout: Duration, _ body: () throws -> R
  ) throws -> R {
    try blocking(until: Self.deadline(after: timeout), body)
  }

  /// Takes a permit if one is free before a time, runs the body and gives the permit back.
  ///
  /// - Parameter deadline: until when to wait; one in the past tries once.
  /// - Throws: as `withPermit(timeout:_:)`.
  @available(
    *, noasync,
    message:
      "use 'try await withPermit(until:) { }'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  @inlinable public func withPermit<R: ~Copyable>(
    until deadline: SuspendingClock.Instant, _ body: () throws -> R
  ) throws -> R {
    try blocking(until: Self.deadline(at: deadline), body)
  }

  /// Runs the body with a permit if one is free right now. Does not block.
  ///
  /// - Returns: what the body returns, or `nil` when all permits are taken.
  /// - Throws: what the body throws.
  @inlinable public func withPermitIfAvailable<R: ~Copyable>(
    _ body: () throws -> R
  ) throws -> R? {
    try withExtendedLifetime(segment) {
      let owner = cipc_participant_this_thread()
      let permit = unsafe cipc_semaphore_acquire_for(pointer, width, owner, 0)
      if permit == CIPC_ETIMEDOUT.rawValue { return nil }
      if permit < 0 { throw Self.failure(permit) }
      return try releasing(permit, of: owner, after: body)
    }
  }

  @inlinable func blocking<R: ~Copyable>(
    until deadline: Int64, _ body: () throws -> R
  ) throws -> R {
    try withExtendedLifetime(segment) {
      let owner = cipc_participant_this_thread()
      let permit = unsafe cipc_semaphore_acquire_for(pointer, width, owner, deadline)
      if permit < 0 { throw Self.failure(permit) }
      return try releasing(permit, of: owner, after: body)
    }
  }

  @inlinable func releasing<R: ~Copyable>(
    _ permit: Int32, of owner: cipc_participant_t, after body: () throws -> R
  ) throws -> R {
    let number = UInt32(truncatingIfNeeded: permit)
    let result: R
    do {
      result = try body()
    } catch {
      // The body's error is what the caller wants to know.
      _ = unsafe cipc_semaphore_release_for(pointer, width, number, owner)
      throw error
    }
    let status = unsafe cipc_semaphore_release_for(pointer, width, number, owner)
    if status != 0 { throw Self.failure(status) }
    return result
  }

  // MARK: Suspending

  /// Takes a permit, runs the body and gives the permit back. No thread is blocked.
  ///
  /// The permit is the process's, since a task changes threads: it comes back when the process is
  /// killed.
  ///
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `cancelled` when the task was cancelled before
  ///   it had a permit: the body did not run. `resourceLimit` and `outOfMemory` where there can be
  ///   no waiting.
  public func withPermit<R: ~Copyable>(
    _ body: () async throws -> R
  ) async throws -> R {
    try await suspending(until: .max, body)
  }

  /// Takes a permit if one is free within a time, runs the body and gives the permit back. No thread
  /// is blocked.
  ///
  /// - Parameter timeout: how long to wait; zero or less tries once.
  /// - Throws: `IPCError` with `timedOut` when no permit was free; the body did not run. Otherwise
  ///   as `withPermit(_:)`.
  public func withPermit<R: ~Copyable>(
    timeout: Duration, _ body: () async throws -> R
  ) async throws -> R {
    try await suspending(until: Deadline.after(timeout), body)
  }

  /// Takes a permit if one is free before a time, runs the body and gives the permit back. No thread
  /// is blocked.
  ///
  /// - Parameter deadline: until when to wait; one in the past tries once.
  /// - Throws: as `withPermit(timeout:_:)`.
  public func withPermit<R: ~Copyable>(
    until deadline: SuspendingClock.Instant, _ body: () async throws -> R
  ) async throws -> R {
    try await suspending(until: Deadline.at(deadline), body)
  }

  private func suspending<R: ~Copyable>(
    until deadline: Int64, _ body: () async throws -> R
  ) async throws -> R {
    let permit = try await takeSuspending(until: deadline)
    let result: R
    do {
      result = try await body()
    } catch {
      // The body's error is what the caller wants to know.
      try? permit.release()
      throw error
    }
    try permit.release()
    return result
  }
}
