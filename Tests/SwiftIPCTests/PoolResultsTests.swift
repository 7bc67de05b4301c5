// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// Which input a result or an error is of.
@Suite struct PoolResultsTests {
  private func place(_ error: any Error) -> Int? {
    (error as? IPCError)?.taskIndex ?? (error as? RemoteError)?.taskIndex
  }

  @Test func resultsWithoutOrderSayWhichElementTheyAreOf() async throws {
    let pool = try ProcessPool(workers: 2)
    var values: [Int: Int] = [:]
    var errors: [Int: any Error] = [:]
    let results = pool.imapUnordered(0..<60, chunkSize: 1, options: .init(timeout: .seconds(3))) {
      number in
      switch number {
      case 11: raise(SIGKILL)
      case 22: while true { pause() }
      case 33: throw ChildWork.Refusal(reason: "no")
      default: break
      }
      return number * 2
    }
    for try await (index, result) in results.indexed {
      switch result {
      case .success(let value): values[index] = value
      case .failure(let error): errors[index] = error
      }
    }
    #expect(values.count == 57 && values.allSatisfy { $0.value == $0.key * 2 })
    #expect(Set(errors.keys) == [11, 22, 33])
    for (index, error) in errors { #expect(place(error) == index) }
    #expect((errors[11] as? IPCError)?.code == .workerDied)
    #expect((errors[22] as? IPCError)?.code == .timedOut)
    #expect(errors[33].map { "\($0)".contains("for element 33") } == true)
    #expect(errors[11].map { "\($0)".contains("(element 11)") } == true)
    await pool.terminate()
  }

  @Test func everyCallWithManyElementsSaysWhichFailed() async throws {
    let pool = try ProcessPool(workers: 2)
    func failing(_ body: () async throws -> Void) async -> Int? {
      do {
        try await body()
        return nil
      } catch {
        return place(error)
      }
    }
    #expect(
      await failing {
        for try await _ in pool.imapUnordered(
          0..<20,
          { (number: Int) in
            if number == 13 { raise(SIGKILL) }
            return number
          })
        {}
      } == 13)
    #expect(
      await failing {
        for try await _ in pool.imap(
          0..<20,
          { (number: Int) in
            if number == 13 { throw ChildWork.Refusal(reason: "no") }
            return number
          })
        {}
      } == 13)
    #expect(
      await failing {
        _ = try await pool.map(0..<20) { number in
          if number == 13 { raise(SIGKILL) }
          return number
        }
      } == 13)
    #expect(
      await failing {
        try await pool.forEach(["a", "b"]) { text in
          if text == "b" { throw ChildWork.Refusal(reason: "no") }
        }
      } == 1)
    let results = try await pool.mapResults(0..<20) { number in
      if number % 5 == 3 { throw ChildWork.Refusal(reason: "no") }
      return number
    }
    for (index, result) in results.enumerated() {
      if case .failure(let error) = result { #expect(place(error) == index) }
    }
    // A call with one task has no elements.
    #expect(
      await failing { try await pool.apply(1) { _ in throw ChildWork.Refusal(reason: "no") } }
        == nil)
    await pool.terminate()
  }

  @Test func blockingResultsHavePlacesToo() throws {
    let pool = try ProcessPool(workers: 2)
    let (values, end) = try InThread {
      var values: [Int: Int] = [:]
      for (index, result) in pool.imapUnordered(0..<50, { $0 * 3 }).indexed.results {
        values[index] = try result.get()
      }
      pool.terminate()
      return (values, Array(pool.imap(0..<5, { $0 }).indexed.results).map(\.index))
    }.join()
    #expect(values.count == 50 && values.allSatisfy { $0.value == $0.key * 3 })
    #expect(end == [0])
  }

  // MARK: - Handles

  /// A task that returns what it is told.
  private func asked(_ pool: ProcessPool) throws -> (Connection, PoolResult<Int>) {
    let (ours, theirs) = try Connection.pair()
    return (ours, try pool.submit(theirs) { try $0.receive(Int.self) })
  }

  @Test(.timeLimit(.minutes(5))) func firstReadyWaitsForResults() async throws {
    let pool = try ProcessPool(workers: 3)
    let tasks = try (0..<3).map { _ in try asked(pool) }
    let results = tasks.map(\.1)
    #expect(try await firstReady(results, timeout: .milliseconds(5)) == [])
    try await tasks[1].0.send(7)
    #expect(try await firstReady(results) == [1])
    #expect(try await results[1].get(timeout: .zero) == 7)
    // Among other things, and with two waiters at once.
    let (ours, theirs) = try Connection.pair()
    async let first = firstReady(results[0], results[2])
    async let second = firstReady(ours, results[2])
    try await tasks[2].0.send(8)
    #expect(try await first == [1])
    #expect(try await second == [1])
    try await theirs.send("x")
    #expect(try await firstReady(ours, results[0]) == [0])
    let waiting = InThread { try firstReady(results[0]) }
    try await tasks[0].0.send(9)
    #expect(try waiting.join() == [0])
    // Of many results the last to come.
    let many = try (0..<300).map { try pool.submit($0) { $0 } }
    var open = Array(many.enumerated())
    while !open.isEmpty {
      for place in try await firstReady(open.map(\.element)).reversed() {
        #expect(try await open[place].element.get(timeout: .zero) == open[place].offset)
        open.remove(at: place)
      }
    }
    // One that is terminated is ready, too.
    let last = try asked(pool)
    async let end = firstReady(last.1)
    await pool.terminate()
    #expect(try await end == [0])
  }

  @Test(.timeLimit(.minutes(5))) func resultsComeAsTheyAreCompleted() async throws {
    let pool = try ProcessPool(workers: 3)
    let tasks = try (0..<3).map { _ in try asked(pool) }
    var iterator = asCompleted(tasks.map(\.1)).makeAsyncIterator()
    for place in [2, 0, 1] {
      try await tasks[place].0.send(place * 10)
      let next = try #require(try await iterator.next())
      #expect(next.index == place)
      #expect(try next.result.get() == place * 10)
    }
    #expect(try await iterator.next() == nil)
    // Values and errors, of several pools, and ones that are there already.
    let other = try ProcessPool(workers: 1)
    var all = try (0..<50).map { number in
      try pool.submit(number) { (number: Int) -> Int in
        if number == 3 { throw ChildWork.Refusal(reason: "no") }
        return number
      }
    }
    all.append(try other.submit(50) { $0 })
    _ = try await all[10].get()
    var seen: Set<Int> = []
    for try await (index, result) in asCompleted(all) {
      #expect(seen.insert(index).inserted)
      if index == 3 {
        #expect(throws: RemoteError.self) { try result.get() }
      } else {
        #expect(try result.get() == index)
      }
    }
    #expect(seen.count == 51)
    let handles = all
    let blocking = try InThread { asCompleted(handles).results.map(\.index).sorted() }.join()
    #expect(blocking == Array(0...50))
    #expect(try await asCompleted([PoolResult<Int>]()).first { _ in true } == nil)
    await other.terminate()
    await pool.terminate()
  }

  @Test(.timeLimit(.minutes(5))) func lateResultsHaveAnErrorThatSaysSo() async throws {
    let pool = try ProcessPool(workers: 2)
    let slow = try asked(pool)
    let quick = try pool.submit(1) { $0 }
    _ = try await quick.get()
    var seen: [Int: Result<Int, any Error>] = [:]
    for try await (index, result) in asCompleted([slow.1, quick], timeout: .milliseconds(5)) {
      seen[index] = result
    }
    #expect(try seen[1]?.get() == 1)
    let error = #expect(throws: IPCError.self) { try seen[0]?.get() }
    #expect(error?.code == .timedOut)
    // It was left alone.
    try await slow.0.send(5)
    #expect(try await slow.1.get() == 5)
    let another = try asked(pool)
    let waiting = Task { for try await _ in asCompleted([another.1]) {} }
    waiting.cancel()
    let end = await #expect(throws: IPCError.self) { try await waiting.value }
    #expect(end?.code == .cancelled)
    await pool.terminate()
  }

  @Test(.timeLimit(.minutes(5))) func aBatchIsOneHandleForManyTasks() async throws {
    let pool = try ProcessPool(workers: 2)
    let batch = try pool.submitMap(0..<1000) { $0 * $0 }
    let squares = (0..<1000).map { $0 * $0 }
    #expect(batch.count == 1000)
    #expect(try await batch.get() == squares)
    #expect(try await batch.get(timeout: .zero) == squares)
    #expect(try await batch.results().map { try $0.get() } == squares)
    #expect(batch.isReady)
    #expect(batch.progress == PoolBatchProgress(done: 1000, failed: 0, running: 0, waiting: 0))
    #expect(try await firstReady(batch) == [0])
    #expect(batch.cancel() == 0)
    #expect(try await pool.submitMap([Int]()) { $0 }.get().isEmpty)
    #expect(try await pool.submitMap(["a"]) { (text: String) async in text + "b" }.get() == ["ab"])
    #expect(
      try await pool.submitMap(tasks: (0..<3).map { ChildWork.Square(number: $0) }).get()
        == [0, 1, 4])
    let sum = try SharedAtomic(0)
    let adds = try pool.submitMap((0..<10).map { PoolTestAdd(sum: sum, number: $0) }) {
      _ = $0.sum.add($0.number)
    }
    #expect(try await adds.wait())
    #expect(sum.load() == 45)
    let blocking = try InThread { try pool.submitMap(0..<10) { $0 }.get() }.join()
    #expect(blocking == Array(0..<10))
    await pool.terminate()
  }

  @Test(.timeLimit(.minutes(5))) func aBatchThatFailsSaysSoAtOnceAndGoesOn() async throws {
    let pool = try ProcessPool(workers: 2)
    let (ours, theirs) = try Connection.pair()
    let batch = try pool.submitMap([theirs, nil, nil, nil] as [Connection?], chunkSize: 1) {
      connection in
      guard let connection else { throw ChildWork.Refusal(reason: "no") }
      return try connection.receive(Int.self)
    }
    let error = await #expect(throws: RemoteError.self) { try await batch.get() }
    #expect((1...3).contains(error?.taskIndex ?? 0))
    #expect(!batch.isReady)
    let late = await #expect(throws: IPCError.self) {
      try await batch.results(timeout: .milliseconds(1))
    }
    #expect(late?.code == .timedOut)
    let first = await #expect(throws: IPCError.self) {
      _ = try await pool.submitMap([1]) { number -> Int in
        while number == 1 { pause() }
        return number
      }.get(timeout: .milliseconds(1))
    }
    #expect(first?.code == .timedOut)
    try await ours.send(4)
    let results = try await batch.results()
    #expect(try results[0].get() == 4)
    #expect(results.dropFirst().allSatisfy { if case .failure = $0 { true } else { false } })
    #expect(batch.progress == PoolBatchProgress(done: 1, failed: 3, running: 0, waiting: 0))
    await pool.terminate()
  }

  @Test(.timeLimit(.minutes(5))) func cancellingSaysWhetherItWasInTime() async throws {
    let pool = try ProcessPool(workers: 1)
    let (ours, theirs) = try Connection.pair()
    let begun = try SharedAtomic(0)
    let running = try pool.submit(theirs) { connection in
      try connection.send("begun")
      return try connection.receive(Int.self)
    }
    #expect(try await ours.receive(String.self) == "begun")
    let batch = try pool.submitMap(
      (0..<100).map { PoolTestAdd(sum: begun, number: $0) }
    ) { _ = $0.sum.add(1) }
    #expect(batch.progress == PoolBatchProgress(done: 0, failed: 0, running: 0, waiting: 100))
    let waiting = try pool.submit(begun) { _ = $0.add(1) }
    #expect(waiting.cancel())
    #expect(waiting.cancel() && waiting.isReady)
    #expect(batch.cancel() == 100)
    #expect(batch.cancel() == 100 && batch.isReady)
    for result in try await batch.results(timeout: .zero) {
      #expect(throws: IPCError.self) { try result.get() }
    }
    // Too late: it has begun.
    #expect(!running.cancel())
    let error = await #expect(throws: IPCError.self) { try await running.get() }
    #expect(error?.code == .cancelled)
    try await ours.send(1)
    let done = try pool.submit(2) { $0 }
    #expect(try await done.get() == 2)
    #expect(!done.cancel())
    #expect(try await done.get() == 2)
    #expect(begun.load() == 0)
    await pool.terminate()
  }

  @Test(.timeLimit(.minutes(5))) func allThatWaitsInAPoolCanBeCancelled() async throws {
    let pool = try ProcessPool(workers: 1)
    let (ours, theirs) = try Connection.pair()
    let begun = try SharedAtomic(0)
    let running = try pool.submit(theirs) { connection in
      try connection.send("begun")
      return try connection.receive(Int.self)
    }
    #expect(try await ours.receive(String.self) == "begun")
    #expect(pool.cancelWaiting() == 0)
    let singles = try (0..<5).map { _ in try pool.submit(begun) { _ = $0.add(1) } }
    let batch = try pool.submitMap(
      (0..<100).map { PoolTestAdd(sum: begun, number: $0) }
    ) { _ = $0.sum.add(1) }
    #expect(pool.cancelWaiting() == 105)
    for single in singles {
      let error = await #expect(throws: IPCError.self) { try await single.get(timeout: .zero) }
      #expect(error?.code == .cancelled)
    }
    #expect(batch.progress.failed == 100)
    #expect(batch.cancel() == 100)
    try await ours.send(6)
    #expect(try await running.get() == 6)
    // The pool goes on.
    #expect(try await pool.map(0..<10) { $0 } == Array(0..<10))
    #expect(begun.load() == 0)
    let progress = pool.progress
    #expect(progress.cancelled == 105 && progress.waiting == 0 && progress.total == 116)
    await pool.terminate()
  }
}
