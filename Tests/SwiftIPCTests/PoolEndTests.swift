// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// The ends of pools, and what finished tasks leave behind.
@Suite struct PoolEndTests {
  /// A file without a name, for what workers print.
  private static func makeFile() -> Int32 {
    var path = Array("/tmp/pool-end-XXXXXX".utf8CString)
    let file = unsafe mkstemp(&path)
    precondition(file >= 0)
    unsafe unlink(path)
    _ = fcntl(file, F_SETFD, FD_CLOEXEC)
    return file
  }

  private static func lines(in file: Int32) -> Int {
    lseek(file, 0, SEEK_SET)
    return ChildWork.readAll(file).split(separator: "\n").count
  }

  // MARK: What tasks print

  @Test func allLinesAreThereAfterCloseAndJoin() async throws {
    for trial in 0..<30 {
      let file = Self.makeFile()
      let pool = try ProcessPool(workers: 2, options: .init(standardOutput: .descriptor(file)))
      let results = try (0..<100).map { number in
        try pool.submit(number) { print("line \($0)") }
      }
      pool.close()
      try await pool.join()
      for result in results { try await result.get(timeout: .zero) }
      #expect(Self.lines(in: file) == 100, "trial \(trial)")
    }
  }

  @Test func exitHandlersOfWorkersRun() async throws {
    let ends = try SharedAtomic(0)
    for _ in 0..<20 {
      let pool = try ProcessPool(workers: 2, arguments: ends) { ends in
        PoolEndWork.ends.withLock { $0 = ends }
        // Slow, and without any of the worker's descriptors in the end: neither gets it killed.
        atexit {
          for descriptor in Int32(3)..<64 { close(descriptor) }
          usleep(2000)
          PoolEndWork.ends.withLock { _ = $0?.add(1) }
        }
      }
      _ = try await pool.map(0..<4) { $0 }
      pool.close()
      try await pool.join()
    }
    #expect(ends.load() == 40)
  }

  @Test func exitHandlersOfWorkersThatRetireRun() async throws {
    let ends = try SharedAtomic(0)
    let pool = try ProcessPool(workers: 2, maxTasksPerWorker: 1, arguments: ends) { ends in
      PoolEndWork.ends.withLock { $0 = ends }
      atexit { PoolEndWork.ends.withLock { _ = $0?.add(1) } }
    }
    _ = try await pool.map(0..<30, chunkSize: 1) { $0 }
    pool.close()
    try await pool.join()
    // Those that were to replace the last ones may have been started in vain.
    #expect(ends.load() >= 30)
  }

  @Test func anInitializerThatThrowsEndsItsWorkerInOrder() async throws {
    let ends = try SharedAtomic(0)
    let pool = try ProcessPool(workers: 1, arguments: ends) { (ends: SharedAtomic<Int>) -> Int in
      PoolEndWork.ends.withLock { $0 = ends }
      atexit {
        usleep(2000)
        PoolEndWork.ends.withLock { _ = $0?.add(1) }
      }
      throw ChildWork.Refusal(reason: "no")
    }
    let error = await #expect(throws: IPCError.self) { try await pool.apply(1) { $0 } }
    #expect(error?.code == .poolFailed)
    await pool.terminate()
    // The third failed the pool, which ends all that still run.
    #expect(ends.load() >= 2)
  }

  /// A caller that has a result may end the worker at once. An exit that never comes leaves nothing
  /// to chance.
  @Test func whatATaskPrintedIsThereBeforeItsResult() async throws {
    let file = Self.makeFile()
    let pool = try ProcessPool(
      workers: 2, options: .init(standardOutput: .descriptor(file)), arguments: 0
    ) { _ in
      atexit { while true { pause() } }
    }
    // Numbers, which are left in the room of the desk; text; errors; and no result.
    _ = try await pool.map(0..<100, chunkSize: 10) { number -> Int in
      print("line")
      return number
    }
    _ = try await pool.map(0..<100, chunkSize: 10) { number -> String in
      print("line")
      return "\(number)"
    }
    _ = try await pool.mapResults(0..<100, chunkSize: 10) { number -> Int in
      print("line")
      throw ChildWork.Refusal(reason: "\(number)")
    }
    try await pool.forEach(0..<100) { _ in print("line") }
    await pool.terminate()
    #expect(Self.lines(in: file) == 400)
  }

  @Test func whatATaskWroteToAStreamOfItsOwnIsThereToo() async throws {
    let file = Self.makeFile()
    let pool = try ProcessPool(workers: 1, options: .init(standardOutput: .descriptor(file)))
    let threads = try await pool.map(0..<100, chunkSize: 10) { _ in
      unsafe fputs("line\n", PoolEndWork.stream)
      return ChildWork.threadCount()
    }
    await pool.terminate()
    // Beside other threads such streams are left alone, and ThreadSanitizer has one.
    let isAlone = threads.allSatisfy { $0 == 1 }
    #expect(isAlone == ChildWork.canFork)
    if isAlone { #expect(Self.lines(in: file) == 100) }
  }

  @Test(arguments: StartMethodTests.fromHere)
  func whatAChildPrintedIsThereBeforeItsValue(_ method: StartMethod) async throws {
    let file = Self.makeFile()
    let options = ChildProcessOptions(method: method, standardOutput: .descriptor(file))
    for isAsync in [false, true] {
      let child =
        isAsync
        ? try ChildProcess.start(1, options: options) { (number: Int) async -> Int in
          atexit { while true { pause() } }
          for _ in 0..<50 { print("line") }
          return number
        }
        : try ChildProcess.start(1, options: options) { number in
          atexit { while true { pause() } }
          for _ in 0..<50 { print("line") }
          return number
        }
      #expect(try await child.value == 1)
      try child.kill()
      try await child.join()
    }
    #expect(Self.lines(in: file) == 100)
  }

  // MARK: Pools that fail

  @Test func workersThatAreKilledAsTheyComeFailAllTasks() async throws {
    for _ in 0..<8 {
      let pool = try ProcessPool(workers: 1)
      let engine = try #require(pool.core.engine as? ProcessEngine)
      let tasks = try (0..<3).map { try pool.submit($0) { $0 } }
      let killer = InThread {
        while !pool.core.hasEnded {
          for pid in engine.processes { kill(pid, SIGKILL) }
          sched_yield()
        }
      }
      for task in tasks {
        let isOver = try await task.wait(timeout: .seconds(120))
        #expect(isOver)
      }
      await pool.terminate()
      try killer.join()
    }
  }

  // MARK: Workers that do nothing

  @Test func tasksThatAStoppedWorkerHasNotBegunRunElsewhere() async throws {
    let pool = try ProcessPool(workers: 2)
    let pids = Set(try await pool.map(0..<64, chunkSize: 1) { _ in getpid() })
    #expect(pids.count > 0)
    for pid in pids { kill(pid, SIGSTOP) }
    // All that are stopped are replaced in the end.
    let tasks = try (0..<10).map { number in
      try pool.submit(number, options: .init(timeout: .milliseconds(100))) { $0 }
    }
    for (number, task) in tasks.enumerated() { #expect(try await task.get() == number) }
    let after = Set(try await pool.map(0..<64, chunkSize: 1) { _ in getpid() })
    #expect(after.isDisjoint(with: pids))
    await pool.terminate()
  }

  @Test func aTaskOfAWorkerThatIsStoppedInItTimesOut() async throws {
    let pool = try ProcessPool(workers: 1)
    let error = await #expect(throws: IPCError.self) {
      try await pool.apply(1, options: .init(timeout: .milliseconds(50))) { number in
        raise(SIGSTOP)
        return number
      }
    }
    #expect(error?.code == .timedOut)
    #expect(try await pool.apply(2) { $0 } == 2)
    await pool.terminate()
  }

  /// The memory and the descriptors of results that arrive at the very end.
  @Test func poolsThatEndWhileLongResultsArriveLeaveNothing() async throws {
    // In a child of its own, in which nothing else opens descriptors.
    let child = try ChildProcess.start {
      func once(_ number: Int) throws {
        let pool = try ProcessPool(workers: 1)
        let first = try pool.submit(20_000) { [UInt8](repeating: 1, count: $0) }
        let others = try (0..<4).map { place in
          try pool.submit(200_000 << place) { [UInt8](repeating: 1, count: $0) }
        }
        if number % 4 != 0 { _ = first.wait(timeout: .seconds(60)) }
        if number % 3 == 0 { _ = others[0].wait(timeout: .seconds(60)) }
        usleep(UInt32(number * 37 % 1500))
        pool.terminate()
      }
      func left() throws -> [Int] {
        for other in CurrentProcess.activeChildren { _ = try other.join() }
        _ = CurrentProcess.activeChildren
        let maps = ChildWork.readAll(unsafe open("/proc/self/maps", O_RDONLY | O_CLOEXEC))
        return [
          ChildWork.openDescriptors().count,
          maps.split(separator: "\n").filter { $0.contains("memfd:") }.count,
        ]
      }
      for number in 0..<5 { try once(number) }
      let before = try left()
      for number in 0..<300 { try once(number) }
      return [before, try left()]
    }
    let found = try await child.value
    #expect(found[0] == found[1])
  }

  // MARK: Hostile workers

  /// A worker that runs foreign code may put anything in its ring.
  @Test func nonsenseInTheChannelEndsTheWorkerAlone() async throws {
    let largest = [UInt8](repeating: 255, count: 8)
    let small: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 0]
    let numbers: [[UInt8]] = [largest, [254] + largest.dropFirst(), [0] + small.dropFirst(), small]
    var records: [[UInt8]] = [[], [5], [255], [0], [0, 3], [1]]
    // Shared buffers that were never sent, of all lengths; results in a slot that was not given.
    for number in numbers {
      records.append([2, 0, 0, 0, 0] + number)
      records.append([2, 255, 255, 255, 255] + number)
      records.append([3, 1, 0, 0, 0] + number)
      records.append([4] + number + [255, 255, 255, 255])
      records.append([4] + number + [1, 0, 0, 0])
      records.append([0, 3] + number + [255, 255, 255, 255])
      records.append([0, 4] + number + [2, 0, 0, 0])
    }
    let pool = try ProcessPool(workers: 1)
    for record in records {
      let error = await #expect(throws: IPCError.self) {
        try await pool.apply(record) { record in
          PoolEndWork.put(record)
          while true { pause() }
        } as Int
      }
      #expect(error?.code == .workerDied || error?.code == .malformedMessage, "\(record)")
    }
    #expect(try await pool.apply(1) { $0 } == 1)
    await pool.terminate()
  }
}

private enum PoolEndWork {
  /// In a worker: puts a record into its ring.
  static func put(_ record: [UInt8]) {
    WorkerMain.openChannel.withLock { channel in
      _ = unsafe channel?.put(record.count) { unsafe $0.copyBytes(from: record) }
    }
  }

  /// Where a worker counts its end.
  static let ends = Guarded<SharedAtomic<Int>?>(nil)
  /// A stream of stdio that is never closed, to the same file as standard output.
  nonisolated(unsafe) static let stream: UnsafeMutablePointer<FILE>! = unsafe fdopen(
    dup(STDOUT_FILENO), "w")
}
