// SPDX-License-Identifier: Apache-2.0
internal import CIPC
public import MessageCoding

/// Worker processes that run tasks of this program, and that may crash without taking more with them
/// than the one task that each is in.
///
/// ```swift
/// let pool = try ProcessPool(workers: 4)
/// print(try await pool.map(0..<10) { $0 * $0 })  // [0, 1, 4, …, 81]
/// let result = try pool.submit(10) { $0 * $0 }
/// print(try await result.get(timeout: .seconds(1)))  // 100
/// for try await page in pool.imap(names, { try read($0) }) { show(page) }
/// ```
///
/// **What can be sent.** A task is a closure, a function by its name, or a `ProcessTask`. What it needs
/// are its arguments: they and results are copied as `Codable` does, and shared objects among them are
/// the same in all processes. A closure may capture numbers, and functions that can be sent themselves;
/// `ChildProcess.start` says which, and what is to be done with the rest.
///
/// **When something goes wrong.** A task that throws gives a `RemoteError`. A worker that crashes, is
/// killed or exits gives the one task that it was in the error `workerDied`, whose `exitStatus` has the
/// signal; another worker takes its place, and what it had waiting runs elsewhere. A task is begun once,
/// unless it is said to be idempotent (`TaskOptions.retries`).
///
/// A worker that traps prints a line that says why to its standard error. Where that is a `pipe`
/// (`ChildProcessOptions.standardError`), the error of the task has the line too, and the `log`
/// hook is told of all lines. Then the Swift runtime prints a backtrace, which takes a second; to
/// have none, start the workers with `options: .init(environment: ["SWIFT_BACKTRACE":
/// "enable=no"])`.
///
/// What a task prints is written out before its result arrives.
///
/// **Waiting.** Each operation exists for asynchronous code, where it suspends, and for synchronous
/// code, where it blocks and does the pool's work meanwhile: then no thread is started. For tasks
/// whose results no thread waits for, such as submitted ones, and for suspended ones the pool has one
/// thread.
///
/// **The end.** `close()` takes no more tasks, `join()` waits for all that there are, `terminate()` ends
/// the workers whatever they do. A pool that is dropped is terminated; workers end with this process,
/// however that ends. A Ctrl-C is the program's: workers ignore it, and one that it ends while it is
/// still starting costs no task and is replaced. A pool may be used from several threads at once, but
/// not in a forked child.
public final class ProcessPool: Sendable {
  let core: PoolCore
  /// The name of the pool; that of its workers is this and a number: "pool-1".
  public let name: String
  /// How many workers there are at a time.
  public let workerCount: Int

  /// Starts the workers of a pool.
  ///
  /// - Parameters:
  ///   - workers: how many; `nil` for as many as there are processors for this process.
  ///   - name: the name of the pool.
  ///   - maxTasksPerWorker: after how many tasks a worker is replaced by a fresh one.
  ///   - startMethod: how workers are started; `nil` for `forkServer`, which is the fastest, or for
  ///     `spawn` where the options change what the Swift runtime and the loader read of the environment
  ///     at their start, such as `SWIFT_BACKTRACE`. With `fork`, which works only while this process has
  ///     one thread, later workers need that too.
  ///   - memoryLimit: what each worker may allocate, in bytes, shared memory aside; one that needs
  ///     more ends by a signal, and the error of its task names the limit. See `ResourceLimits`.
  ///   - progressBar: whether to draw a line on the terminal while the pool is busy for longer than
  ///     half a second; only where standard error is a terminal. What workers write to that terminal
  ///     comes by way of this process then, and stands above the line: to them it is a pipe.
  ///   - options: what else holds for the workers' start. Their name, that they are daemons, and
  ///     their standard input, which is empty, are the pool's to say.
  ///   - poolOptions: what else the pool does.
  ///   - log: is told what happens. It is called by any thread and must not wait for the pool.
  /// - Throws: `invalidArgument`; what starting a child throws, where no worker could be started.
  public convenience init(
    workers: Int? = nil, name: String = "pool", maxTasksPerWorker: Int? = nil,
    startMethod: StartMethod? = nil, memoryLimit: Int? = nil, progressBar: Bool = false,
    options: ChildProcessOptions = .init(), poolOptions: PoolOptions = .init(),
    log: (@Sendable (PoolEvent) -> Void)? = nil
  ) throws(IPCError) {
    try self.init(
      workers, name, maxTasksPerWorker, startMethod, memoryLimit, progressBar, options,
      poolOptions, log,
      initializer: nil, stateType: nil)
  }

  /// Starts the workers of a pool, each of which makes a state that its tasks are handed.
  ///
  /// ```swift
  /// let pool = try ProcessPool(workers: 2, arguments: "weights") { try Model(reading: $0) }
  /// let labels = try await pool.with(Model.self).map(images) { model, image in
  ///   try model.label(image)
  /// }
  /// ```
  ///
  /// What a worker has to write or give back in the end, a finalizer does:
  ///
  /// ```swift
  /// let pool = try ProcessPool(workers: 2, arguments: "log") { path in
  ///   try Log(path)
  /// } finalizer: { log in
  ///   try log.flush()
  /// }
  /// try await pool.with(Log.self).forEach(lines) { log, line in log.add(line) }
  /// pool.close()
  /// try await pool.join()
  /// ```
  ///
  /// One that throws is told by `PoolEvent.finalizerFailed`, and is not tried again.
  ///
  /// An initializer that throws is tried again in a fresh worker; after three times in a row the
  /// pool's tasks fail with `poolFailed` and the cause. The state never leaves its worker, so it need
  /// not be `Codable`; what returns nothing prepares its worker otherwise. The rest is as without.
  ///
  /// - Parameters:
  ///   - arguments: what the initializer is called with, sent to each worker.
  ///   - initializer: runs in each worker, before its first task; captures only what a task may.
  ///   - finalizer: runs in each worker behind its last task, with the state: after `close()`, and
  ///     when a worker is retired. Not in one that is killed, as `terminate()` does. Captures as
  ///     the initializer.
  /// - Throws: as without an initializer; `notTransferable` for one that captures what cannot be sent,
  ///   and for a state whose type cannot be named.
  public convenience init<each A: Codable & Sendable, State>(
    workers: Int? = nil, name: String = "pool", maxTasksPerWorker: Int? = nil,
    startMethod: StartMethod? = nil, memoryLimit: Int? = nil, progressBar: Bool = false,
    options: ChildProcessOptions = .init(), poolOptions: PoolOptions = .init(),
    log: (@Sendable (PoolEvent) -> Void)? = nil,
    arguments: repeat each A, initializer: @escaping @Sendable (repeat each A) throws -> State,
    finalizer: (@Sendable (inout State) throws -> Void)? = nil
  ) throws(IPCError) {
    let function = ValueFunction<repeat each A, State>(body: initializer)
    // Not by `map`: that would wrap the closure, and the wrapper has a context.
    var last: (any SendableFunction)?
    if let finalizer { last = StateAction<State>(body: finalizer) }
    try self.init(
      workers, name, maxTasksPerWorker, startMethod, memoryLimit, progressBar, options,
      poolOptions, log,
      initializer: PoolInitializer(
        function, state: State.self, finalizer: last,
        repeat each arguments),
      stateType: State.self)
  }

  /// The same with an initializer that can be suspended, and such a finalizer.
  @_disfavoredOverload
  public convenience init<each A: Codable & Sendable, State>(
    workers: Int? = nil, name: String = "pool", maxTasksPerWorker: Int? = nil,
    startMethod: StartMethod? = nil, memoryLimit: Int? = nil, progressBar: Bool = false,
    options: ChildProcessOptions = .init(), poolOptions: PoolOptions = .init(),
    log: (@Sendable (PoolEvent) -> Void)? = nil,
    arguments: repeat each A,
    initializer: @escaping @concurrent @Sendable (repeat each A) async throws -> State,
    finalizer: (@concurrent @Sendable (inout State) async throws -> Void)? = nil
  ) throws(IPCError) {
    let function = AsyncValueFunction<repeat each A, State>(body: initializer)
    // Not by `map`: that would wrap the closure, and the wrapper has a context.
    var last: (any SendableFunction)?
    if let finalizer { last = AsyncStateAction<State>(body: finalizer) }
    try self.init(
      workers, name, maxTasksPerWorker, startMethod, memoryLimit, progressBar, options,
      poolOptions, log,
      initializer: PoolInitializer(
        function, state: State.self, finalizer: last,
        repeat each arguments),
      stateType: State.self)
  }

  private convenience init(
    _ workers: Int?, _ name: String, _ maxTasksPerWorker: Int?, _ startMethod: StartMethod?,
    _ memoryLimit: Int?, _ progressBar: Bool, _ options: ChildProcessOptions,
    _ poolOptions: PoolOptions, _ log: (@Sendable (PoolEvent) -> Void)?,
    initializer: (any PoolInitializing)?,
    stateType: Any.Type?
  ) throws(IPCError) {
    let count = workers ?? CurrentProcess.processorCount
    guard count > 0, (maxTasksPerWorker ?? 1) > 0 else {
      throw IPCError(
        .invalidArgument, context: "a pool of \(count) workers, or of workers without tasks")
    }
    if poolOptions.processors.contains([]) || (poolOptions.memoryGrowth ?? 1) <= 0 {
      throw IPCError(
        .invalidArgument, context: "a worker of a pool without processors, or without memory")
    }
    var options = options
    options.daemon = true
    options.standardInput = .null
    options.method = startMethod ?? options.effectiveMethod(.forkServer)
    if let memoryLimit { options.limits.dataBytes = memoryLimit }
    let bar = progressBar ? ProgressBar() : nil
    // It has a thread, with which there is no fork.
    let relay = options.method == .fork ? nil : bar.flatMap { OutputRelay($0, &options) }
    let engine = try ProcessEngine(
      ProcessEngine.Settings(
        name: name, options: options, processors: poolOptions.processors,
        isRelayed: relay != nil,
        initializer: initializer))
    var settings = PoolScheduler.Settings(
      workers: count, maxTasksPerWorker: maxTasksPerWorker,
      idleTime: poolOptions.idleTime.map { max(0, Deadline.nanoseconds($0)) },
      memoryGrowth: poolOptions.memoryGrowth, name: name)
    settings.hasInitializer = initializer != nil
    settings.initializerTime = poolOptions.initializerTimeout.map {
      max(0, Deadline.nanoseconds($0))
    }
    try self.init(
      settings, engine, stateType: stateType,
      reporter: ProgressReporter(
        bar: bar, relay: relay, poolOptions.onProgress,
        interval: poolOptions.progressInterval), log: log)
  }

  /// A pool on any engine.
  init(
    _ settings: PoolScheduler.Settings, _ engine: any WorkerEngine, stateType: Any.Type? = nil,
    reporter: ProgressReporter? = nil, log: (@Sendable (PoolEvent) -> Void)? = nil
  ) throws(IPCError) {
    name = settings.name
    workerCount = settings.workers
    core = PoolCore(
      settings, engine, stateType: stateType.map { ObjectIdentifier($0) }, reporter: reporter,
      log: log)
    core.dispatch()
    // Where not even one could be started, this is the place to say so.
    if let error = core.firstStartError() {
      core.abandon(IPCError(.closed, context: "the pool \"\(name)\""))
      throw error
    }
  }

  deinit { core.abandon(IPCError(.closed, context: "the pool \"\(name)\" is gone")) }

  /// How far the pool is, at this moment. Does not block; some system calls for each worker.
  public var progress: PoolProgress { core.progress(measured: true) }

  // MARK: - The end

  /// Takes no more tasks. What was submitted is done, and then the workers end. Does not block;
  /// closing again does nothing.
  public func close() { core.close() }

  /// Gives up all tasks that no worker has been given yet, of all calls: their error is
  /// `cancelled`. What has begun goes on, and the pool takes more. Does not block.
  ///
  /// ```swift
  /// let results = try urls.map { try pool.submit($0) { try fetch($0) } }
  /// print("\(pool.cancelWaiting()) were not begun")
  /// ```
  ///
  /// A `map` of which tasks wait throws; `mapResults` and batches go on with what has begun. `imap`
  /// gives the errors of those that it has taken from its input, and takes more where it is asked
  /// for more.
  ///
  /// - Returns: how many tasks were given up.
  @discardableResult
  public func cancelWaiting() -> Int {
    core.cancelWaiting(
      IPCError(.cancelled, context: "the tasks that waited in the pool \"\(name)\""))
  }

  /// Ends the workers, whatever they do. Tasks that have no result yet fail with `cancelled`.
  ///
  /// Blocks until the kernel has ended them: some milliseconds, and at most ten seconds. Terminating
  /// again does nothing.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func terminate() {
    if !core.isOwner { return }
    core.fail(Self.terminated(name))
    if core.wait(for: core.end, until: Self.patience(), { core.hasEnded }) { core.joinThread() }
  }

  /// The same without a blocked thread.
  public func terminate() async {
    if !core.isOwner { return }
    core.fail(Self.terminated(name))
    // Also where the task is cancelled: it is for a moment.
    let core = core
    await Task.detached { await core.waitForEnd(until: Self.patience()) }.value
    if core.hasEnded { core.joinThread() }
  }

  /// Waits until all tasks are done and all workers have ended, after `close()` or `terminate()`.
  /// Blocks.
  ///
  /// - Returns: whether that is so; `false` after the timeout, where one is given.
  /// - Throws: `invalidArgument` for a pool that is open, `unsupported` in a forked child.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  public func join(timeout: Duration? = nil) throws(IPCError) -> Bool {
    try checkClosed()
    guard core.wait(for: core.end, until: Deadline.after(timeout), { core.hasEnded }) else {
      return false
    }
    core.joinThread()
    return true
  }

  /// Waits until all tasks are done and all workers have ended, after `close()` or `terminate()`.
  ///
  /// - Returns: whether that is so; `false` after the timeout, where one is given.
  /// - Throws: as the blocking form; `cancelled` when the waiting task is.
  @discardableResult
  public func join(timeout: Duration? = nil) async throws(IPCError) -> Bool {
    try checkClosed()
    let status = await core.wait(for: core.end, until: Deadline.after(timeout)) { core.hasEnded }
    if status == CIPC_ETIMEDOUT.rawValue { return false }
    try IPCError.check(status, "joining the pool \"\(name)\"")
    core.joinThread()
    return true
  }

  private func checkClosed() throws(IPCError) {
    try core.checkOwner()
    let isOpen = core.withScheduler { scheduler in
      if case .open = scheduler.state { true } else { false }
    }
    if isOpen {
      throw IPCError(.invalidArgument, context: "joining a pool that was not closed: it has no end")
    }
  }

  private static func terminated(_ name: String) -> IPCError {
    IPCError(.cancelled, context: "the pool \"\(name)\" was terminated")
  }

  private static func patience() -> Int64 { cipc_clock_deadline(10_000_000_000) }
}

/// Makes a pool for the time of a closure, and terminates it behind: also when that throws.
///
/// ```swift
/// let squares = try await withProcessPool(workers: 4) { pool in
///   try await pool.map(0..<10) { $0 * $0 }
/// }
/// ```
///
/// The closure runs where the caller does: on its actor, whose state it may use. What was submitted and
/// not waited for is given up: leaving takes no longer than ending the workers.
///
/// - Throws: what making a `ProcessPool` throws, and what the closure does.
public func withProcessPool<R>(
  workers: Int? = nil, name: String = "pool", maxTasksPerWorker: Int? = nil,
  startMethod: StartMethod? = nil, memoryLimit: Int? = nil, progressBar: Bool = false,
  _ body: (ProcessPool) async throws -> R
) async throws -> R {
  let pool = try ProcessPool(
    workers: workers, name: name, maxTasksPerWorker: maxTasksPerWorker, startMethod: startMethod,
    memoryLimit: memoryLimit, progressBar: progressBar)
  return try await withProcessPool(pool, body)
}

/// Uses a pool for the time of a closure, and terminates it behind: also when that throws. For a pool
/// with an initializer, or other options.
///
/// - Throws: what the closure does.
public func withProcessPool<R>(
  _ pool: ProcessPool, _ body: (ProcessPool) async throws -> R
) async throws -> R {
  do {
    let result = try await body(pool)
    await pool.terminate()
    return result
  } catch {
    await pool.terminate()
    throw error
  }
}

/// Makes a pool for the time of a closure, and terminates it behind: also when that throws. Blocks.
///
/// All else as in the asynchronous form.
@_disfavoredOverload  // or asynchronous code whose closure has no `await` in it would get this one
@available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
public func withProcessPool<R>(
  workers: Int? = nil, name: String = "pool", maxTasksPerWorker: Int? = nil,
  startMethod: StartMethod? = nil, memoryLimit: Int? = nil, progressBar: Bool = false,
  _ body: (ProcessPool) throws -> R
) throws -> R {
  let pool = try ProcessPool(
    workers: workers, name: name, maxTasksPerWorker: maxTasksPerWorker, startMethod: startMethod,
    memoryLimit: memoryLimit, progressBar: progressBar)
  defer { pool.terminate() }
  return try body(pool)
}
