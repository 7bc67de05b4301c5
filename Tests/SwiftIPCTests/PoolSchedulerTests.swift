// SPDX-License-Identifier: Apache-2.0
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

extension PoolFunction {
  static func named(_ names: PoolFunctionNames, _ identity: UInt64 = 1) -> PoolFunction {
    PoolFunction(
      identity, of: names, keepsName: false, .inherited(hasArguments: true),
      returnsValue: true)
  }
}

/// Which worker gets which task, and what becomes of it, without any process and without time.
@Suite struct PoolSchedulerTests {
  private struct Trial {
    let engine = FakeEngine()
    let core: PoolCore
    let function = PoolFunction.named(PoolFunctionNames())

    init(
      workers: Int = 2, maxTasksPerWorker: Int? = nil, idleTime: Int64? = nil,
      memoryGrowth: Int? = nil, areReady: Bool = true,
      settings change: (inout PoolScheduler.Settings) -> Void = { _ in },
      log: (@Sendable (PoolEvent) -> Void)? = nil
    ) {
      var settings = PoolScheduler.Settings(
        workers: workers, maxTasksPerWorker: maxTasksPerWorker, idleTime: idleTime,
        memoryGrowth: memoryGrowth, name: "fake", pause: 0)
      change(&settings)
      core = PoolCore(settings, engine, stateType: nil, log: log)
      // For good: the engine never blocks, so the pool's thread would take all that comes, and spin.
      #expect(core.takeLoop())
      core.dispatch()
      if areReady { for worker in engine.started { engine.ready(worker) } }
      core.step(until: 0)
    }

    func job(
      _ count: Int, chunkSize: Int? = nil, _ options: TaskOptions = .init(), stops: Bool = false
    ) throws -> ListJob<Int> {
      let job = ListJob<Int>(
        function, options, ListInputs(Array(0..<count)), chunkSize: chunkSize,
        stopsAtError: stops)
      try core.add(job)
      return job
    }

    func step() { core.step(until: 0) }

    /// Each of the workers, one after the other, is killed by the pool and dies.
    func workersAreKilled(_ workers: ClosedRange<Int>, after prepare: (Int) -> Void = { _ in }) {
      for worker in workers {
        prepare(worker)
        step()
        #expect(engine.killed.last == worker)
        engine.dies(worker, begun: 0)
        step()
      }
    }
  }

  @Test func theFirstChunksAreSingleElementsAndLaterOnesAdapt() throws {
    let trial = Trial()
    let job = try trial.job(100_000)
    #expect(trial.engine.runs(1) == [[0]])
    #expect(trial.engine.runs(2) == [[1]])
    // 100 ns for an element.
    trial.engine.results(1, [0], nanoseconds: 100)
    trial.step()
    #expect(trial.engine.runs(1).first?.count == 8)
    var longest = 0
    var next = [1: [2, 3, 4, 5, 6, 7, 8, 9]]
    for _ in 0..<8 {
      guard let elements = next[1] else { break }
      trial.engine.results(1, elements, nanoseconds: UInt64(elements.count) * 100)
      trial.step()
      let runs = trial.engine.runs(1)
      longest = max(longest, runs.map(\.count).max() ?? 0)
      // Only the chunk at the front can be answered; the others stay.
      next[1] = nil
    }
    // No chunk is longer than half a millisecond's worth.
    #expect(longest <= 5000)
    #expect(!job.isOver)
  }

  @Test func longTasksAreNotQueuedBehindOneAnother() throws {
    let trial = Trial()
    _ = try trial.job(10)
    #expect(trial.engine.runs(1) == [[0]])
    #expect(trial.engine.runs(2) == [[1]])
    trial.engine.results(2, [1], nanoseconds: 50_000_000)
    trial.step()
    #expect(trial.engine.runs(1) == [])
    #expect(trial.engine.runs(2) == [[2]])
  }

  @Test func shortTasksAreQueued() throws {
    let trial = Trial(workers: 1)
    _ = try trial.job(1000, chunkSize: 1)
    #expect(trial.engine.runs(1) == [[0]])
    trial.engine.results(1, [0], nanoseconds: 1000)
    trial.step()
    #expect(trial.engine.runs(1).count == PoolSchedulerTests.mostQueued)
  }

  private static let mostQueued = JobSchedule.mostQueued

  @Test func tasksThatADeadWorkerHadNotBegunRunElsewhere() throws {
    let trial = Trial()
    let job = try trial.job(8, chunkSize: 4)
    #expect(trial.engine.runs(1) == [[0, 1, 2, 3]])
    #expect(trial.engine.runs(2) == [[4, 5, 6, 7]])
    // One result, the second element begun, two not.
    trial.engine.results(1, [100])
    trial.engine.dies(1, begun: 2)
    trial.engine.results(2, [104, 105, 106, 107])
    trial.step()
    #expect(trial.engine.started == [1, 2, 3])
    #expect(trial.engine.runs(2) == [[2, 3]])
    trial.engine.results(2, [102, 103])
    trial.step()
    #expect(job.isOver)
    let results = job.results()
    #expect(
      try results.enumerated().filter { $0.offset != 1 }.map { try $0.element.get() }
        == [100, 102, 103, 104, 105, 106, 107])
    let error = #expect(throws: IPCError.self) { try results[1].get() }
    #expect(error?.code == .workerDied && error?.exitStatus == .signalled(9))
  }

  @Test func aWorkerThatDiesBetweenTasksCostsNone() throws {
    let trial = Trial(workers: 1)
    let job = try trial.job(3, chunkSize: 3)
    trial.engine.results(1, [0])
    trial.engine.dies(1, begun: 1)
    trial.step()
    trial.engine.ready(2)
    trial.step()
    #expect(trial.engine.runs(2) == [[1, 2]])
    trial.engine.results(2, [1, 2])
    trial.step()
    #expect(try job.values() == [0, 1, 2])
  }

  @Test func aPoolThatFailsLeavesNoTaskBehind() throws {
    let trial = Trial(workers: 1)
    let jobs = try (0..<3).map { _ in try trial.job(1) }
    for worker in 1...8 {
      if worker > 1 {
        trial.engine.ready(worker)
        trial.step()
      }
      trial.engine.dies(worker, begun: 0)
      trial.step()
    }
    for job in jobs {
      #expect(job.isOver)
      let error = #expect(throws: IPCError.self) { try job.values() }
      #expect(error?.code == .poolFailed)
    }
    #expect(trial.core.hasEnded)
  }

  @Test func aWorkerThatDoesNotEndDoesNotKeepAPoolThatCannotStartOthers() throws {
    let trial = Trial(workers: 2, maxTasksPerWorker: 1)
    let job = try trial.job(3, chunkSize: 1)
    trial.engine.startError = IPCError(.resourceLimit, context: "too many")
    trial.engine.results(1, [0])
    // One keeps its place until it has ended; the other one's is free.
    trial.engine.dies(2, begun: 0)
    for _ in 0..<10 { trial.step() }
    #expect(trial.engine.wasStopped(1) && trial.engine.killed == [1])
    let error = #expect(throws: IPCError.self) { try job.results()[1].get() }
    #expect(error?.code == .resourceLimit)
  }

  @Test func anIdempotentTaskIsTriedAgainSoOften() throws {
    let trial = Trial(workers: 1)
    let job = try trial.job(1, .init(retries: 2))
    for worker in 1...3 {
      if worker > 1 {
        trial.engine.ready(worker)
        trial.step()
      }
      #expect(trial.engine.runs(worker) == [[0]])
      #expect(!job.isOver)
      trial.engine.dies(worker, begun: 1)
      trial.step()
    }
    #expect(throws: IPCError.self) { try job.values() }
  }

  @Test func aTimeoutKillsTheWorkerAndIsTheTasksError() throws {
    let trial = Trial(workers: 1)
    let job = try trial.job(2, chunkSize: 1, .init(timeout: .nanoseconds(1), retries: 5))
    // Begun long ago.
    trial.engine.activities[1] = WorkerActivity(begun: 1, begunAt: 1)
    trial.step()
    #expect(trial.engine.killed == [1])
    trial.engine.dies(1, begun: 1)
    trial.step()
    trial.engine.ready(2)
    trial.step()
    #expect(trial.engine.runs(2) == [[1]])
    trial.engine.results(2, [11])
    trial.step()
    let results = job.results()
    let error = #expect(throws: IPCError.self) { try results[0].get() }
    #expect(error?.code == .timedOut)
    #expect(try results[1].get() == 11)
  }

  /// The results before it may be in the worker's slot, where they are reported with the rest of the chunk.
  @Test func aTimeoutIsThatOfTheElementThatTheWorkerIsIn() throws {
    let trial = Trial(workers: 1)
    let job = try trial.job(4, chunkSize: 4, .init(timeout: .nanoseconds(1)))
    trial.engine.activities[1] = WorkerActivity(begun: 3, begunAt: 1)
    trial.step()
    #expect(trial.engine.killed == [1])
    trial.engine.results(1, [10, 11])
    trial.engine.dies(1, begun: 3)
    trial.step()
    trial.engine.ready(2)
    trial.step()
    #expect(trial.engine.runs(2) == [[3]])
    trial.engine.results(2, [13])
    trial.step()
    let results = job.results()
    #expect(try [0, 1, 3].map { try results[$0].get() } == [10, 11, 13])
    let error = #expect(throws: IPCError.self) { try results[2].get() }
    #expect(error?.code == .timedOut)
  }

  @Test func aTaskThatIsNotBegunDoesNotTimeOutAtOnce() throws {
    let trial = Trial(workers: 1)
    _ = try trial.job(1, .init(timeout: .nanoseconds(1)))
    trial.engine.activities[1] = WorkerActivity(begun: 0)
    for _ in 0..<5 { trial.step() }
    #expect(trial.engine.killed == [])
  }

  @Test func tasksThatAStoppedWorkerHasNotBegunRunElsewhere() throws {
    let trial = Trial(workers: 2, settings: { $0.grace.toBegin = 0 })
    let job = try trial.job(4, chunkSize: 2, .init(timeout: .nanoseconds(1)))
    trial.engine.results(2, [2, 3])
    trial.engine.activities[2] = WorkerActivity(begun: 2)
    for _ in 0..<3 { trial.step() }
    #expect(trial.engine.killed == [1])
    trial.engine.dies(1, begun: 0)
    trial.step()
    #expect(trial.engine.runs(2).last == [0, 1])
    trial.engine.results(2, [0, 1])
    trial.step()
    #expect(try job.values() == [0, 1, 2, 3])
  }

  @Test func withoutATimeoutTheyMoveWhereAnotherWorkerHasNothingToDo() throws {
    let trial = Trial(
      workers: 2,
      settings: { settings in
        settings.grace.toBegin = 0
        settings.grace.toBeginWithoutTimeout = 0
      })
    let job = try trial.job(2, chunkSize: 1)
    for _ in 0..<3 { trial.step() }
    // The other is as far: it may be the machine.
    #expect(trial.engine.killed == [])
    trial.engine.results(2, [1])
    trial.engine.activities[2] = WorkerActivity(begun: 1)
    for _ in 0..<4 { trial.step() }
    #expect(trial.engine.killed == [1])
    trial.engine.dies(1, begun: 0)
    trial.step()
    trial.engine.results(2, [0])
    trial.step()
    #expect(try job.values() == [0, 1])
  }

  @Test func aTaskIsLostThatAStoppedWorkerBeginsAtTheLastMoment() throws {
    let trial = Trial(workers: 1, settings: { $0.grace.toBegin = 0 })
    let job = try trial.job(1, .init(timeout: .nanoseconds(1)))
    for _ in 0..<3 { trial.step() }
    #expect(trial.engine.killed == [1])
    trial.engine.dies(1, begun: 1)
    trial.step()
    let error = #expect(throws: IPCError.self) { try job.values() }
    #expect(error?.code == .workerDied)
  }

  @Test func workersThatAreStoppedOneAfterTheOtherFailThePool() throws {
    let trial = Trial(workers: 1, settings: { $0.grace.toBegin = 0 })
    let job = try trial.job(1, .init(timeout: .nanoseconds(1)))
    trial.workersAreKilled(1...8) { worker in
      if worker > 1 {
        trial.engine.ready(worker)
        trial.step()
      }
      for _ in 0..<2 { trial.step() }
    }
    let error = #expect(throws: IPCError.self) { try job.values() }
    #expect(error?.code == .poolFailed)
    #expect(error?.context.contains("began nothing of what it had and was ended") == true)
    #expect(trial.core.hasEnded)
  }

  @Test func noTaskWaitsBehindOneOfAnotherCall() throws {
    let trial = Trial(workers: 1)
    let long = try trial.job(1)
    let short = try trial.job(1000, chunkSize: 1)
    #expect(trial.engine.runs(1) == [[0]])
    trial.engine.results(1, [0], nanoseconds: 1000)
    trial.step()
    trial.engine.results(1, [0], nanoseconds: 1000)
    trial.step()
    #expect(long.isOver)
    #expect(trial.engine.runs(1).count > 1)
    // Its turn comes when the worker has none of the other left.
    _ = try trial.job(1)
    trial.core.cancel(short, IPCError(.cancelled))
    trial.step()
    #expect(trial.engine.runs(1) == [])
  }

  @Test func aWorkerThatIsNeverReadyIsReplaced() throws {
    let trial = Trial(workers: 1, areReady: false, settings: { $0.grace.toBeReady = 0 })
    let job = try trial.job(1)
    trial.workersAreKilled(1...8)
    let error = #expect(throws: IPCError.self) { try job.values() }
    #expect(error?.code == .poolFailed)
  }

  @Test func anInitializerThatTakesTooLongFailsThePool() throws {
    let trial = Trial(
      workers: 1, areReady: false,
      settings: { settings in
        settings.hasInitializer = true
        settings.initializerTime = 0
      })
    let job = try trial.job(1)
    trial.workersAreKilled(1...3)
    let error = #expect(throws: IPCError.self) { try job.values() }
    #expect(error?.code == .poolFailed)
    #expect(error?.context.contains("in the initializer") == true)
    #expect(trial.core.hasEnded)
  }

  @Test func tasksWithATimeoutDoNotWaitForInitializersForEver() throws {
    let trial = Trial(
      workers: 2, areReady: false,
      settings: { settings in
        settings.hasInitializer = true
        settings.grace.forInitializers = 0
      })
    let patient = try trial.job(1)
    let timed = try trial.job(3, .init(timeout: .nanoseconds(1)))
    trial.step()
    let error = #expect(throws: IPCError.self) { try timed.values() }
    #expect(error?.code == .timedOut)
    #expect(!patient.isOver && trial.engine.killed == [])
    trial.engine.ready(2)
    trial.step()
    trial.engine.results(2, [0])
    trial.step()
    #expect(try patient.values() == [0])
    // One worker that is ready is enough.
    let late = try trial.job(1, .init(timeout: .nanoseconds(1)))
    trial.step()
    #expect(!late.isOver)
  }

  @Test func aWorkerThatDoesNotEndLosesItsPlace() throws {
    let trial = Trial(workers: 1, maxTasksPerWorker: 1, settings: { $0.grace.toEnd = 0 })
    let job = try trial.job(2, chunkSize: 1)
    trial.engine.results(1, [0])
    for _ in 0..<3 { trial.step() }
    #expect(trial.engine.wasStopped(1) && trial.engine.killed == [1])
    trial.engine.dies(1, begun: 1)
    trial.step()
    trial.engine.ready(2)
    trial.step()
    trial.engine.results(2, [1])
    trial.step()
    #expect(try job.values() == [0, 1])
    // Where nothing waits for its place it has all the time that it wants.
    trial.core.close()
    for _ in 0..<3 { trial.step() }
    #expect(trial.engine.killed == [1])
  }

  @Test func aWorkerIsReplacedAfterItsNumberOfTasks() throws {
    let trial = Trial(workers: 1, maxTasksPerWorker: 3)
    let job = try trial.job(4, chunkSize: 2)
    #expect(trial.engine.runs(1) == [[0, 1]])
    trial.engine.results(1, [0, 1], nanoseconds: 2_000_000_000)
    trial.step()
    #expect(trial.engine.runs(1) == [[2]])
    trial.engine.results(1, [2])
    trial.step()
    #expect(trial.engine.wasStopped(1))
    // Its index is its own until it has ended.
    #expect(trial.engine.started == [1])
    trial.engine.dies(1, .exited(0), begun: 3)
    trial.step()
    #expect(trial.engine.started == [1, 2])
    trial.engine.ready(2)
    trial.step()
    #expect(trial.engine.runs(2) == [[3]])
    trial.engine.results(2, [3])
    trial.step()
    #expect(try job.values() == [0, 1, 2, 3])
  }

  @Test func namesOfFunctionsThatAreGoneAreUsedAgain() {
    let names = PoolFunctionNames()
    let kept = PoolFunction.named(names)
    for _ in 0..<10 { #expect(PoolFunction.named(names).name == 2) }
    #expect(kept.name == 1)
  }

  @Test func aWorkerIsToldAnewWhenAnotherFunctionHasTheName() throws {
    let trial = Trial(workers: 1)
    let names = PoolFunctionNames()
    for identity in 1...3 as ClosedRange<UInt64> {
      let function = PoolFunction.named(names, identity)
      #expect(function.name == 1)
      let job = ListJob<Int>(function, .init(), ListInputs([1]), chunkSize: nil)
      try trial.core.add(job)
      trial.step()
      #expect(trial.engine.definitions(1) == Int(identity))
      trial.engine.results(1, [1])
      trial.step()
      #expect(try job.values() == [1])
    }
  }

  @Test func aWorkerTakesTheIndexOfOneThatHasEnded() throws {
    let trial = Trial(workers: 3)
    #expect(trial.engine.indices == [0, 1, 2])
    _ = try trial.job(6, chunkSize: 1)
    trial.engine.dies(2, begun: 1)
    trial.step()
    #expect(trial.engine.indices == [0, 1, 2, 1])
    trial.engine.dies(4, begun: 0)
    trial.engine.dies(1, begun: 1)
    trial.step()
    #expect(Set(trial.engine.indices.suffix(2)) == [0, 1])
    #expect(trial.engine.started == [1, 2, 3, 4, 5, 6])
  }

  @Test func anInitializerThatKeepsFailingFailsThePool() throws {
    let events = Mutex<[PoolEvent]>([])
    let engine = FakeEngine()
    let core = PoolCore(
      PoolScheduler.Settings(workers: 1, name: "fake", pause: 0), engine, stateType: nil,
      log: { event in events.withLock { $0.append(event) } })
    core.dispatch()
    let job = ListJob<Int>(
      PoolFunction.named(PoolFunctionNames()),
      .init(), ListInputs([1]), chunkSize: nil)
    try core.add(job)
    for worker in 1...3 {
      engine.fails(worker, "no weights")
      engine.dies(worker, .exited(0), begun: 0)
      core.step(until: 0)
    }
    let error = #expect(throws: IPCError.self) { try job.values() }
    #expect(error?.code == .poolFailed)
    #expect(error?.context.contains("no weights") == true)
    #expect(engine.started == [1, 2, 3])
    #expect(core.hasEnded)
    #expect(events.withLock { $0.contains { if case .poolFailed = $0 { true } else { false } } })
    #expect(throws: IPCError.self) { try core.add(job) }
  }

  @Test func workersThatCannotBeStartedFailThePoolInTheEnd() throws {
    let engine = FakeEngine()
    engine.startError = IPCError(.resourceLimit, context: "too many")
    let core = PoolCore(
      PoolScheduler.Settings(workers: 1, name: "fake", pause: 0), engine, stateType: nil, log: nil)
    let job = ListJob<Int>(
      PoolFunction.named(PoolFunctionNames()),
      .init(), ListInputs([1]), chunkSize: nil)
    try core.add(job)
    for _ in 0..<20 { core.step(until: 0) }
    let error = #expect(throws: IPCError.self) { try job.values() }
    #expect(error?.code == .resourceLimit)
  }

  @Test func cancellingGivesOutNoMoreAndKillsWhenAsked() throws {
    let trial = Trial(workers: 1)
    let job = try trial.job(10, chunkSize: 1, .init(killsWhenCancelled: true))
    #expect(trial.engine.runs(1) == [[0]])
    trial.core.cancel(job, IPCError(.cancelled))
    #expect(trial.engine.killed == [1])
    #expect(job.isOver)
    trial.engine.dies(1, begun: 1)
    trial.step()
    trial.engine.ready(2)
    trial.step()
    #expect(trial.engine.runs(2) == [])
    let gentle = try trial.job(10, chunkSize: 1)
    trial.core.cancel(gentle, IPCError(.cancelled))
    #expect(trial.engine.killed == [1])
  }

  @Test func anErrorEndsAMapAndTheRestIsNotBegun() throws {
    let trial = Trial(workers: 1)
    let job = try trial.job(10, chunkSize: 1, stops: true)
    trial.engine.dies(1, begun: 1)
    trial.step()
    #expect(job.isOver)
    let error = #expect(throws: IPCError.self) { try job.values() }
    #expect(error?.code == .workerDied && error?.taskIndex == 0)
    trial.engine.ready(2)
    trial.step()
    #expect(trial.engine.runs(2) == [])
    let progress = trial.core.progress()
    #expect(progress.cancelled == 9 && progress.waiting == 0 && progress.total == 10)
  }

  @Test func theRateOfAnIdlePoolStaysWhatItWas() throws {
    let trial = Trial(workers: 1)
    let job = try trial.job(1)
    trial.engine.results(1, [0])
    trial.step()
    let rate = trial.core.progress().rate
    #expect(rate > 0)
    // Of what is over already, and of a stream to which nothing came.
    trial.core.cancel(job, IPCError(.cancelled))
    let stream = StreamJob<Int, Int>(trial.function, .init(), isOrdered: true, chunkSize: 1)
    try trial.core.add(stream)
    trial.core.cancel(stream, IPCError(.cancelled))
    #expect(trial.core.progress().rate == rate)
  }

  @Test func theElementsThatAStreamIsToHaveAreInTheTotal() throws {
    let trial = Trial(workers: 1)
    let stream = StreamJob<Int, Int>(trial.function, .init(), isOrdered: false, chunkSize: 1)
    try trial.core.add(stream, announcing: 500)
    #expect(trial.core.progress().total == 500)
    for number in 0..<4 { stream.add(number) }
    trial.core.extend(stream, by: 4)
    trial.engine.results(1, [0], nanoseconds: 1 << 30)
    trial.step()
    var progress = trial.core.progress()
    #expect(progress.done == 1 && progress.running == 1 && progress.waiting == 498)
    #expect(ProgressBar.line(progress, width: 60).contains("0% 1 of 500"))
    // More than were announced, then fewer.
    trial.core.announce(stream, 1)
    for number in 4..<7 { stream.add(number) }
    trial.core.extend(stream, by: 3)
    #expect(trial.core.progress().total == 7)
    trial.core.announce(stream, 5)
    #expect(trial.core.progress().total == 12)
    trial.core.cancel(stream, IPCError(.cancelled))
    progress = trial.core.progress()
    // What a worker has goes on.
    #expect(progress.total == 12 && progress.waiting == 0)
    #expect(progress.cancelled == 11 - progress.running)
    // Without end, and often.
    for _ in 0..<1000 {
      let endless = StreamJob<Int, Int>(trial.function, .init(), isOrdered: true, chunkSize: 1)
      try trial.core.add(endless, announcing: .max)
    }
    #expect(trial.core.progress().total > 1 << 48)
  }

  @Test func cancellingWhatWaitsLeavesWhatHasBegun() throws {
    let trial = Trial(workers: 1)
    let job = try trial.job(10, chunkSize: 2)
    let other = try trial.job(3)
    let stream = StreamJob<Int, Int>(trial.function, .init(), isOrdered: true, chunkSize: 1)
    try trial.core.add(stream, announcing: 10)
    for number in 0..<2 { stream.add(number) }
    trial.core.extend(stream, by: 2)
    #expect(trial.engine.runs(1) == [[0, 1]])
    #expect(trial.core.cancelWaiting(IPCError(.cancelled)) == 13)
    #expect(!job.isOver && other.isOver)
    // The stream says it of each and takes more.
    for element in 0..<2 {
      let next = try #require(stream.take())
      #expect(next.index == element)
      #expect(throws: IPCError.self) { try next.result.get() }
    }
    stream.add(2)
    trial.core.extend(stream, by: 1)
    // One that comes back from a dead worker was not waiting.
    trial.engine.dies(1, begun: 1)
    trial.step()
    trial.engine.ready(2)
    trial.step()
    #expect(trial.engine.runs(2) == [[1]])
    trial.engine.results(2, [11], nanoseconds: 1 << 30)
    trial.step()
    #expect(job.isOver)
    #expect(try job.results()[1].get() == 11)
    #expect(trial.engine.runs(2) == [[2]])
    let progress = trial.core.progress()
    #expect(progress.cancelled == 13 && progress.done == 1 && progress.failed == 1)
    #expect(progress.running == 1 && progress.waiting == 7)
  }

  @Test func aWorkerWhoseMemoryGrowsFinishesWhatItHas() throws {
    let trial = Trial(workers: 1, memoryGrowth: 100)
    trial.engine.memories[1] = 1000
    let job = try trial.job(6, chunkSize: 2)
    #expect(trial.engine.runs(1) == [[0, 1]])
    // The first measure is what it is compared with.
    trial.engine.results(1, [0], nanoseconds: 1000)
    trial.step()
    trial.core.withScheduler { $0.forgetMeasuring() }
    trial.engine.memories[1] = 1099
    trial.engine.results(1, [1], nanoseconds: 1000)
    trial.step()
    #expect(!trial.engine.wasStopped(1))
    #expect(trial.engine.runs(1) == [[2, 3], [4, 5]])
    trial.core.withScheduler { $0.forgetMeasuring() }
    trial.engine.memories[1] = 1100
    trial.engine.results(1, [2])
    trial.step()
    #expect(!trial.engine.wasStopped(1))
    _ = try trial.job(1)
    #expect(trial.engine.runs(1) == [])
    trial.engine.results(1, [3])
    trial.engine.results(1, [4, 5])
    trial.step()
    #expect(trial.engine.wasStopped(1) && job.isOver)
    trial.engine.dies(1, .exited(0), begun: 6)
    trial.step()
    trial.engine.ready(2)
    trial.step()
    #expect(trial.engine.runs(2) == [[0]])
  }

  @Test func idleWorkersEndAndAreStartedForWork() throws {
    let trial = Trial(workers: 3, idleTime: 1)
    // They have been idle for a nanosecond by now.
    trial.step()
    for worker in 1...3 {
      #expect(trial.engine.wasStopped(worker))
      trial.engine.dies(worker, .exited(0), begun: 0)
    }
    trial.step()
    #expect(trial.engine.started == [1, 2, 3])
    #expect(trial.engine.deadlines.last != 0 || trial.core.progress().workers.isEmpty)
    let job = try trial.job(2, chunkSize: 1)
    // As many as there is work for.
    #expect(trial.engine.started == [1, 2, 3, 4, 5])
    trial.engine.ready(4)
    trial.engine.ready(5)
    trial.step()
    #expect(trial.engine.runs(4) == [[0]])
    #expect(trial.engine.runs(5) == [[1]])
    trial.engine.results(4, [0])
    trial.step()
    trial.step()
    #expect(trial.engine.wasStopped(4) && !trial.engine.wasStopped(5))
    trial.engine.results(5, [1])
    trial.step()
    #expect(job.isOver)
  }

  @Test func closingWaitsForWhatIsThereAndThenStopsTheWorkers() throws {
    let trial = Trial(workers: 2)
    let job = try trial.job(2, chunkSize: 1)
    trial.core.close()
    #expect(throws: IPCError.self) { try trial.core.add(job) }
    trial.engine.results(1, [0])
    trial.step()
    #expect(!trial.engine.wasStopped(1))
    trial.engine.results(2, [1])
    trial.step()
    #expect(trial.engine.wasStopped(1) && trial.engine.wasStopped(2))
    trial.engine.dies(1, .exited(0), begun: 1)
    trial.engine.dies(2, .exited(0), begun: 1)
    trial.step()
    #expect(trial.core.hasEnded)
    #expect(trial.engine.started == [1, 2])
  }

  @Test(
    arguments: [[UInt8]](
      [
        [], [99], [3], [3, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255],
        [4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7], [2, 255, 0, 0, 0, 0, 0, 0, 0, 65],
        [3, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0],
        [3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 7],
      ]
    ))
  func aFrameOfNonsenseIsNoReport(_ bytes: [UInt8]) {
    let error = #expect(throws: IPCError.self) {
      try unsafe bytes.withUnsafeBytes { bytes in
        var reader = unsafe FrameReader(bytes)
        _ = try WorkerReport(&reader, nil, from: "fake-1")
      }
    }
    #expect(error?.code == .malformedMessage)
  }

  /// Results of elements that the worker does not have, and values of another size.
  @Test(arguments: [(1, 7), (1, 9), (2, 16), (0, 0), (Int(UInt32.max), 8)])
  func aReportThatCannotBeEndsTheWorker(_ count: Int, _ size: Int) throws {
    let trial = Trial(workers: 1)
    let job = try trial.job(1)
    let bytes = UnsafeRawBufferPointer(.allocate(byteCount: size, alignment: 8))
    defer { unsafe bytes.deallocate() }
    trial.engine.reports(unsafe .values(bytes, count: count, nanoseconds: 0), 1)
    trial.step()
    #expect(trial.engine.killed == [1])
    // Whatever it was, the job comes to an end.
    trial.engine.dies(1, begun: 1)
    trial.step()
    #expect(job.isOver)
    let idle = Trial(workers: 1)
    idle.engine.results(1, [1])
    idle.step()
    #expect(idle.engine.killed == [1])
  }

  @Test func aStreamOfAPoolThatHasFailedEnds() throws {
    let trial = Trial(workers: 1)
    let stream = StreamJob<Int, Int>(trial.function, .init(), isOrdered: true, chunkSize: nil)
    try trial.core.add(stream)
    trial.core.fail(IPCError(.cancelled))
    stream.add(1)
    trial.core.extend(stream, by: 1)
    #expect(stream.isReady && stream.hasEnded)
  }

  @Test func progressCounts() throws {
    let trial = Trial(workers: 2)
    _ = try trial.job(4, chunkSize: 1)
    trial.engine.results(1, [0], nanoseconds: 1 << 30)
    trial.engine.dies(2, begun: 1)
    trial.step()
    let progress = trial.core.progress()
    #expect(progress.done == 1 && progress.failed == 1 && progress.running == 1)
    #expect(progress.waiting == 1 && progress.total == 4)
    #expect(progress.workers.map(\.state) == [.running, .starting])
    #expect(ProgressBar.line(progress, width: 60).contains("50% 2 of 4, 1 failed"))
  }
}
