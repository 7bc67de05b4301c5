// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// What the tasks of a map will have returned that was submitted to a pool: one handle for all of them.
///
/// ```swift
/// let batch = try pool.submitMap(0..<1000) { $0 * $0 }
/// print("\(batch.progress.done) of \(batch.count)")
/// let squares = try await batch.get(timeout: .seconds(10))
/// ```
///
/// The tasks run whether or not their result is asked for, also when this is dropped, and one that
/// fails does not keep others from running. It may be used from several threads at once; `get` and
/// `results` say the same each time.
public final class PoolBatch<Output: Sendable>: Sendable {
  private let core: PoolCore
  private let job: ListJob<Output>
  private let ends = JobEnds()
  /// How many tasks there are.
  public let count: Int

  init(_ core: PoolCore, _ job: ListJob<Output>, count: Int) {
    self.core = core
    self.job = job
    self.count = count
  }

  /// Whether all tasks have returned, failed or been cancelled. Does not block.
  public var isReady: Bool { job.isOver }

  /// How far the tasks are. Does not block.
  public var progress: PoolBatchProgress {
    // In this order: a task that returns in between counts as done, and not as running too.
    let running = core.withScheduler { scheduler in
      scheduler.workers.count { $0.queue.first?.job === job }
    }
    let (open, failed) = job.counts
    let inTask = min(running, open)
    return PoolBatchProgress(
      done: count - open - failed, failed: failed, running: inTask, waiting: open - inTask)
  }

  /// Gives the tasks up: those that no worker has been given do not begin; those that have begun are
  /// ended if their options say so (`TaskOptions.killsWhenCancelled`). All that have not returned have
  /// the error `cancelled` from now on. Does not block.
  ///
  /// - Returns: for how many tasks this was in time: no worker had been given them, so that none of them
  ///   runs.
  @discardableResult
  public func cancel() -> Int {
    core.cancel(job, IPCError(.cancelled, context: "tasks of a pool"))
  }

  /// Waits for the end of all tasks. Blocks, and does the pool's work meanwhile.
  ///
  /// - Parameter timeout: how long; zero or less looks once, `nil` as long as it takes.
  /// - Returns: whether they have ended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  public func wait(timeout: Duration? = nil) -> Bool {
    core.wait(for: job.change, until: Deadline.after(timeout)) { job.isOver }
  }

  /// Waits for the end of all tasks. No thread is blocked.
  ///
  /// - Parameter timeout: how long; zero or less looks once, `nil` as long as it takes.
  /// - Returns: whether they have ended.
  /// - Throws: `cancelled` when the waiting task is, which leaves the pool's tasks alone.
  @discardableResult
  public func wait(timeout: Duration? = nil) async throws(IPCError) -> Bool {
    try await wait(timeout) { job.isOver }
  }

  private func wait(
    _ timeout: Duration?, _ isDone: () -> Bool
  ) async throws(IPCError) -> Bool {
    let status = await core.wait(for: job.change, until: Deadline.after(timeout), isDone)
    if status == CIPC_ETIMEDOUT.rawValue { return false }
    try IPCError.check(status, "waiting for tasks of a pool")
    return true
  }

  /// What the tasks returned, in the order of their inputs, once they have. Blocks.
  ///
  /// - Parameter timeout: how long to wait; zero or less looks once, `nil` as long as it takes.
  /// - Throws: `IPCError` with `timedOut` when they have not ended by then, which leaves them alone; the
  ///   error of a task that has failed, as soon as one has: its `taskIndex` says which. The others
  ///   go on.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func get(timeout: Duration? = nil) throws -> [Output] {
    guard
      core.wait(
        for: job.change, until: Deadline.after(timeout), { job.hasFailedOrIsOver })
    else { throw Self.late }
    return try job.values(keeping: true)
  }

  /// What the tasks returned, in the order of their inputs, once they have. No thread is blocked.
  ///
  /// - Throws: as the blocking form; `cancelled` when the waiting task is, which leaves the pool's
  ///   tasks alone.
  public func get(timeout: Duration? = nil) async throws -> [Output] {
    guard try await wait(timeout, { job.hasFailedOrIsOver }) else { throw Self.late }
    return try job.values(keeping: true)
  }

  /// What became of each task, in the order of their inputs, once all have ended. Blocks.
  ///
  /// - Throws: `IPCError` with `timedOut` when they have not by then, which leaves them alone.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func results(timeout: Duration? = nil) throws(IPCError) -> [Result<Output, any Error>] {
    guard wait(timeout: timeout) else { throw Self.late }
    return job.results()
  }

  /// What became of each task, in the order of their inputs, once all have ended. No thread is blocked.
  ///
  /// - Throws: as the blocking form; `cancelled` when the waiting task is.
  public func results(
    timeout: Duration? = nil
  ) async throws(IPCError) -> [Result<Output, any Error>] {
    guard try await wait(timeout: timeout) else { throw Self.late }
    return job.results()
  }

  private static var late: IPCError {
    IPCError(.timedOut, context: "the results of tasks of a pool")
  }
}

extension PoolBatch: Waitable {
  /// Ready once all tasks have returned, failed or been cancelled. What `firstReady` asks; does not
  /// block.
  ///
  /// - Throws: `IPCError` with `resourceLimit`.
  public func readiness() throws(IPCError) -> Readiness { try ends.readiness(core, job) }
}

/// How far the tasks of a batch are: what `PoolBatch.progress` says.
public struct PoolBatchProgress: Hashable, Sendable {
  /// Tasks that have returned.
  public var done: Int
  /// Tasks that threw, that a worker died over, or that were cancelled.
  public var failed: Int
  /// Tasks that workers are in.
  public var running: Int
  /// Tasks that no worker has begun.
  public var waiting: Int

  /// All of them.
  public var total: Int { done + failed + running + waiting }
}
