// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding
internal import Synchronization

/// A pool without its types: the scheduler under its lock, the engine, and the loop between them.
///
/// Nothing happens by itself: a thread *runs the loop*, which is to wait for the engine, take in its
/// reports, and carry out the scheduler's commands. A blocked caller runs the loop while it waits, so that
/// its result takes no detour through another thread; where no caller is blocked and there is work, the
/// pool's own thread does. One thread at a time runs the loop.
final class PoolCore: Sendable {
  let engine: any WorkerEngine
  let functions = PoolFunctions()
  private let scheduler: Guarded<PoolScheduler>
  private let log: (@Sendable (PoolEvent) -> Void)?
  /// The process that made the pool: a forked child has the memory, but not the workers.
  private let owner = cipc_participant_self()

  /// The name of the state's type that the initializer makes; `nil` for none.
  let stateType: ObjectIdentifier?

  private let watchesMemory: Bool
  /// Whether the loop must run although there is nothing to do, since idle workers end after a while.
  private let watchesIdleness: Bool
  private let isWatching = Guarded(false)

  // The thread that runs the loop: see PoolCore+Loop.
  let loop = Guarded(LoopState())
  /// Notifies of the pool's end.
  let end = PoolChange()
  /// Jobs for which no caller is blocked.
  let backgroundWork = Atomic(0)

  private struct Dispatching {
    var isBusy = false
    var isAskedAgain = false
  }
  private let dispatching = Guarded(Dispatching())
  let clock = PoolClock()
  /// What `firstReady` waits for, if anything: given when the next job is over.
  let completion = Guarded<OneTimeSignal?>(nil)
  let reporter: ProgressReporter?

  init(
    _ settings: PoolScheduler.Settings, _ engine: any WorkerEngine, stateType: ObjectIdentifier?,
    reporter: ProgressReporter? = nil, log: (@Sendable (PoolEvent) -> Void)?
  ) {
    self.engine = engine
    self.log = log
    self.stateType = stateType
    self.reporter = reporter
    watchesMemory = settings.memoryGrowth != nil
    watchesIdleness = settings.idleTime != nil
    scheduler = Guarded(PoolScheduler(settings))
  }

  func withScheduler<R>(
    _ body: (inout sending PoolScheduler) -> sending R
  ) -> sending R {
    scheduler.withLock(body)
  }

  // MARK: - Work

  /// - Parameter announced: how many elements there will be, of a job that has none yet.
  /// - Throws: `closed`, why the pool failed, or `unsupported` in a forked child.
  func add(_ job: PoolJob, announcing announced: Int = 0) throws(IPCError) {
    try checkOwner()
    if let reporter {
      // The last report comes before the job's waiters go on.
      job.addWhenOver { reporter.end(self) }
      reporter.begin(self)
    }
    let result = scheduler.withLock { scheduler -> Result<Void, IPCError> in
      do throws(IPCError) {
        try scheduler.add(job)
        if announced > 0 { scheduler.announce(job, announced) }
        return .success(())
      } catch {
        return .failure(error)
      }
    }
    do throws(IPCError) {
      try result.get()
    } catch {
      reporter?.end(self)
      throw error
    }
    // A job without elements: no result will end it.
    if job.isOver { job.over() }
    dispatch()
  }

  func checkOwner() throws(IPCError) {
    if isOwner { return }
    throw IPCError(.unsupported, context: "a pool in a forked child: its workers are the parent's")
  }

  var isOwner: Bool { cipc_participant_self() == owner }

  func extend(_ job: PoolJob, by more: Int) {
    scheduler.withLock { $0.extend(job, by: more) }
    dispatch()
  }

  /// Announces how many more elements a job will have, as far as is known.
  func announce(_ job: PoolJob, _ count: Int) {
    scheduler.withLock { $0.announce(job, count) }
  }

  /// - Returns: how many elements of the job were given up before a worker had them.
  @discardableResult
  func cancel(_ job: PoolJob, _ error: IPCError) -> Int {
    let now = clock.now()
    let count = scheduler.withLock { $0.cancel(job, error, now) }
    job.failAll(error)
    dispatch()
    return count
  }

  /// Gives up all elements that no worker has.
  ///
  /// - Returns: how many elements that were.
  func cancelWaiting(_ error: IPCError) -> Int {
    let now = clock.now()
    let count = scheduler.withLock { $0.cancelWaiting(error, now) }
    dispatch()
    return count
  }

  func close() {
    scheduler.withLock { $0.close() }
    dispatch()
    wakeThread()
    engine.interrupt()
  }

  func fail(_ error: IPCError) {
    scheduler.withLock { $0.fail(error) }
    dispatch()
    wakeThread()
    engine.interrupt()
  }

  /// Fails the pool and kills its workers, without waiting for their ends.
  func abandon(_ error: IPCError) {
    if !isOwner { return }
    fail(error)
    // The pool's thread, if there is one, stays for their ends.
    if loop.withLock({ $0.hasThread }) { beginBackgroundWork() }
    letThreadGo()
  }

  deinit {
    letThreadGo()
    reporter?.stop()
  }

  func waitForEnd(until deadline: Int64) async {
    _ = await wait(for: end, until: deadline) { hasEnded }
  }

  /// Why no worker could be started; `nil` where there is one.
  func firstStartError() -> IPCError? {
    scheduler.withLock { $0.workers.isEmpty ? $0.lastStartError : nil }
  }

  // MARK: - Giving out

  /// Carries out the scheduler's commands and sends out chunks. One thread at a time does so; the others
  /// have it go round once more.
  func dispatch() {
    let isMine = dispatching.withLock { dispatching in
      dispatching.isAskedAgain = true
      if dispatching.isBusy { return false }
      dispatching.isBusy = true
      return true
    }
    if !isMine { return }
    while true {
      dispatching.withLock { $0.isAskedAgain = false }
      dispatchOnce()
      let isDone = dispatching.withLock { dispatching in
        if dispatching.isAskedAgain { return false }
        dispatching.isBusy = false
        return true
      }
      if isDone { break }
    }
    if watchesIdleness { watchIdleness() }
  }

  /// Has the pool's thread run the loop as long as there are workers.
  private func watchIdleness() {
    let mustWatch = scheduler.withLock { !$0.workers.isEmpty }
    let isChanged = isWatching.withLock { isWatching in
      defer { isWatching = mustWatch }
      return isWatching != mustWatch
    }
    if !isChanged { return }
    if mustWatch { beginBackgroundWork() } else { endBackgroundWork() }
  }

  private func dispatchOnce() {
    while true {
      let now = clock.now()
      let (commands, next, isLate) = scheduler.withLock { scheduler in
        scheduler.staff(now)
        return (scheduler.takeCommands(), scheduler.assign(now), scheduler.isDueBeforePlanned)
      }
      for command in commands { carryOut(command) }
      guard let next else {
        // The thread in the loop sleeps for longer than it may by now, and no report may wake it.
        if isLate { engine.interrupt() }
        return
      }
      send(next.1, isNew: next.isNew, to: next.worker)
    }
  }

  private func send(_ assignment: PoolScheduler.Assignment, isNew: Bool, to worker: Int) {
    let job = assignment.job
    if isNew { engine.send(.define(job.function), to: worker) }
    engine.send(.run(job, assignment.elements), to: worker)
    // An element that could not be written may have ended the job.
    if job.stopsAtError && job.isOver { cancelRest(of: job) }
  }

  private func carryOut(_ command: PoolScheduler.Command) {
    switch command {
    case .start(let worker, let index):
      do throws(IPCError) {
        try engine.start(worker, index: index)
      } catch {
        let now = clock.now()
        scheduler.withLock { $0.notStarted(worker, error, now) }
        // The commands that follow from it are carried out in the next round.
        dispatching.withLock { $0.isAskedAgain = true }
      }
    case .stop(let worker): engine.send(.stop, to: worker)
    case .kill(let worker): engine.kill(worker)
    case .fail(let job, let element, let error):
      scheduler.withLock { $0.count(done: 0, failed: 1) }
      fail(element, of: job, error)
      // The commands that follow from it are carried out in the next round.
      dispatching.withLock { $0.isAskedAgain = true }
    case .failMany(let job, let elements, let error):
      for element in elements { job.fail(element, error) }
    case .failAll(let job, let error): job.failAll(error)
    case .log(let event): log?(event)
    case .ended:
      reporter?.stop()
      wakeAll()
    }
  }

  // MARK: - The loop

  /// Goes through the loop once: waits for the engine and takes in its reports. By the thread that runs the
  /// loop.
  func step(until deadline: Int64) {
    let next = min(deadline, scheduler.withLock { $0.planDeadline() }, reporter?.next ?? .max)
    engine.wait(until: next, reportingTo: self)
    let now = clock.now()
    if scheduler.withLock({ $0.nextDeadline }) <= now {
      scheduler.withLock { $0.due(now) { engine.activity(of: $0) } }
    }
    dispatch()
    reporter?.report(self, now)
  }

  var hasEnded: Bool { scheduler.withLock { $0.hasEnded } }

  /// Whether there is work for which the loop must run.
  var hasWork: Bool {
    scheduler.withLock { scheduler in
      if scheduler.hasEnded { return false }
      if case .open = scheduler.state { return scheduler.outstanding > 0 }
      return true
    }
  }
}

extension PoolCore: WorkerReceiver {
  func received(_ report: WorkerReport, from worker: Int) {
    let now = clock.now()
    switch report {
    case .ready:
      scheduler.withLock { $0.ready(worker, now) }
      measure(worker, now)
    case .initializerFailed(let text): scheduler.withLock { $0.initializerFailed(worker, text) }
    case .finalizerFailed(let text):
      log?(.finalizerFailed(name: name(of: worker), description: text))
    case .result(let result, let nanoseconds):
      let isValue = if case .value = result { true } else { false }
      // Counted before the job has it: that may be over then, and tells how far the pool is.
      guard
        let (job, elements) = progressed(
          worker, 1, nanoseconds, now, (done: isValue ? 1 : 0, failed: isValue ? 0 : 1))
      else { return }
      switch result {
      case .value(let value):
        unsafe job.receive(elements.lowerBound, value.bytes, value.inbox)
      case .failed(let error): fail(elements.lowerBound, of: job, error)
      }
    case .values(let values, let count, let nanoseconds):
      guard let (job, elements) = progressed(worker, count, nanoseconds, now, (count, 0)) else {
        return
      }
      if let size = job.resultSize, values.count == size * count {
        unsafe job.receive(elements, values: values)
      } else {
        // They are counted as done, and nothing more will be said of them.
        lose(elements, of: job, IPCError(.malformedMessage, context: "results of another size"))
        engine.kill(worker)
      }
    case .wrote(let line): log?(.wrote(name: name(of: worker), line: line))
    case .ended(let end, let activity):
      scheduler.withLock { $0.ended(worker, end, activity, now) }
    }
  }

  /// Fails elements whose results cannot be understood.
  private func lose(_ elements: Range<Int>, of job: PoolJob, _ error: any Error) {
    for element in elements { fail(element, of: job, error) }
  }

  /// Gives an element its error. Where one error ends the job, the rest is given up first: of a job that is
  /// over, nothing waits.
  private func fail(_ element: Int, of job: PoolJob, _ error: any Error) {
    if job.stopsAtError { cancelRest(of: job) }
    job.fail(element, error)
  }

  /// - Returns: which elements a worker is through with; `nil` where it cannot be so: that ends the
  ///   worker, since nothing that it reports can be relied upon.
  private func progressed(
    _ worker: Int, _ count: Int, _ nanoseconds: UInt64, _ now: Int64,
    _ counts: (done: Int, failed: Int)
  ) -> (PoolJob, Range<Int>)? {
    let found = scheduler.withLock { scheduler -> (PoolJob, Range<Int>)? in
      guard let found = scheduler.progressed(worker, count, nanoseconds, now) else { return nil }
      scheduler.count(done: counts.done, failed: counts.failed)
      return found
    }
    if found == nil { engine.kill(worker) } else { measure(worker, now) }
    return found
  }

  /// Measures the memory of a worker, where the pool watches that.
  private func measure(_ worker: Int, _ now: Int64) {
    guard watchesMemory, scheduler.withLock({ $0.mustMeasure(worker, now) }),
      let memory = engine.memoryUse(of: worker)
    else { return }
    scheduler.withLock { $0.measured(worker, memory) }
  }

  /// Gives up the rest of a map after its first error.
  private func cancelRest(of job: PoolJob) {
    let now = clock.now()
    scheduler.withLock { scheduler in
      if job.schedule.available > 0 {
        _ = scheduler.cancel(
          job, IPCError(.cancelled, context: "another task of the map failed"), now)
      }
    }
  }

  private func name(of worker: Int) -> String {
    scheduler.withLock { PoolScheduler.name(worker, $0.settings) }
  }
}

/// The scheduler's clock.
struct PoolClock {
  func now() -> Int64 { cipc_clock_now() }
}
