// SPDX-License-Identifier: Apache-2.0

extension SharedSemaphore {
  // MARK: Blocking

  /// Takes a permit to keep. Blocks until one is free.
  ///
  /// - Throws: `IPCError` with `system` where /proc is not mounted.
  @available(
    *, noasync,
    message:
      "use 'try await acquire()'; at top level: func run() async throws { … }; try await run()"
  )
  public func acquire() throws(IPCError) -> Permit { try take(until: .max) }

  /// Takes a permit to keep if one is free within a time. Blocks until then.
  ///
  /// - Parameter timeout: how long to wait; zero or less tries once.
  /// - Throws: `IPCError` with `timedOut` when no permit was free.
  @available(
    *, noasync,
    message:
      "use 'try await acquire(timeout:)'; at top level: func run() async throws { … }; try await run()"
  )
  public func acquire(timeout: Duration) throws(IPCError) -> Permit {
    try take(until: Deadline.after(timeout))
  }

  /// Takes a permit to keep if one is free before a time. Blocks until then.
  ///
  /// - Parameter deadline: until when to wait; one in the past tries once.
  /// - Throws: `IPCError` with `timedOut` when no permit was free.
  @available(
    *, noasync,
    message:
      "use 'try await acquire(until:)'; at top level: func run() async throws { … }; try await run()"
  )
  public func acquire(until deadline: SuspendingClock.Instant) throws(IPCError) -> Permit {
    try take(until: Deadline.at(deadline))
  }

  /// Takes a permit to keep if one is free right now. Does not block.
  ///
  /// - Returns: the permit, or `nil` when all are taken.
  /// - Throws: `IPCError` with `system` where /proc is not mounted.
  public func acquireIfAvailable() throws(IPCError) -> Permit? {
    do {
      return try take(until: 0)
    } catch {
      if error.code == .timedOut { return nil }
      throw error
    }
  }

  // MARK: Suspending

  /// Takes a permit to keep. The task is suspended until one is free; no thread is blocked.
  ///
  /// - Throws: `IPCError` with `cancelled` when the task was cancelled before; `resourceLimit` and
  ///   `outOfMemory` where there can be no waiting.
  public func acquire() async throws(IPCError) -> Permit {
    try await takeSuspending(until: .max)
  }

  /// Takes a permit to keep if one is free within a time. No thread is blocked.
  ///
  /// - Parameter timeout: how long to wait; zero or less tries once.
  /// - Throws: `IPCError` with `timedOut` when no permit was free; otherwise as `acquire()`.
  public func acquire(
    timeout: Duration
  ) async throws(IPCError) -> Permit {
    try await takeSuspending(until: Deadline.after(timeout))
  }

  /// Takes a permit to keep if one is free before a time. No thread is blocked.
  ///
  /// - Parameter deadline: until when to wait; one in the past tries once.
  /// - Throws: `IPCError` with `timedOut` when no permit was free; otherwise as `acquire()`.
  public func acquire(
    until deadline: SuspendingClock.Instant
  ) async throws(IPCError) -> Permit {
    try await takeSuspending(until: Deadline.at(deadline))
  }
}
