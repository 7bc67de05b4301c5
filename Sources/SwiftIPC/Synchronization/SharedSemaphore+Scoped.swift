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
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `timedOut` when no permit was free; the body
  ///   did not run.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  @inlinable public func withPermit<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () throws -> R
  ) throws -> R {
    try blocking(until: Deadline.after(timeout), body)
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
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Returns: what the body returns.
  /// - Throws: what the body throws; `IPCError` with `cancelled` when the task was cancelled before
  ///   it had a permit: the body did not run. `resourceLimit` and `outOfMemory` where there can be
  ///   no waiting; `timedOut` when no permit was free; the body did not run.
  public func withPermit<R: ~Copyable>(
    timeout: Duration? = nil, _ body: () async throws -> R
  ) async throws -> R {
    try await suspending(until: Deadline.after(timeout), body)
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
