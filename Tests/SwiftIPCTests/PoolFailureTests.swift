// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// What tasks, initializers and callers can do to a pool.
@Suite struct PoolFailureTests {
  private func code(_ result: Result<Int, any Error>) -> IPCError.Code? {
    if case .failure(let error as IPCError) = result { error.code } else { nil }
  }

  @Test func aTimeoutIsTheTasksErrorAndTheRestGoesOn() async throws {
    let pool = try ProcessPool(workers: 2)
    let results = try await pool.mapResults(
      0..<6, chunkSize: 1, options: .init(timeout: .seconds(3))
    ) { number in
      while number == 2 { pause() }
      return number
    }
    for (number, result) in results.enumerated() {
      if number == 2 {
        #expect(code(result) == .timedOut)
      } else {
        #expect(try result.get() == number)
      }
    }
    await pool.terminate()
  }

  /// The map has thrown, and its caller has gone on, when results of elements arrive that were begun
  /// before: one by one with a state, otherwise several at once.
  @Test(arguments: [false, true]) func resultsThatComeAfterTheErrorOfAMapAreIgnored(
    withState: Bool
  ) async throws {
    let (begun, gate) = (try Event(), try Event())
    let pool = try ProcessPool(workers: 2, arguments: begun, gate) { begun, gate -> Int in
      unsafe MapGates.begun = begun
      unsafe MapGates.gate = gate
      return 1
    }
    await #expect(throws: RemoteError.self) {
      if withState {
        try await pool.with(Int.self).map(0..<8, chunkSize: 4) { try MapGates.pass($1) * $0 }
      } else {
        try await pool.map(0..<8, chunkSize: 4) { try MapGates.pass($0) }
      }
    }
    gate.set()
    pool.close()
    try await pool.join()
    #expect(pool.progress.done == 7)
  }

  @Test func getHasATimeoutThatLeavesTheTaskAlone() async throws {
    let (ours, theirs) = try Connection.pair()
    let pool = try ProcessPool(workers: 1)
    let result = try pool.submit(theirs) { try $0.receive(Int.self) }
    let error = await #expect(throws: IPCError.self) {
      try await result.get(timeout: .milliseconds(1))
    }
    #expect(error?.code == .timedOut)
    #expect(!result.isReady)
    #expect(try await result.wait(timeout: .milliseconds(1)) == false)
    try await ours.send(5)
    #expect(try await result.get() == 5)
    await pool.terminate()
  }

  /// Exits, closes all descriptors, raises signals, forks, and comes back twice.
  @Test func tasksThatMisbehaveCostThemselvesAlone() async throws {
    let pool = try ProcessPool(
      workers: 2,
      options: .init(environment: ["SWIFT_BACKTRACE": "enable=no"], standardError: .null))
    let results = try await pool.mapResults(0..<70, chunkSize: 1) { number in
      switch number % 10 {
      case 1: exit(3)
      case 2:
        // The result cannot be sent, or the worker is ended before.
        for descriptor in Int32(3)..<256 { close(descriptor) }
        while true { pause() }
      case 3: raise(SIGTERM)
      case 4: _ = fork()
      case 5: fatalError("a task that traps")
      case 6: _exit(0)
      default: break
      }
      return number
    }
    for (number, result) in results.enumerated() {
      if [1, 2, 3, 5, 6].contains(number % 10) {
        #expect(code(result) == .workerDied, "\(number): \(result)")
      } else {
        #expect(try result.get() == number)
      }
    }
    await pool.terminate()
  }

  @Test(.enabled(if: !ChildWork.keepsMemory)) func aMemoryLimitEndsTheWorkerThatBreaksIt()
    async throws
  {
    let pool = try ProcessPool(
      workers: 1, memoryLimit: 256 << 20,
      options: .init(environment: ["SWIFT_BACKTRACE": "enable=no"], standardError: .null))
    let results = try await pool.mapResults([1, 1024, 2], chunkSize: 1) { mebibytes in
      [UInt8](repeating: 1, count: mebibytes << 20).count >> 20
    }
    #expect(try results[0].get() == 1 && results[2].get() == 2)
    #expect(code(results[1]) == .workerDied)
    await pool.terminate()
  }

  @Test func aGigabyteOfOutputGoesWhereTheOptionsSay() async throws {
    let pool = try ProcessPool(workers: 1, options: .init(standardOutput: .null))
    let lines = try await pool.apply(1 << 20) { count in
      let line = String(repeating: "x", count: 1023)
      for _ in 0..<count { print(line) }
      return count
    }
    #expect(lines == 1 << 20)
    await pool.terminate()
  }

  @Test func whatCannotBeCodedIsTheTasksError() async throws {
    let pool = try ProcessPool(workers: 1)
    let results = try await pool.mapResults(0..<4, chunkSize: 2) { PoolPicky(number: $0) }
    #expect(try results[0].get().number == 0 && results[3].get().number == 3)
    // Encoding 1 throws in the worker, decoding 2 here.
    for place in 1...2 {
      let error = #expect(throws: IPCError.self) { try results[place].get() }
      #expect(error?.code == .malformedMessage)
    }
    let arguments = try await pool.mapResults((0..<4).map(PoolPicky.init)) { $0.number }
    #expect(try arguments[0].get() == 0 && arguments[3].get() == 3)
    #expect(throws: (any Error).self) { try arguments[1].get() }
    #expect(throws: (any Error).self) { try arguments[2].get() }
    await pool.terminate()
  }

  @Test func aClosureThatCapturesMoreThanNumbersIsRefused() async throws {
    let pool = try ProcessPool(workers: 1)
    let name = pool.name
    let error = await #expect(throws: IPCError.self) {
      try await pool.apply(1) { name + "\($0)" }
    }
    #expect(error?.code == .notTransferable)
    let workerCount = pool.workerCount
    #expect(try await pool.apply(1) { $0 + workerCount } == 2)
    await pool.terminate()
  }

  @Test func anInitializerThatThrowsFailsThePoolWithItsCause() async throws {
    let events = Mutex<[PoolEvent]>([])
    let log: @Sendable (PoolEvent) -> Void = { event in events.withLock { $0.append(event) } }
    let pool = try ProcessPool(workers: 1, log: log, arguments: "weights") {
      (name: String) -> Int in throw ChildWork.Refusal(reason: "no \(name)")
    }
    let error = await #expect(throws: IPCError.self) { try await pool.apply(1) { $0 } }
    #expect(error?.code == .poolFailed)
    #expect(error?.context.contains("no weights") == true)
    await pool.terminate()
    let failures = events.withLock { events in
      events.filter { if case .initializerFailed = $0 { true } else { false } }.count
    }
    #expect(failures == 3)
  }

  @Test func anInitializerThatDiesFailsThePoolToo() async throws {
    let pool = try ProcessPool(workers: 1, arguments: 7) { (code: Int) -> Int in exit(Int32(code)) }
    let error = await #expect(throws: IPCError.self) { try await pool.apply(1) { $0 } }
    #expect(error?.code == .poolFailed)
    #expect(error?.exitStatus == .exited(7))
    await pool.terminate()
  }

  @Test func anAsynchronousInitializerAndTheMainActor() async throws {
    let pool = try ProcessPool(workers: 1, arguments: 2) { (number: Int) async -> Int in
      await ChildWork.onMainActor(number * 10)
    }
    #expect(
      try await pool.with(Int.self).apply(3) { (state: inout Int, number: Int) async in
        state += await ChildWork.onMainActor(number)
        return state
      } == 23)
    #expect(try await pool.with(Int.self).apply(1) { $0 + $1 } == 24)
    await pool.terminate()
  }

  @Test func cancellingATaskOfThisProcessCancelsItsWork() async throws {
    let pool = try ProcessPool(workers: 1)
    let (ours, theirs) = try Connection.pair()
    let work = Task {
      try await pool.apply(theirs, options: .init(killsWhenCancelled: true)) { connection in
        try connection.send("begun")
        while true { pause() }
      } as Int
    }
    #expect(try await ours.receive(String.self) == "begun")
    work.cancel()
    let error = await #expect(throws: IPCError.self) { try await work.value }
    #expect(error?.code == .cancelled)
    // The worker was killed, or this would wait for ever.
    #expect(try await pool.apply(5) { $0 } == 5)
    let waiting = try pool.submit(1) { $0 }
    _ = try await waiting.get()
    #expect(waiting.cancel() == false || waiting.isReady)
    #expect(try await waiting.get() == 1)
    await pool.terminate()
  }

  @Test func cancellingBeforeTheBeginningBeginsNothing() async throws {
    let pool = try ProcessPool(workers: 1)
    let (ours, theirs) = try Connection.pair()
    let number = try Value(0)
    let blocker = try pool.submit(theirs) { connection in
      try connection.send("begun")
      _ = try? connection.receive(Int.self)
    }
    #expect(try await ours.receive(String.self) == "begun")
    let waiting = try pool.submit(number) { number in try number.store(1) }
    #expect(waiting.cancel())
    let error = await #expect(throws: IPCError.self) { try await waiting.get() }
    #expect(error?.code == .cancelled)
    ours.close()
    try await blocker.get()
    #expect(try await pool.apply(1) { $0 } == 1)
    #expect(number.value == 0)
    await pool.terminate()
  }

  @Test(.timeLimit(.minutes(5))) func terminateEndsWhateverRuns() async throws {
    let pool = try ProcessPool(workers: 2)
    let (ours, theirs) = try Connection.pair()
    let running = try pool.submit(theirs) { connection in
      for signal in Int32(1)...31 { Glibc.signal(signal, SIG_IGN) }
      try connection.send("begun")
      while true { pause() }
    }
    let waiting = try (0..<100).map { try pool.submit($0) { $0 } }
    #expect(try await ours.receive(String.self) == "begun")
    // Nothing but a kill ends the one that runs, and nothing else lets this come back.
    await pool.terminate()
    let error = await #expect(throws: IPCError.self) { try await running.get() }
    #expect(error?.code == .cancelled)
    for result in waiting { #expect(try await result.wait(timeout: .zero)) }
    #expect(try await pool.join())
    #expect(throws: IPCError.self) { try pool.submit(1) { $0 } }
    await pool.terminate()
  }

  @Test func leavingAScopeEndsThePoolAlsoByAnError() async throws {
    let (ours, theirs) = try Connection.pair()
    await #expect(throws: ChildWork.Refusal.self) {
      try await withProcessPool(workers: 1) { pool in
        try pool.submit(theirs) { connection in
          try connection.send("begun")
          while true { pause() }
        }
        _ = try await ours.receive(String.self)
        throw ChildWork.Refusal(reason: "out")
      }
    }
    let error = await #expect(throws: IPCError.self) { try await ours.receive(String.self) }
    #expect(error?.code == .peerClosed)
    let pool = try ProcessPool(workers: 1, arguments: 3) { $0 * 2 }
    let sum = try await withProcessPool(pool) { pool in
      try await pool.with(Int.self).apply(4) { $0 + $1 }
    }
    #expect(sum == 10)
    #expect(throws: IPCError.self) { try pool.submit(1) { $0 } }
  }

  @Test func closeAndJoinWaitForWhatWasSubmitted() async throws {
    let pool = try ProcessPool(workers: 2)
    let results = try (0..<50).map { try pool.submit($0) { $0 * 2 } }
    await #expect(throws: IPCError.self) { try await pool.join() }
    pool.close()
    #expect(try await pool.join())
    for (number, result) in results.enumerated() {
      #expect(try await result.get(timeout: .zero) == number * 2)
    }
    let error = #expect(throws: IPCError.self) { try pool.submit(1) { $0 } }
    #expect(error?.code == .closed)
  }

  @Test func workersAreReplacedAfterSoManyTasks() async throws {
    let pool = try ProcessPool(workers: 1, maxTasksPerWorker: 3)
    let names = try await pool.map(0..<9) { _ in CurrentProcess.name }
    #expect(names == [1, 1, 1, 2, 2, 2, 3, 3, 3].map { "pool-\($0)" })
    await pool.terminate()
  }

  @Test func sharedObjectsAreTheSameAndLargeArraysArrive() async throws {
    let pool = try ProcessPool(workers: 2)
    let total = try SharedAtomic(0)
    let tasks = (0..<40).map { PoolAdd(total: total, number: $0) }
    #expect(try await pool.map(tasks: tasks) == Array(0..<40))
    #expect(total.load() == 780)
    // Through parcels, and with several sizes one after the other.
    for size in [1000, 100_000, 3_000_000, 10] {
      let arrays = (0..<6).map { [Float](repeating: Float($0), count: size) }
      let doubled = try await pool.map(arrays, chunkSize: 2) { $0.map { $0 * 2 } }
      for (number, array) in doubled.enumerated() {
        #expect(array.count == size && array.allSatisfy { $0 == Float(number) * 2 })
      }
    }
    // And through the socket, with a shared object in it.
    let text = String(repeating: "long", count: 100_000)
    #expect(
      try await pool.apply(total, text) { total, text in total.add(1).newValue + text.utf8.count }
        == 400_781)
    let made = try await pool.apply(7) { number in try Value(number) }
    #expect(made.value == 7)
    await pool.terminate()
  }

  @Test func namesAndStatesOfWorkers() async throws {
    let pool = try ProcessPool(workers: 2, name: "bakers")
    let comm = try await pool.apply {
      let file = unsafe open("/proc/self/comm", O_RDONLY | O_CLOEXEC)
      return ChildWork.readAll(file)
    }
    #expect(comm.hasPrefix("bakers-"))
    let progress = pool.progress
    #expect(progress.workers.map(\.name) == ["bakers-1", "bakers-2"])
    #expect(progress.done == 1 && progress.failed == 0 && progress.waiting == 0)
    await pool.terminate()
    #expect(pool.progress.workers.isEmpty)
  }

  @Test func manyCallersBlockAtOnce() throws {
    let pool = try ProcessPool(workers: 2)
    let threads = (0..<8).map { thread in
      InThread { try (0..<200).map { try pool.apply($0 + thread) { $0 * 2 } } }
    }
    for (thread, work) in threads.enumerated() {
      #expect(try work.join() == (0..<200).map { ($0 + thread) * 2 })
    }
    try InThread { pool.terminate() }.join()
  }

  @Test func manyTasksWaitAtOnce() async throws {
    let pool = try ProcessPool(workers: 2)
    let sum = try await withThrowingTaskGroup(of: Int.self) { group in
      for number in 0..<500 { group.addTask { try await pool.apply(number) { $0 } } }
      return try await group.reduce(0, +)
    }
    #expect(sum == 124_750)
    await pool.terminate()
  }
}

private struct PoolAdd: ProcessTask {
  var total: SharedAtomic<Int>
  var number: Int
  func run() -> Int {
    total.add(number)
    return number
  }
}

/// 1 cannot be encoded, and 2 not be decoded.
private struct PoolPicky: Codable, Sendable {
  var number: Int
  init(number: Int) { self.number = number }
  init(from decoder: any Decoder) throws {
    number = try decoder.singleValueContainer().decode(Int.self)
    if number == 2 { throw ChildWork.Refusal(reason: "2") }
  }
  func encode(to encoder: any Encoder) throws {
    if number == 1 { throw ChildWork.Refusal(reason: "1") }
    var container = encoder.singleValueContainer()
    try container.encode(number)
  }
}

/// What elements of a map wait for, in a worker.
private enum MapGates {
  nonisolated(unsafe) static var begun: Event?
  nonisolated(unsafe) static var gate: Event?

  /// The first fails once the fifth has begun; the fifth returns once the map has failed.
  static func pass(_ element: Int) throws -> Int {
    if element == 0 {
      try unsafe begun?.wait()
      throw ChildWork.Refusal(reason: "the first")
    }
    if element == 4 {
      unsafe begun?.set()
      try unsafe gate?.wait()
    }
    return element
  }
}
