// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// What workers of a pool know of themselves, and when they end.
@Suite struct PoolWorkerTests {
  @Test func aTaskKnowsTheIndexOfItsWorkerAndAReplacementHasIt() async throws {
    let pool = try ProcessPool(workers: 3, arguments: 0) { (_: Int) -> [Int?] in
      [CurrentProcess.workerIndex]
    }
    #expect(CurrentProcess.workerIndex == nil)
    let indices = try await pool.with([Int?].self).mapResults(0..<60, chunkSize: 1) {
      state, number -> [Int?] in
      if number % 10 == 7 { raise(SIGKILL) }
      return state + [CurrentProcess.workerIndex]
    }
    let known = indices.compactMap { try? $0.get() }
    #expect(known.count == 54)
    // The same in the initializer and in tasks, and never more than there are workers.
    #expect(known.allSatisfy { $0[0] == $0[1] && (0..<3).contains($0[0] ?? -1) })
    await pool.terminate()
  }

  @Test func noTwoWorkersHaveAnIndexAtTheSameTime() async throws {
    let users = try SharedArray<Int32>(repeating: 0, count: 2)
    let pool = try ProcessPool(workers: 2, maxTasksPerWorker: 2, arguments: users) { $0 }
    let most = try await pool.with(SharedArray<Int32>.self).map(0..<60, chunkSize: 1) {
      users, _ -> Int32 in
      let index = CurrentProcess.workerIndex ?? 0
      let others = users[index]
      if others != 0 && kill(others, 0) == 0 && others != getpid() { return 1 }
      users[index] = getpid()
      return 0
    }
    #expect(most.allSatisfy { $0 == 0 })
    await pool.terminate()
  }

  @Test func aProcessThatATaskForksIsNoWorker() async throws {
    let pool = try ProcessPool(workers: 1)
    let index = try await pool.apply { () throws -> Int in
      var ends: [Int32] = [0, 0]
      _ = unsafe pipe(&ends)
      let child = fork()
      if child == 0 {
        var byte: UInt8 = CurrentProcess.workerIndex == nil ? 1 : 0
        _ = unsafe write(ends[1], &byte, 1)
        _exit(0)
      }
      var byte: UInt8 = 0
      _ = unsafe read(ends[0], &byte, 1)
      var status: Int32 = 0
      _ = unsafe waitpid(child, &status, 0)
      return byte == 1 ? CurrentProcess.workerIndex ?? -1 : -2
    }
    #expect(index == 0)
    await pool.terminate()
  }

  @Test func eachWorkerHasItsProcessors() async throws {
    let plain = try ProcessPool(workers: 1)
    let all = try await plain.apply { allowedProcessors() }
    await plain.terminate()
    let first = try #require(Int(all.prefix { $0.isNumber }))
    let pool = try ProcessPool(workers: 3, poolOptions: .init(processors: [[first]]))
    let seen = try await pool.map(0..<20, chunkSize: 1) { _ in allowedProcessors() }
    #expect(seen.allSatisfy { $0 == "\(first)" })
    await pool.terminate()
    let processors = 0..<CurrentProcess.processorCount
    let mixed = try ProcessPool(
      workers: 2, poolOptions: .init(processors: [[first], Set(processors.map { first + $0 })]))
    let lines = try await mixed.map(0..<200, chunkSize: 1) { _ in
      "\(CurrentProcess.workerIndex ?? -1) \(allowedProcessors())"
    }
    #expect(lines.allSatisfy { $0 == "0 \(first)" || $0.hasPrefix("1 ") })
    #expect(lines.allSatisfy { $0.hasPrefix("0 ") || $0 == "1 \(all)" || processors.count < 2 })
    await mixed.terminate()
    let error = #expect(throws: IPCError.self) {
      try ProcessPool(workers: 1, poolOptions: .init(processors: [[]]))
    }
    #expect(error?.code == .invalidArgument)
  }

  // MARK: - Retirement

  private final class Events: Sendable {
    private let all = Mutex<[PoolEvent]>([])
    var hook: @Sendable (PoolEvent) -> Void {
      { [self] event in all.withLock { $0.append(event) } }
    }
    var retirements: [PoolEvent.Retirement] {
      all.withLock { all in
        all.compactMap { if case .workerRetired(_, let reason) = $0 { reason } else { nil } }
      }
    }
    var ends: Int {
      all.withLock { all in
        all.count { if case .workerEnded = $0 { true } else { false } }
      }
    }
  }

  @Test func workersWhoseMemoryGrowsAreReplacedAndNoTaskIsLost() async throws {
    let events = Events()
    let pool = try ProcessPool(
      workers: 2, poolOptions: .init(memoryGrowth: 64 << 20), log: events.hook)
    let results = try await pool.map(0..<60, chunkSize: 1) { number -> Int in
      usleep(12_000)
      // Kept for ever.
      let memory = UnsafeMutableRawPointer.allocate(byteCount: 16 << 20, alignment: 16)
      unsafe memory.initializeMemory(as: UInt8.self, repeating: 1, count: 16 << 20)
      return number * 2
    }
    #expect(results == (0..<60).map { $0 * 2 })
    #expect(events.retirements.count >= 6)
    #expect(events.retirements.allSatisfy { $0 == .memory })
    #expect(pool.progress.failed == 0)
    await pool.terminate()
  }

  @Test(.timeLimit(.minutes(5))) func idleWorkersEndAndComeBackForWork() async throws {
    let events = Events()
    let pool = try ProcessPool(
      workers: 2, poolOptions: .init(idleTime: .milliseconds(20)), log: events.hook)
    for round in 1...3 {
      #expect(try await pool.map(0..<50) { $0 + 1 } == Array(1...50))
      // Without a caller that waits for the pool.
      while events.ends < round || !pool.progress.workers.isEmpty {
        try await Task.sleep(for: .milliseconds(1))
      }
    }
    #expect(events.retirements.allSatisfy { $0 == .idle })
    #expect(try InThread { try pool.apply(3) { $0 * 3 } }.join() == 9)
    pool.close()
    #expect(try await pool.join())
  }

  @Test(.timeLimit(.minutes(5))) func tasksThatComeWhenAWorkerRetiresAreNotLost() async throws {
    let pool = try ProcessPool(workers: 2, poolOptions: .init(idleTime: .microseconds(300)))
    for number in 0..<400 {
      #expect(try await pool.apply(number) { $0 + 1 } == number + 1)
      // About as long as a worker may be idle.
      usleep(UInt32(100 + number))
    }
    await pool.terminate()
  }
}

extension PoolWorkerTests {
  // MARK: - Finalizers

  @Test(.timeLimit(.minutes(5)), arguments: [false, true])
  func aFinalizerRunsWithTheStateAtAnOrderlyEnd(_ isAsync: Bool) async throws {
    let sums = try SharedArray<Int>(repeating: 0, count: 2)
    let ends = try SharedAtomic(0)
    let pool =
      if isAsync {
        try ProcessPool(workers: 2, arguments: sums, ends) { sums, ends async in
          PoolSum(sums: sums, ends: ends)
        } finalizer: { state async in
          await state.finish()
        }
      } else {
        try ProcessPool(workers: 2, arguments: sums, ends) { sums, ends in
          PoolSum(sums: sums, ends: ends)
        } finalizer: { state in
          state.finishAtOnce()
        }
      }
    try await pool.with(PoolSum.self).forEach(1...100) { $0.sum += $1 }
    pool.close()
    #expect(try await pool.join())
    #expect(sums[0] + sums[1] == 5050)
    #expect(ends.load() == 2)
  }

  @Test(.timeLimit(.minutes(5))) func aRetiredWorkerIsFinalizedAndAKilledOneIsNot() async throws {
    let ends = try SharedAtomic(0)
    let pool = try ProcessPool(
      workers: 1, maxTasksPerWorker: 5, arguments: ends
    ) { ends in
      ends
    } finalizer: { ends in
      ends.add(1)
    }
    _ = try await pool.map(0..<18) { $0 }
    // A worker that takes the place of another comes after it.
    #expect(ends.load() == 3)
    await #expect(throws: IPCError.self) { try await pool.apply { raise(SIGKILL) } }
    #expect(try await pool.apply(1) { $0 } == 1)
    await pool.terminate()
    #expect(ends.load() == 3)
  }

  @Test(.timeLimit(.minutes(5))) func aFinalizerThatThrowsIsAnEvent() async throws {
    let events = Mutex<[PoolEvent]>([])
    let log: @Sendable (PoolEvent) -> Void = { event in events.withLock { $0.append(event) } }
    let pool = try ProcessPool(workers: 1, log: log, arguments: 7) {
      $0
    } finalizer: { (number: inout Int) in
      throw ChildWork.Refusal(reason: "no \(number)")
    }
    #expect(try await pool.apply(1) { $0 } == 1)
    pool.close()
    #expect(try await pool.join())
    let texts = events.withLock { events in
      events.compactMap { event in
        if case .finalizerFailed(let name, let text) = event { "\(name): \(text)" } else { nil }
      }
    }
    #expect(texts.count == 1)
    #expect(texts.first?.hasPrefix("pool-1: ") == true)
    #expect(texts.first?.contains("no 7") == true)
  }

  @Test func aFinalizerThatCapturesIsRefused() throws {
    let captured = CurrentProcess.name
    let error = #expect(throws: IPCError.self) {
      try ProcessPool(workers: 1, arguments: 1) {
        $0
      } finalizer: { (number: inout Int) in
        number += captured.utf8.count
      }
    }
    #expect(error?.code == .notTransferable)
  }
}

private struct PoolSum: Sendable {
  var sum = 0
  var sums: SharedArray<Int>
  var ends: SharedAtomic<Int>

  init(sums: SharedArray<Int>, ends: SharedAtomic<Int>) {
    self.sums = sums
    self.ends = ends
  }

  func finishAtOnce() {
    sums[CurrentProcess.workerIndex ?? 0] = sum
    ends.add(1)
  }

  @MainActor func finish() { finishAtOnce() }
}

/// The processors that this process may run on, as the kernel lists them.
private func allowedProcessors() -> String {
  let file = unsafe open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC)
  let text = ChildWork.readAll(file)
  close(file)
  let line = text.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") }
  return line.map { String($0.dropFirst(18).filter { $0 != "\t" && $0 != " " }) } ?? ""
}
