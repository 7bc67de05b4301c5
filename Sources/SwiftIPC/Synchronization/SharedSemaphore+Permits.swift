// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

extension SharedSemaphore {
  // MARK: Blocking

  /// Takes a permit to keep. Blocks until one is free.
  ///
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Throws: `IPCError` with `system` where /proc is not mounted; `timedOut` when no permit was
  ///   free.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func acquire(timeout: Duration? = nil) throws(IPCError) -> Permit {
    try take(until: Deadline.after(timeout))
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
  /// - Parameter timeout: how long to wait; `nil` for as long as it takes, zero or less tries once.
  /// - Throws: `IPCError` with `cancelled` when the task was cancelled before; `resourceLimit` and
  ///   `outOfMemory` where there can be no waiting; `timedOut` when no permit was free.
  public func acquire(
    timeout: Duration? = nil
  ) async throws(IPCError) -> Permit {
    try await takeSuspending(until: Deadline.after(timeout))
  }

}
