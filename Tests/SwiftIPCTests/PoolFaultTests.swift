// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// Workers, and parents of workers, that are killed at any time.
@Suite struct PoolFaultTests {
  /// Whether this process may trace its descendants.
  private static let canTrace: Bool = {
    guard
      let child = try? ChildProcess.start(
        options: .init(method: .spawn), body: { while true { pause() } })
    else { return false }
    let pid = child.pid
    let result = try? InThread { test_kill_at(pid, 0, 0, -1) }.join()
    try? child.kill()
    return result == 1
  }()

  /// How often a worker is killed; POOL_KILLS asks for more, or for less under sanitizers.
  private static let kills =
    unsafe getenv("POOL_KILLS").flatMap { unsafe Int(String(cString: $0)) } ?? 300

  @Test func workersKilledAtRandomLoseOneTaskEach() async throws {
    let count = Self.kills * 100
    let begun = try SharedArray<UInt8>(repeating: 0, count: count)
    let pool = try ProcessPool(workers: 3, arguments: begun) { $0 }
    let engine = try #require(pool.core.engine as? ProcessEngine)
    let isOver = Mutex(false)
    let killer = InThread {
      var kills = 0
      var before = 0
      while !isOver.withLock({ $0 }) {
        let progress = pool.progress
        // One after some progress, so that the map ends some time.
        if progress.done + progress.failed >= before + 50,
          let pid = engine.processes.randomElement()
        {
          before = progress.done + progress.failed
          if kill(pid, SIGKILL) == 0 { kills += 1 }
        }
        sched_yield()
      }
      return kills
    }
    let results = try await pool.with(SharedArray<UInt8>.self).mapResults(
      0..<count
    ) { begun, number in
      begun[number] &+= 1
      var sum = 0
      for i in 0..<2000 { sum = sum &* 31 &+ i ^ number }
      return number % 2 == 0 ? "\(number)" : "\(number) \(sum == 7)"
    }
    isOver.withLock { $0 = true }
    let kills = try killer.join()
    var lost = 0
    for (number, result) in results.enumerated() {
      switch result {
      case .success(let text):
        // Begun once, and its result is its own.
        #expect(begun[number] == 1)
        #expect(text.prefix { $0 != " " } == "\(number)")
      case .failure(let error):
        lost += 1
        #expect((error as? IPCError)?.code == .workerDied)
        #expect(begun[number] <= 1)
      }
    }
    #expect(lost <= kills)
    #expect(kills > Self.kills / 4)
    await pool.terminate()
  }

  /// The results of numbers lie in the desk, and are salvaged from there.
  @Test func workersKilledWhileTheyReturnNumbersLoseOneTaskEach() async throws {
    let count = 2_000_000
    let begun = try SharedArray<UInt8>(repeating: 0, count: count)
    // Not as a state: functions that take one answer element by element.
    let pool = try ProcessPool(workers: 2, arguments: begun) { unsafe PoolRuns.begun = $0 }
    let engine = try #require(pool.core.engine as? ProcessEngine)
    let isOver = Mutex(false)
    let killer = InThread {
      var before = 0
      var kills = 0
      while !isOver.withLock({ $0 }) {
        let done = pool.progress.done
        if done >= before + 20_000, let pid = engine.processes.randomElement() {
          before = done
          if kill(pid, SIGKILL) == 0 { kills += 1 }
        }
        sched_yield()
      }
      return kills
    }
    let results = try await pool.mapResults(0..<count) { number in
      unsafe PoolRuns.begun?[number] &+= 1
      return number &* 3
    }
    isOver.withLock { $0 = true }
    let kills = try killer.join()
    var lost = 0
    var wrong = 0
    for (number, result) in results.enumerated() {
      if case .success(let value) = result {
        if value != number * 3 || begun[number] != 1 { wrong += 1 }
      } else {
        lost += 1
        if begun[number] > 1 { wrong += 1 }
      }
    }
    #expect(wrong == 0)
    #expect(lost <= kills && kills > 10)
    await pool.terminate()
  }

  /// The worker's loop, stopped and killed at each of its system calls in turn, and between.
  @Test(.enabled(if: PoolFaultTests.canTrace, "this process may not trace others"))
  func aWorkerKilledAtEachSystemCallLosesOneTaskAtMost() async throws {
    for call in stride(from: 0, to: 400, by: Self.kills < 100 ? 7 : 1) {
      if try await !isKilled(at: call, 0) {
        #expect(call > 10, "there must be calls to be killed at")
        return
      }
    }
  }

  @Test(.enabled(if: PoolFaultTests.canTrace, "this process may not trace others"))
  func aWorkerKilledAtAnyInstructionLosesOneTaskAtMost() async throws {
    for _ in 0..<min(40, Self.kills / 5) {
      _ = try await isKilled(at: Int.random(in: 0..<12), Int.random(in: 1..<4000))
    }
  }

  /// - Returns: whether the worker got there.
  private func isKilled(at call: Int, _ instructions: Int) async throws -> Bool {
    let count = 24
    let begun = try SharedArray<UInt8>(repeating: 0, count: count)
    let pool = try ProcessPool(workers: 1, arguments: begun) { $0 }
    let pid = try await pool.apply { getpid() }
    let (reading, writing) = makePipe()
    defer { close(reading) }
    let tracer = InThread { test_kill_at(pid, call, instructions, writing) }
    // The tracer counts the worker's system calls from here on.
    var byte: UInt8 = 0
    try #require(unsafe read(reading, &byte, 1) == 1)
    // Numbers in the room of the desk, text in the ring, arrays in parcels, shared objects over the
    // socket, and errors.
    let numbers = try await pool.with(SharedArray<UInt8>.self).mapResults(0..<8, chunkSize: 4) {
      begun, number in
      begun[number] &+= 1
      return number
    }
    let arrays = try await pool.with(SharedArray<UInt8>.self).mapResults(8..<16, chunkSize: 2) {
      begun, number in
      begun[number] &+= 1
      if number == 10 { throw ChildWork.Refusal(reason: "10") }
      return [Int](repeating: number, count: number % 3 == 0 ? 40_000 : 3)
    }
    let objects = try await pool.with(SharedArray<UInt8>.self).mapResults(16..<24, chunkSize: 2) {
      begun, number in
      begun[number] &+= 1
      let value: Value<Int>? = number % 4 == 0 ? try Value(number) : nil
      return value
    }
    var lost = 0
    func look<T>(_ result: Result<T, any Error>, _ number: Int, _ isRight: (T) -> Bool) {
      switch result {
      case .success(let value):
        #expect(isRight(value) && begun[number] == 1, "\(number) at \(call), \(instructions)")
      case .failure(let error as IPCError):
        lost += 1
        #expect(error.code == .workerDied && begun[number] <= 1)
      case .failure(let error): #expect(error is RemoteError && number == 10 && begun[number] == 1)
      }
    }
    for (number, result) in numbers.enumerated() { look(result, number) { $0 == number } }
    for (place, result) in arrays.enumerated() {
      look(result, place + 8) { (value: [Int]) -> Bool in
        value.first == place + 8 && value.last == place + 8
      }
    }
    for (place, result) in objects.enumerated() {
      look(result, place + 16) { (value: Value<Int>?) -> Bool in
        let number = place + 16
        return value.map { $0.value == number } ?? (number % 4 != 0)
      }
    }
    #expect(lost <= 1)
    await pool.terminate()
    return try tracer.join() == 1
  }

  @Test(arguments: [StartMethod.spawn, .forkServer]) func noWorkerOutlivesAKilledParent(
    _ method: StartMethod
  ) async throws {
    let (ours, theirs) = try Connection.pair()
    let parent = try ChildProcess.start(theirs, Ordinal(of: method)) { connection, method in
      let pool = try ProcessPool(workers: 2, startMethod: method.method)
      for _ in 0..<2 {
        // Each has the connection as long as it lives.
        try pool.submit(connection.duplicate()) { connection in
          for signal in [SIGTERM, SIGINT, SIGHUP] { Glibc.signal(signal, SIG_IGN) }
          try connection.send("begun")
          while true { pause() }
        }
      }
      connection.close()
      while true { pause() }
    }
    for _ in 0..<2 { #expect(try await ours.receive(String.self) == "begun") }
    try parent.kill()
    try await parent.join()
    let error = await #expect(throws: IPCError.self) { try await ours.receive(String.self) }
    #expect(error?.code == .peerClosed)
  }

  @Test func aCtrlCEndsAProgramAndItsPoolQuietly() async throws {
    let (ours, theirs) = try Connection.pair()
    let program = try ChildProcess.start(
      theirs, options: .init(standardOutput: .pipe, standardError: .pipe, newProcessGroup: true)
    ) { connection in
      let pool = try ProcessPool(workers: 2)
      for _ in 0..<2 {
        try pool.submit(connection.duplicate()) { connection in
          try connection.send("begun")
          while true { pause() }
        }
      }
      connection.close()
      while true { pause() }
    }
    for _ in 0..<2 { #expect(try await ours.receive(String.self) == "begun") }
    kill(-program.pid, SIGINT)
    #expect(try await program.join() == .signalled(SIGINT))
    let error = await #expect(throws: IPCError.self) { try await ours.receive(String.self) }
    #expect(error?.code == .peerClosed)
    for output in [program.standardOutput, program.standardError] {
      #expect(try await output?.readToEnd().isEmpty == true)
    }
  }

  @Test func workersOutliveACtrlCThatTheProgramOutlives() async throws {
    let (ours, theirs) = try Connection.pair()
    let program = try ChildProcess.start(theirs, options: .init(newProcessGroup: true)) {
      connection in
      // A handler, since what is ignored here would be in any child.
      signal(SIGINT) { _ in }
      let pool = try ProcessPool(workers: 2)
      // Both workers meet at the barrier, so both are there. The Ctrl-C may end one that is still
      // starting: that costs no task, and another takes its place.
      let barrier = try Barrier(parties: 2)
      let meetings = try (0..<2).map { _ in try pool.submit(barrier) { _ = try $0.wait() } }
      for meeting in meetings { try meeting.get() }
      try connection.send("ready")
      _ = try connection.receive(Int.self)
      _ = try pool.map(0..<20, chunkSize: 1) { $0 }
      return pool.progress.workers.map(\.name) == ["pool-1", "pool-2"]
    }
    #expect(try await ours.receive(String.self) == "ready")
    kill(-program.pid, SIGINT)
    try await ours.send(1)
    #expect(try await program.value)
  }

  @Test func fiveHundredPoolsLeaveNothing() async throws {
    // In a child of its own, in which nothing else opens descriptors.
    let child = try ChildProcess.start {
      func once(_ number: Int) throws -> Int {
        let pool = try ProcessPool(workers: 1)
        let result = try pool.apply(number) { $0 }
        switch number % 3 {
        case 0: pool.terminate()
        case 1:
          pool.close()
          _ = try pool.join()
        default:
          _ = try pool.submit([Int](repeating: 1, count: 50_000)) { $0 }.get()
          pool.terminate()
        }
        return result
      }
      func settle() throws {
        for other in CurrentProcess.activeChildren { _ = try other.join() }
        _ = CurrentProcess.activeChildren
      }
      for number in 0..<20 { _ = try once(number) }
      try settle()
      let descriptors = ChildWork.openDescriptors().count
      var sum = 0
      // The least of several looks: what a large argument took comes and goes.
      func leastPages(_ numbers: Range<Int>) throws -> Int {
        var least = Int.max
        for number in numbers {
          sum += try once(number)
          if number % 20 == 0 { least = min(least, ChildWork.residentPages()) }
        }
        return least
      }
      let pages = try leastPages(0..<240)
      let grown = try leastPages(240..<480) - pages
      try settle()
      return [
        sum, ChildWork.openDescriptors().count - descriptors, Int(waitpid(-1, nil, WNOHANG)), grown,
      ]
    }
    let found = try await child.value
    #expect(found[..<3] == [480 * 479 / 2, 0, 0])
    #expect(ChildWork.keepsMemory || found[3] < 240)
  }
}

/// A static property of the worker.
private enum PoolRuns {
  nonisolated(unsafe) static var begun: SharedArray<UInt8>?
}
