// SPDX-License-Identifier: Apache-2.0
internal import CIPC

// What all calls have in common.

extension ProcessPool {
  /// - Throws: `invalidArgument` where the pool's initializer makes another state, or none.
  func check<State>(_ state: State.Type) throws(IPCError) {
    if core.stateType == ObjectIdentifier(state) { return }
    throw IPCError(
      .invalidArgument,
      context: "tasks with a state of type \(state): the pool's initializer makes no such")
  }

  func function<each A>(
    _ function: some SendableFunction, of arguments: repeat (each A).Type, output: Any.Type?,
    takesState: Bool = false
  ) throws(IPCError) -> PoolFunction {
    var types: [any Any.Type] = []
    for type in repeat each arguments { types.append(type) }
    return try core.functions.function(
      function, takesState: takesState, arguments: types,
      output: output == Void.self ? nil : output)
  }

  /// Gives a job to the workers and waits for its end. Blocks.
  func run<Output>(_ job: ListJob<Output>) throws(IPCError) {
    try core.add(job)
    _ = core.wait(for: job.change, until: .max) { job.isOver }
  }

  /// The same without a blocked thread.
  ///
  /// - Throws: `cancelled` when the task is; the job is then cancelled too.
  func run<Output>(_ job: ListJob<Output>) async throws(IPCError) {
    if Task.isCancelled { throw Self.cancelled }
    try core.add(job)
    let status = await core.wait(for: job.change, until: .max) { job.isOver }
    if status >= 0 { return }
    let error =
      status == CIPC_ECANCELED.rawValue
      ? Self.cancelled : IPCError(status: status, "waiting for tasks of a pool")
    core.cancel(job, error)
    throw error
  }

  private static var cancelled: IPCError {
    IPCError(.cancelled, context: "waiting for tasks of a pool")
  }

  /// Gives a job to the workers that nobody waits for yet.
  func submit<Output: Sendable>(_ make: (@escaping @Sendable () -> Void) -> ListJob<Output>)
    throws(IPCError) -> PoolResult<Output>
  {
    PoolResult(core, try submitted(make))
  }

  private func submitted<Output: Sendable>(
    _ make: (@escaping @Sendable () -> Void) -> ListJob<Output>
  ) throws(IPCError) -> ListJob<Output> {
    let core = core
    let job = make { core.endBackgroundWork() }
    core.beginBackgroundWork()
    do {
      try core.add(job)
    } catch {
      core.endBackgroundWork()
      throw error
    }
    return job
  }

  /// Gives many tasks to the workers that nobody waits for yet.
  func submitMany<Output: Sendable>(
    _ inputs: any PoolInputs, _ chunkSize: Int?, _ options: TaskOptions, _ function: PoolFunction
  ) throws(IPCError) -> PoolBatch<Output> {
    let job = try submitted { whenOver in
      ListJob<Output>(
        function, options, inputs, chunkSize: chunkSize, stopsAtError: false, whenOver: whenOver)
    }
    return PoolBatch(core, job, count: inputs.count)
  }
}
