// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// What pools do when all goes well.
@Suite struct ProcessPoolTests {
  @Test func applyReturnsWhatATaskDoes() async throws {
    let pool = try ProcessPool(workers: 2)
    #expect(try await pool.apply(12) { $0 * $0 } == 144)
    #expect(
      try await pool.apply(3, "ab") { count, text in String(repeating: text, count: count) }
        == "ababab")
    #expect(["pool-1", "pool-2"].contains(try await pool.apply { CurrentProcess.name }))
    try await pool.apply(1) { number in _ = number }
    #expect(try await pool.apply("a") { (text: String) async in text + "b" } == "ab")
    #expect(try await pool.run(ChildWork.Square(number: 5)) == 25)
    #expect(try await pool.apply([1.5, 2.5]) { $0.map { $0 * 2 } } == [3, 5])
    await pool.terminate()
  }

  @Test func mapKeepsTheOrder() async throws {
    let pool = try ProcessPool(workers: 2)
    #expect(try await pool.map(0..<10) { $0 * $0 } == (0..<10).map { $0 * $0 })
    #expect(try await pool.map(0..<1000, chunkSize: 7) { "\($0)" } == (0..<1000).map { "\($0)" })
    let many = try await pool.map(0..<300_000) { $0 &+ 1 }
    #expect(many == Array(1...300_000))
    #expect(try await pool.map([String]()) { $0 }.isEmpty)
    let sum = try SharedAtomic(0)
    let adds = (0..<10).map { PoolTestAdd(sum: sum, number: $0) }
    try await pool.forEach(adds) { _ = $0.sum.add($0.number) }
    try await pool.forEach(adds) { (add: PoolTestAdd) async in _ = add.sum.add(add.number) }
    #expect(sum.load() == 90)
    #expect(
      try await pool.map(["a", "b"]) { (text: String) async in text + text } == ["aa", "bb"])
    #expect(
      try await pool.map(tasks: (0..<20).map { ChildWork.Square(number: $0) })
        == (0..<20).map { $0 * $0 })
    #expect(try await pool.starmap([(2, 3), (4, 5)]) { $0 * $1 } == [6, 20])
    #expect(
      try await pool.starmap([(2, "a"), (3, "b")], chunkSize: 1) {
        String(repeating: $1, count: $0)
      } == ["aa", "bbb"])
    await pool.terminate()
  }

  @Test func submittedTasksHaveHandles() async throws {
    let pool = try ProcessPool(workers: 2)
    let result = try pool.submit(10) { $0 * $0 }
    #expect(try await result.get(timeout: patience) == 100)
    #expect(result.isReady)
    #expect(try await result.get() == 100)
    let results = try (0..<500).map { try pool.submit($0) { $0 + 1 } }
    for (number, result) in results.enumerated() { #expect(try await result.get() == number + 1) }
    await pool.terminate()
  }

  @Test func blockingFormsDriveThePool() async throws {
    let thread = InThread {
      let pool = try ProcessPool(workers: 2)
      let square = try pool.apply(12) { $0 * $0 }
      let squares = try pool.map(0..<100) { $0 * $0 }
      let result = try pool.submit(7) { $0 * $0 }
      let seven = try result.get()
      var sum = 0
      for value in pool.imap(0..<100, { $0 * 2 }).results { sum += try value.get() }
      for value in pool.imapUnordered(0..<100, { $0 * 2 }).results { sum += try value.get() }
      pool.close()
      let isJoined = try pool.join()
      return (square, squares, seven, sum, isJoined)
    }
    let (square, squares, seven, sum, isJoined) = try thread.join()
    #expect(square == 144 && squares == (0..<100).map { $0 * $0 } && seven == 49)
    #expect(sum == 19800)
    #expect(isJoined)
  }

  @Test func imapIsLazyAndTakesInputWithoutEnd() async throws {
    let pool = try ProcessPool(workers: 2)
    var seen: [Int] = []
    for try await value in pool.imap(0..., { $0 * 3 }) {
      seen.append(value)
      if seen.count == 5000 { break }
    }
    #expect(seen == (0..<5000).map { $0 * 3 })
    var unordered: Set<Int> = []
    for try await value in pool.imapUnordered(0..., { "\($0)" }) {
      unordered.insert(Int(value)!)
      if unordered.count == 2000 { break }
    }
    #expect(unordered.count == 2000)
    await pool.terminate()
  }

  @Test func workersHaveAState() async throws {
    let pool = try ProcessPool(workers: 1, arguments: 40, "x") { number, text in
      PoolTestState(count: number, text: text)
    }
    #expect(
      try await pool.with(PoolTestState.self).apply(2) { state, more in
        state.count += more
        return state.text + "\(state.count)"
      } == "x42")
    #expect(
      try await pool.with(PoolTestState.self).map(0..<3) { state, more in
        state.count += 1
        return state.count
      } == [43, 44, 45])
    try await pool.with(PoolTestState.self).apply(1) { $0.count += $1 }
    try await pool.with(PoolTestState.self).forEach(0..<2) { $0.count += $1 }
    let view = try pool.with(PoolTestState.self)
    #expect(try await view.submit { (state: inout PoolTestState) in state.count }.get() == 47)
    #expect(try await view.apply { $0.count } == 47)
    #expect(throws: IPCError.self) { try pool.with(Int.self) }
    await pool.terminate()
  }

  @Test func aTaskThatThrowsIsAnErrorOfItsOwn() async throws {
    let pool = try ProcessPool(workers: 2)
    let error = await #expect(throws: RemoteError.self) {
      try await pool.apply(1) { (_: Int) -> Int in throw ChildWork.Refusal(reason: "no") }
    }
    #expect(error?.typeName.hasSuffix("ChildWork.Refusal") == true)
    #expect(error?.message.contains("no") == true)
    #expect(error?.worker.hasPrefix("pool-") == true)
    let results = try await pool.mapResults(0..<100) { number in
      if number % 10 == 3 { throw ChildWork.Refusal(reason: "\(number)") }
      return number
    }
    #expect(results.count == 100)
    for (number, result) in results.enumerated() {
      if number % 10 == 3 {
        #expect(throws: RemoteError.self) { try result.get() }
      } else {
        #expect(try result.get() == number)
      }
    }
    await pool.terminate()
  }

  /// Where the Swift runtime tells of errors that are thrown, as in a dynamically linked program.
  @Test func anErrorSaysWhereItWasThrown() async throws {
    let pool = try ProcessPool(workers: 1)
    let error = await #expect(throws: RemoteError.self) {
      try await pool.apply(1) { (number: Int) -> Int in try PoolThrower.throwing(number) }
    }
    let trace = try #require(error?.trace)
    #expect(trace.count >= 2)
    #expect(trace.allSatisfy { $0.contains(" in ") || $0.hasPrefix("0x") }, "\(trace)")
    // Another error has a trace of its own.
    let other = await #expect(throws: RemoteError.self) {
      try await pool.apply(1) { (_: Int) -> Int in throw ChildWork.Refusal(reason: "here") }
    }
    #expect(other?.trace != trace)
    // One line says what, and the others where.
    let thrown = try #require(error)
    #expect(!"\(thrown)".contains("\n") && !"\(thrown)".contains(trace[0]))
    #expect(thrown.debugDescription.split(separator: "\n").count == trace.count + 1)
    await pool.terminate()
  }

  @Test func anErrorOfSeveralLinesIsDescribedInOne() {
    let error = RemoteError(
      typeName: "Log.Forged", message: "a\nb\u{1B}[2J\u{202E}\u{2028}c", worker: "pool-1")
    #expect(
      "\(error)"
        == "Log.Forged: a\\nb\\u{1B}[2J\\u{202E}\\u{2028}c (thrown in pool-1)")
  }

  @Test func theProgressBarIsDrawnOnATerminalAlone() throws {
    var path = [CChar](repeating: 0, count: 128)
    let master = unsafe test_terminal(&path, path.count)
    try #require(master >= 0)
    defer { close(master) }
    let terminal = unsafe open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)
    defer { close(terminal) }
    let bar = try #require(ProgressBar(on: terminal))
    let progress = PoolProgress(
      done: 130, failed: 1, running: 2, waiting: 29, rate: 10, workers: [])
    bar.finish(progress)  // nothing was drawn
    // What was there before does not count.
    bar.begin(
      PoolProgress(done: 100, failed: 0, running: 0, waiting: 0, rate: 10, workers: []))
    bar.show(progress)
    bar.finish(progress)
    var text = [UInt8](repeating: 0, count: 4096)
    let count = unsafe read(master, &text, text.count)
    let drawn = String(decoding: text.prefix(max(0, count)), as: UTF8.self)
    #expect(drawn.contains("50% 31 of 62, 1 failed, 10/s, 3 s left"))
    #expect(drawn.hasPrefix("\r["))
    let pipe = Pipe()
    #expect(ProgressBar(on: pipe.writing) == nil)
  }

  @Test func aWorkerThatDiesCostsOneTask() async throws {
    let pool = try ProcessPool(workers: 2)
    let results = try await pool.mapResults(0..<200) { number in
      if number % 50 == 7 { raise(SIGKILL) }
      return number
    }
    for (number, result) in results.enumerated() {
      if number % 50 == 7 {
        let error = #expect(throws: IPCError.self) { try result.get() }
        #expect(error?.code == .workerDied)
        #expect(error?.exitStatus == .signalled(SIGKILL))
      } else {
        #expect(try result.get() == number)
      }
    }
    #expect(try await pool.apply(1) { $0 } == 1)
    await pool.terminate()
  }
}

struct PoolTestAdd: Codable, Sendable {
  var sum: SharedAtomic<Int>
  var number: Int
}

enum PoolThrower {
  @inline(never) static func throwing(_ number: Int) throws -> Int {
    throw ChildWork.Refusal(reason: "\(number)")
  }
}

struct PoolTestState {
  var count: Int
  var text: String
}
