// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

extension Barrier {
  /// Arrives, and waits until all parties have.
  ///
  /// Blocks the thread, which is the party.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less passes when
  ///   all others have arrived.
  /// - Returns: the order of arrival: 0 for one of the parties, `parties` - 1 for the last.
  /// - Throws: `IPCError` with `broken` when the barrier is broken or reset, before or meanwhile;
  ///   `timedOut` when the time was over: this has broken the barrier.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult public func wait(timeout: Duration? = nil) throws(IPCError) -> Int {
    try passing(until: Deadline.after(timeout))
  }

  /// Arrives, and waits until all parties have; the last to arrive runs an action before any goes on.
  ///
  /// Blocks the thread, which is the party. Others that time out while the action runs break the
  /// barrier, so that the action was for nothing.
  ///
  /// - Parameter action: what to do if this party is the last; all give theirs. If it throws, the
  ///   barrier is broken.
  /// - Returns: as `wait(timeout:)`.
  /// - Throws: what the action throws; otherwise as `wait(timeout:)`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult public func wait(timeout: Duration? = nil, action: () throws -> Void) throws
    -> Int
  {
    try passing(until: Deadline.after(timeout), action)
  }

  private func passing(until deadline: Int64) throws(IPCError) -> Int {
    Int(try IPCError.check(pass(until: deadline), "Barrier"))
  }

  private func passing(until deadline: Int64, _ action: () throws -> Void) throws -> Int {
    try withExtendedLifetime(self) {
      var arrival = cipc_barrier_arrival_t()
      let party = cipc_participant_this_thread()
      var status: Int32 = 0
      do throws(IPCError) {
        status = try waitForStep(until: deadline, subject: "Barrier") { look, wait in
          unsafe step(as: party, &arrival, acts: true, look: look, &wait)
        }
      } catch {
        return try end(&arrival, error)
      }
      return try finish(&arrival, status, action)
    }
  }
}

// MARK: With await

extension Barrier {
  /// Arrives, and waits until all parties have.
  ///
  /// Suspends the task; the process is the party.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less passes when
  ///   all others have arrived.
  /// - Returns: the order of arrival: 0 for one of the parties, `parties` - 1 for the last.
  /// - Throws: `IPCError` with `broken` when the barrier is broken or reset, before or meanwhile;
  ///   `cancelled` when the task was: this has broken the barrier; `timedOut` when the time was
  ///   over: this has broken the barrier.
  @discardableResult public func wait(
    timeout: Duration? = nil
  ) async throws(IPCError) -> Int {
    try await passing(until: Deadline.after(timeout))
  }

  /// Arrives, and waits until all parties have; the last to arrive runs an action, which is
  /// synchronous, before any goes on.
  ///
  /// Suspends the task; the process is the party. Others that time out or are cancelled while the
  /// action runs break the barrier, so that the action was for nothing.
  ///
  /// - Parameter action: what to do if this party is the last; all give theirs. If it throws, the
  ///   barrier is broken.
  /// - Returns: as `wait(timeout:)`.
  /// - Throws: what the action throws; otherwise as `wait(timeout:)`.
  @discardableResult public func wait(
    timeout: Duration? = nil, action: () throws -> Void
  ) async throws -> Int {
    try await passing(until: Deadline.after(timeout), action)
  }

  private func passing(
    until deadline: Int64
  ) async throws(IPCError) -> Int {
    var arrival = cipc_barrier_arrival_t()
    do throws(IPCError) {
      try await arrive(&arrival, until: deadline, acts: false)
    } catch {
      return try end(&arrival, error)
    }
    return Int(arrival.index)
  }

  private func passing(
    until deadline: Int64,
    _ action: () throws -> Void
  ) async throws -> Int {
    var arrival = cipc_barrier_arrival_t()
    var status: Int32 = 0
    do throws(IPCError) {
      status = try await arrive(&arrival, until: deadline, acts: true)
    } catch {
      return try end(&arrival, error)
    }
    return try finish(&arrival, status, action)
  }

  @discardableResult private func arrive(
    _ arrival: inout cipc_barrier_arrival_t, until deadline: Int64, acts: Bool
  ) async throws(IPCError) -> Int32 {
    // The process's: a task changes threads.
    let party = cipc_participant_current()
    // Others count on a task that is cancelled before it came: they are told as well.
    if Task.isCancelled && !isBroken { try abort() }
    defer { extendLifetime(self) }
    return try await waitForStep(until: deadline, subject: "Barrier") { look, wait in
      unsafe step(as: party, &arrival, acts: acts, look: look, &wait)
    }
  }
}

// MARK: Both

extension Barrier {
  /// Runs the action if that is this party's part.
  private func finish(
    _ arrival: inout cipc_barrier_arrival_t, _ status: Int32, _ action: () throws -> Void
  ) throws -> Int {
    if status == CIPC_BARRIER_ACT.rawValue {
      do {
        try action()
      } catch {
        // The action's error is what the caller wants to know.
        _ = finish(&arrival, failed: true)
        throw error
      }
      try IPCError.check(finish(&arrival, failed: false), "Barrier")
    }
    return Int(arrival.index)
  }

  /// Ends a wait that failed, which breaks the barrier if it still can.
  ///
  /// - Returns: the index, when all had gone on before.
  private func end(
    _ arrival: inout cipc_barrier_arrival_t, _ error: IPCError
  ) throws(IPCError) -> Int {
    let status = giveUp(&arrival)
    if status == CIPC_ETIMEDOUT.rawValue { throw error }
    try IPCError.check(status, "Barrier")
    return Int(arrival.index)
  }
}
