// SPDX-License-Identifier: Apache-2.0

internal import CIPC
internal import MessageCoding

/// A call of a pool that has not begun: what its tasks run, on which inputs, and how.
struct PoolCall<Output: Sendable> {
  private let core: PoolCore
  private let function: PoolFunction
  private let inputs: any PoolInputs
  private let chunkSize: Int?
  private let options: TaskOptions

  init(
    _ core: PoolCore, _ function: PoolFunction, _ inputs: any PoolInputs, _ chunkSize: Int?,
    _ options: TaskOptions
  ) {
    self.core = core
    self.function = function
    self.inputs = inputs
    self.chunkSize = chunkSize
    self.options = options
  }

  private func job(
    stopsAtError: Bool, whenOver: (@Sendable () -> Void)? = nil
  ) -> ListJob<Output> {
    ListJob(
      function, options, inputs, chunkSize: chunkSize, stopsAtError: stopsAtError,
      whenOver: whenOver)
  }

  /// Gives the tasks to the workers and waits for their end. Blocks.
  func run(stopsAtError: Bool = true) throws(IPCError) -> ListJob<Output> {
    let job = job(stopsAtError: stopsAtError)
    try core.add(job)
    _ = core.wait(for: job.change, until: .max) { job.isOver }
    return job
  }

  /// The same without a blocked thread.
  ///
  /// - Throws: `cancelled` when the waiting task is; the pool's tasks are then cancelled too.
  func run(stopsAtError: Bool = true) async throws(IPCError) -> ListJob<Output> {
    if Task.isCancelled { throw cancelled }
    let job = job(stopsAtError: stopsAtError)
    try core.add(job)
    let status = await core.wait(for: job.change, until: .max) { job.isOver }
    if status >= 0 { return job }
    let error =
      status == CIPC_ECANCELED.rawValue
      ? cancelled : IPCError(status: status, "waiting for tasks of a pool")
    core.cancel(job, error)
    throw error
  }

  private var cancelled: IPCError { IPCError(.cancelled, context: "waiting for tasks of a pool") }

  /// Gives one task to the workers without waiting for the end.
  func submit() throws(IPCError) -> PoolResult<Output> {
    PoolResult(core, try submitted(stopsAtError: true))
  }

  /// Gives many tasks to the workers without waiting for the end.
  func submitMany() throws(IPCError) -> PoolBatch<Output> {
    PoolBatch(core, try submitted(stopsAtError: false), count: inputs.count)
  }

  private func submitted(stopsAtError: Bool) throws(IPCError) -> ListJob<Output> {
    let core = core
    let job = job(stopsAtError: stopsAtError) { core.endBackgroundWork() }
    core.beginBackgroundWork()
    do {
      try core.add(job)
    } catch {
      core.endBackgroundWork()
      throw error
    }
    return job
  }
}
