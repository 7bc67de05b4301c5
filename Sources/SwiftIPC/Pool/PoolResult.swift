// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// What a task that was submitted to a pool will have returned.
///
/// ```swift
/// let result = try pool.submit(10) { $0 * $0 }
/// print(try await result.get(timeout: .seconds(1)))  // 100
/// ```
///
/// The task runs whether or not its result is asked for, also when this is dropped. It may be used
/// from several threads at once; `get` says the same each time.
public final class PoolResult<Output: Sendable>: Sendable {
  let core: PoolCore
  let job: ListJob<Output>
  private let ends = JobEnds()

  init(_ core: PoolCore, _ job: ListJob<Output>) {
    self.core = core
    self.job = job
  }

  /// Whether the task has returned, failed or been cancelled. Does not block.
  public var isReady: Bool { job.isOver }

  /// Gives the task up: it does not begin any more; where it has begun, it is ended if its options say
  /// so (`TaskOptions.killsWhenCancelled`). `get` then throws `cancelled`, unless the task had returned
  /// before. Does not block.
  ///
  /// - Returns: whether this was in time: no worker had been given the task, so that none of it runs.
  @discardableResult
  public func cancel() -> Bool {
    core.cancel(job, IPCError(.cancelled, context: "a task of a pool")) > 0
  }

  /// Waits for the end of the task. Blocks.
  ///
  /// - Parameter timeout: how long; zero or less looks once, `nil` as long as it takes.
  /// - Returns: whether it has ended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  public func wait(timeout: Duration? = nil) -> Bool {
    core.wait(for: job.change, until: Deadline.after(timeout)) { job.isOver }
  }

  /// Waits for the end of the task. No thread is blocked.
  ///
  /// - Parameter timeout: how long; zero or less looks once, `nil` as long as it takes.
  /// - Returns: whether it has ended.
  /// - Throws: `cancelled` when the waiting task is cancelled, which leaves the pool's task alone.
  @discardableResult
  public func wait(timeout: Duration? = nil) async throws(IPCError) -> Bool {
    let status = await core.wait(for: job.change, until: Deadline.after(timeout)) { job.isOver }
    if status == CIPC_ETIMEDOUT.rawValue { return false }
    try IPCError.check(status, "waiting for a task of a pool")
    return true
  }

  /// What the task returned, once it has. Blocks.
  ///
  /// - Parameter timeout: how long to wait; zero or less looks once, `nil` as long as it takes.
  /// - Throws: `IPCError` with `timedOut` when it has not ended by then, which leaves it alone;
  ///   otherwise as `ProcessPool.apply`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func get(timeout: Duration? = nil) throws -> Output {
    guard wait(timeout: timeout) else { throw Self.late }
    return try job.value()
  }

  /// What the task returned, once it has. No thread is blocked.
  ///
  /// - Parameter timeout: how long to wait; zero or less looks once, `nil` as long as it takes.
  /// - Throws: `IPCError` with `timedOut` when it has not ended by then, which leaves it alone;
  ///   `cancelled` when the waiting task is cancelled, which does so too; otherwise as
  ///   `ProcessPool.apply`.
  public func get(timeout: Duration? = nil) async throws -> Output {
    guard try await wait(timeout: timeout) else { throw Self.late }
    return try job.value()
  }

  /// What became of it, once it has ended.
  var outcome: Result<Output, any Error> { Result { try job.value() } }

  private static var late: IPCError {
    IPCError(.timedOut, context: "the result of a task of a pool")
  }
}

extension PoolResult: Waitable {
  /// Ready once the task has returned, failed or been cancelled. What `firstReady` asks; does not block.
  ///
  /// ```swift
  /// let results = try urls.map { try pool.submit($0) { try fetch($0) } }
  /// for place in try await firstReady(results, timeout: .seconds(5)) {
  ///   show(try await results[place].get())
  /// }
  /// ```
  ///
  /// - Throws: `IPCError` with `resourceLimit`. All results of a pool take two descriptors together.
  public func readiness() throws(IPCError) -> Readiness { try ends.readiness(core, job) }
}
