// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// What a pool promises, on two engines that have nothing in common: processes, and threads of this process.
@Suite struct PoolEngineTests {
  enum Engine: CaseIterable, Sendable {
    case processes, threads

    func pool(
      workers: Int = 2, maxTasksPerWorker: Int? = nil, log: (@Sendable (PoolEvent) -> Void)? = nil
    ) throws -> ProcessPool {
      switch self {
      case .processes:
        return try ProcessPool(workers: workers, maxTasksPerWorker: maxTasksPerWorker, log: log)
      case .threads:
        let settings = PoolScheduler.Settings(
          workers: workers, maxTasksPerWorker: maxTasksPerWorker, name: "thread")
        return try ProcessPool(settings, ThreadEngine(), log: log)
      }
    }

    /// A pool whose workers' state is the number of tasks that they had.
    func countingPool() throws -> ProcessPool {
      switch self {
      case .processes: return try ProcessPool(workers: 1, arguments: 100) { Counter($0) }
      case .threads:
        let settings = PoolScheduler.Settings(workers: 1, name: "thread", hasInitializer: true)
        return try ProcessPool(
          settings, ThreadEngine(makeState: { TaskState(Counter(100)) }), stateType: Counter.self)
      }
    }

    /// A pool whose initializer always throws.
    func failingPool() throws -> ProcessPool {
      switch self {
      case .processes: return try ProcessPool(workers: 1) { () throws -> Counter in throw Wrong() }
      case .threads:
        let settings = PoolScheduler.Settings(workers: 1, name: "thread", hasInitializer: true)
        return try ProcessPool(
          settings, ThreadEngine(makeState: { throw Wrong() }), stateType: Counter.self)
      }
    }
  }

  struct Counter {
    var count: Int
    init(_ count: Int) { self.count = count }
  }

  struct Wrong: Error {}

  enum Work {
    /// Ends the worker as a crash would.
    static func crash() throws {
      if CurrentProcess.workerIndex == nil { throw ThreadEngine.Crash() }
      kill(getpid(), SIGKILL)
    }
  }

  @Test(arguments: Engine.allCases) func aMapHasItsResultsInOrder(_ engine: Engine) async throws {
    let pool = try engine.pool()
    #expect(try await pool.map(0..<1000) { $0 * 2 } == (0..<1000).map { $0 * 2 })
    #expect(try await pool.map(0..<100, chunkSize: 7) { "\($0)" } == (0..<100).map { "\($0)" })
    #expect(try await pool.apply("a", 3) { String(repeating: $0, count: $1) } == "aaa")
    #expect(try await pool.apply(2) { (number: Int) async in number + 1 } == 3)
    await pool.terminate()
  }

  @Test(arguments: Engine.allCases) func errorsAreTheTasksOwn(_ engine: Engine) async throws {
    let pool = try engine.pool()
    for chunkSize in [1, 4] {
      let results = try await pool.mapResults(0..<20, chunkSize: chunkSize) { number in
        if number % 5 == 3 { throw Wrong() }
        return number
      }
      for (number, result) in results.enumerated() {
        if number % 5 == 3 {
          let error = #expect(throws: RemoteError.self) { try result.get() }
          #expect(error?.typeName.hasSuffix("Wrong") == true && error?.taskIndex == number)
        } else {
          #expect(try result.get() == number)
        }
      }
    }
    await #expect(throws: RemoteError.self) {
      try await pool.map(0..<100, chunkSize: 1) { number in
        if number == 3 { throw Wrong() }
        return number
      }
    }
    #expect(try await pool.apply(1) { $0 } == 1)
    await pool.terminate()
  }

  @Test(arguments: Engine.allCases) func aWorkerThatDiesTakesOneTaskWithIt(
    _ engine: Engine
  ) async throws {
    let pool = try engine.pool()
    let results = try await pool.mapResults(0..<40, chunkSize: 8) { number in
      if number == 11 { try Work.crash() }
      return number
    }
    for (number, result) in results.enumerated() {
      if number == 11 {
        let error = #expect(throws: IPCError.self) { try result.get() }
        #expect(error?.code == .workerDied && error?.taskIndex == 11)
      } else {
        #expect(try result.get() == number)
      }
    }
    await pool.terminate()
  }

  @Test(arguments: Engine.allCases) func aLostTaskIsTriedAgainSoOften(
    _ engine: Engine
  ) async throws {
    let events = Mutex<[PoolEvent]>([])
    let pool = try engine.pool(workers: 1) { event in events.withLock { $0.append(event) } }
    let error = await #expect(throws: IPCError.self) {
      try await pool.apply(1, options: .init(retries: 2)) { number in
        try Work.crash()
        return number
      }
    }
    #expect(error?.code == .workerDied)
    #expect(
      events.withLock { $0.count { if case .taskRetried = $0 { true } else { false } } } == 2)
    await pool.terminate()
  }

  @Test(arguments: Engine.allCases) func aTaskThatTakesTooLongIsKilledAndTheRestGoesOn(
    _ engine: Engine
  ) async throws {
    let pool = try engine.pool()
    let results = try await pool.mapResults(
      0..<6, chunkSize: 3, options: .init(timeout: .milliseconds(300))
    ) { number in
      if number == 1 { usleep(3_000_000) }
      return number
    }
    for (number, result) in results.enumerated() {
      if number == 1 {
        let error = #expect(throws: IPCError.self) { try result.get() }
        #expect(error?.code == .timedOut)
      } else {
        #expect(try result.get() == number)
      }
    }
    await pool.terminate()
  }

  @Test(arguments: Engine.allCases) func workersAreReplacedAfterTheirNumberOfTasks(
    _ engine: Engine
  ) async throws {
    let events = Mutex<[PoolEvent]>([])
    let pool = try engine.pool(workers: 2, maxTasksPerWorker: 3) { event in
      events.withLock { $0.append(event) }
    }
    #expect(try await pool.map(0..<30) { $0 } == Array(0..<30))
    pool.close()
    try await pool.join()
    let (started, retired, ended) = events.withLock { events in
      (
        events.count { if case .workerStarted = $0 { true } else { false } },
        events.count { if case .workerRetired(_, .tasks) = $0 { true } else { false } },
        events.filter { if case .workerEnded = $0 { true } else { false } }
      )
    }
    // The last of both workers may end with the pool before it is retired.
    #expect(started >= 10 && retired >= 8 && ended.count == started)
    for case .workerEnded(_, let status) in ended { #expect(status == .exited(0)) }
  }

  @Test(arguments: Engine.allCases) func workersKeepTheirState(_ engine: Engine) async throws {
    let pool = try engine.countingPool()
    let numbers = try await pool.with(Counter.self).map(0..<10, chunkSize: 3) { state, number in
      state.count += 1
      return state.count + number * 0
    }
    #expect(numbers == Array(101...110))
    await pool.terminate()
  }

  @Test(arguments: Engine.allCases) func anInitializerThatKeepsThrowingFailsThePool(
    _ engine: Engine
  ) async throws {
    let pool = try engine.failingPool()
    let error = await #expect(throws: IPCError.self) { try await pool.apply(1) { $0 } }
    #expect(error?.code == .poolFailed && error?.context.contains("Wrong") == true)
    await pool.terminate()
  }

  @Test(arguments: Engine.allCases) func cancellingGivesUpWhatHasNotBegun(
    _ engine: Engine
  ) async throws {
    let pool = try engine.pool(workers: 1)
    let first = try pool.submit(1) { number in
      usleep(300_000)
      return number
    }
    while pool.progress.running == 0 { usleep(1000) }
    let others = try (0..<5).map { try pool.submit($0) { $0 } }
    #expect(others[2].cancel())
    #expect(pool.cancelWaiting() >= 3)
    #expect(try await first.get() == 1)
    for other in others[1...] {
      let error = await #expect(throws: IPCError.self) { try await other.get() }
      #expect(error?.code == .cancelled)
    }
    // One that has begun is killed where it asks for that.
    let victim = try pool.submit(1, options: .init(killsWhenCancelled: true)) { number in
      usleep(3_000_000)
      return number
    }
    while pool.progress.running == 0 { usleep(1000) }
    victim.cancel()
    #expect(try await pool.apply(7) { $0 } == 7)
    let error = await #expect(throws: IPCError.self) { try await victim.get() }
    #expect(error?.code == .cancelled)
    await pool.terminate()
  }

  @Test(arguments: Engine.allCases) func aStreamGivesItsResultsAsTheyCome(
    _ engine: Engine
  ) async throws {
    let pool = try engine.pool()
    var next = 0
    for try await value in pool.imap(0..<200, { $0 + 1 }) {
      next += 1
      #expect(value == next)
    }
    #expect(next == 200)
    await pool.terminate()
  }

  @Test(arguments: Engine.allCases) func closingFinishesWhatIsThereAndTerminatingDoesNot(
    _ engine: Engine
  ) async throws {
    let closed = try engine.pool()
    let batch = try closed.submitMap(0..<50) { $0 }
    closed.close()
    try await closed.join()
    #expect(try await batch.get() == Array(0..<50))
    #expect(closed.progress.done == 50 && closed.progress.workers.isEmpty)
    await #expect(throws: IPCError.self) { try await closed.apply(1) { $0 } }
    let terminated = try engine.pool()
    let long = try terminated.submit(1) { number in
      usleep(3_000_000)
      return number
    }
    while terminated.progress.running == 0 { usleep(1000) }
    await terminated.terminate()
    let error = await #expect(throws: IPCError.self) { try await long.get() }
    #expect(error?.code == .cancelled)
  }
}
