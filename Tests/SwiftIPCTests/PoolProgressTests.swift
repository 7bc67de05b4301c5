// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// What a pool says of how far it is, and to whom.
@Suite struct PoolProgressTests {
  private final class Snapshots: Sendable {
    private let all = Mutex<[PoolProgress]>([])
    func add(_ progress: PoolProgress) { all.withLock { $0.append(progress) } }
    var list: [PoolProgress] { all.withLock { $0 } }
  }

  @Test func theHookHasTheWholeTotalOfACollectionAndTheLastWordBeforeTheEnd() async throws {
    let seen = Snapshots()
    let pool = try ProcessPool(
      workers: 2,
      poolOptions: .init(onProgress: { seen.add($0) }, progressInterval: .milliseconds(1)))
    var count = 0
    for try await _ in pool.imap(
      0..<500,
      { (number: Int) in
        usleep(200)
        return number
      })
    { count += 1 }
    let all = seen.list
    #expect(all.count > 1)
    #expect(all.allSatisfy { $0.total == 500 })
    #expect(all.last?.done == 500 && all.last?.waiting == 0)
    let before = pool.progress
    _ = try await pool.map(0..<10) { $0 }
    let last = try #require(seen.list.last)
    #expect(last.since(before).done == 10 && last.since(before).total == 10)
    // Without elements there is an end too, and nothing is left to be driven.
    let reports = seen.list.count
    #expect(try await pool.map([Int]()) { $0 }.isEmpty)
    #expect(try await pool.submitMap([Int]()) { $0 }.get().isEmpty)
    #expect(seen.list.count == reports + 2)
    #expect(pool.core.backgroundWork.load(ordering: .relaxed) == 0)
    await pool.terminate()
  }

  @Test func theCallerSaysTheTotalOfAStream() async throws {
    let seen = Snapshots()
    let pool = try ProcessPool(workers: 1, poolOptions: .init(onProgress: { seen.add($0) }))
    let stream = sequence(first: 0) { $0 < 9 ? $0 + 1 : nil }
    var iterator = pool.imap(stream, window: 2, { $0 }).expecting(total: 12).makeAsyncIterator()
    #expect(try await iterator.next() == 0)
    #expect(pool.progress.total == 12)
    var rest = 0
    while try await iterator.next() != nil { rest += 1 }
    #expect(rest == 9)
    // There were fewer.
    #expect(pool.progress.total == 10 && seen.list.last?.total == 10)
    await pool.terminate()
  }

  @Test func resultsThatAreGivenUpAreCountedAndReported() async throws {
    let seen = Snapshots()
    let pool = try ProcessPool(workers: 1, poolOptions: .init(onProgress: { seen.add($0) }))
    for try await number in pool.imap(0..<500, window: 4, { $0 }) where number == 7 { break }
    var last = try #require(seen.list.last)
    // The worker may have some that it has not begun.
    #expect(last.total == 500 && last.cancelled >= 488 && last.waiting <= 3)
    await #expect(throws: RemoteError.self) {
      try await pool.map(0..<100, chunkSize: 1) { number in
        if number == 3 { throw ChildWork.Refusal(reason: "no") }
        return number
      }
    }
    let after = try #require(seen.list.last)
    #expect(after.since(last).failed == 1 && after.since(last).total >= 100)
    last = after
    await pool.terminate()
  }

  /// The hook may cancel, from inside of a call.
  @Test(.timeLimit(.minutes(5))) func aHookMayCancel() async throws {
    let result = Mutex<PoolResult<Int>?>(nil)
    let calls = Mutex(0)
    let pool = try ProcessPool(
      workers: 1,
      poolOptions: .init(
        onProgress: { _ in
          calls.withLock { $0 += 1 }
          _ = result.withLock { $0 }?.cancel()
        }, progressInterval: .milliseconds(1)))
    let running = try pool.submit(options: .init(killsWhenCancelled: true)) { () -> Int in
      while true { pause() }
    }
    result.withLock { $0 = running }
    let error = await #expect(throws: IPCError.self) { try await running.get() }
    #expect(error?.code == .cancelled)
    #expect(calls.withLock { $0 } >= 1)
    await pool.terminate()
    // The hook has the result, and the result the pool with its hook.
    result.withLock { $0 = nil }
  }

  @Test func workersHaveAProcessMemoryAndATimeInTheirTask() async throws {
    let pool = try ProcessPool(workers: 1)
    let pid = try await pool.apply { getpid() }
    let before = try #require(pool.progress.workers.first)
    #expect(before.pid == pid && before.index == 0 && before.timeInTask == nil)
    let (ours, theirs) = try Connection.pair()
    let result = try pool.submit(theirs) { connection in
      let memory = [UInt8](repeating: 1, count: 64 << 20)
      try connection.send("begun")
      _ = try? connection.receive(Int.self)
      return memory.count
    }
    #expect(try await ours.receive(String.self) == "begun")
    let busy = try #require(pool.progress.workers.first)
    let later = try #require(pool.progress.workers.first)
    #expect(busy.state == .running)
    #expect(try #require(busy.timeInTask) > .zero)
    #expect(try #require(later.timeInTask) >= #require(busy.timeInTask))
    #expect(try #require(busy.memory) >= #require(before.memory) + 60 << 20)
    ours.close()
    _ = try await result.get()
    await pool.terminate()
    #expect(pool.progress.workers.isEmpty)
  }

  @Test func theMemoryOfAProcessIsReadFromItsLine() {
    #expect(ProcessMemory.own(in: Array("1000 50 20 1 0 9 0\n".utf8), pageSize: 4096) == 30 * 4096)
    for text in ["", "1", "1 2", "a b c", "1 2 99999999999999999999999 4", "1 -2 3"] {
      let size = ProcessMemory.own(in: Array(text.utf8), pageSize: 4096)
      #expect(size == nil || size == 0)
    }
    #expect(ProcessMemory.own(of: 0) == nil)
  }

  /// A cancelled, a failed and a terminated run leave the cursor at the beginning of a line.
  @Test(.timeLimit(.minutes(5)), arguments: ["cancel", "throw", "terminate"])
  func theLineOfARunIsClosedHoweverItEnds(_ way: String) async throws {
    let terminal = TerminalTests.Terminal()
    let descriptor = unsafe open(terminal.path, O_RDWR | O_NOCTTY | O_CLOEXEC)
    try #require(descriptor >= 0)
    let pool = try ProcessPool(
      PoolScheduler.Settings(workers: 1, name: "pool"),
      ProcessEngine(
        ProcessEngine.Settings(
          name: "pool",
          options: .init(daemon: true, method: .forkServer, standardInput: .null))),
      reporter: ProgressReporter(bar: ProgressBar(on: descriptor), nil, interval: .seconds(1)))
    let (ours, theirs) = try Connection.pair()
    let run = Task {
      try await pool.map([theirs], options: .init(killsWhenCancelled: true)) { connection in
        _ = try? connection.receive(Int.self)
        throw ChildWork.Refusal(reason: "no")
      } as [Int]
    }
    // Until the line is drawn.
    #expect(try await firstReady(Readable(descriptor: terminal.master)) == [0])
    switch way {
    case "cancel": run.cancel()
    case "throw": ours.close()
    default: await pool.terminate()
    }
    await #expect(throws: (any Error).self) { try await run.value }
    // Nothing is drawn from here on: this is all.
    #expect(unsafe write(descriptor, "next", 4) == 4)
    await pool.terminate()
    close(descriptor)
    #expect(terminal.shown().hasSuffix("\r\nnext"))
  }

  /// What stands on the lines of a terminal in the end.
  private func lines(_ text: String) -> [String] {
    var lines: [[Character]] = [[]]
    var column = 0
    var rest = Substring(text)
    while let character = rest.unicodeScalars.popFirst() {
      switch character {
      case "\r": column = 0
      case "\n":
        lines.append([])
        column = 0
      case "\u{1b}":
        precondition(rest.hasPrefix("[K"))
        rest.removeFirst(2)
        lines[lines.count - 1].removeSubrange(min(column, lines[lines.count - 1].count)...)
      default:
        var line = lines[lines.count - 1]
        if column < line.count {
          line[column] = Character(character)
        } else {
          line.append(Character(character))
        }
        lines[lines.count - 1] = line
        column += 1
      }
    }
    return lines.map { String($0) }
  }

  @Test(.timeLimit(.minutes(5))) func theOutputOfWorkersStandsAboveTheLine() async throws {
    let terminal = TerminalTests.Terminal()
    let descriptor = unsafe open(terminal.path, O_RDWR | O_NOCTTY | O_CLOEXEC)
    try #require(descriptor >= 0)
    let program = try ChildProcess.start(
      options: .init(
        standardOutput: .descriptor(descriptor), standardError: .descriptor(descriptor))
    ) {
      let pool = try ProcessPool(workers: 2, progressBar: true)
      for _ in 0..<2 {
        // Long enough for the line to be drawn before the last of them.
        try pool.forEach(0..<12, chunkSize: 1) { number in
          usleep(150_000)
          print("worker says \(number)")
          // Without an end, and in pieces.
          for piece in ["errors", " of ", "\(number)\n"] {
            _ = unsafe write(STDERR_FILENO, piece, piece.utf8.count)
          }
        }
      }
      pool.close()
      try pool.join()
    }
    close(descriptor)
    let shown = terminal.shown()
    #expect(try await program.join() == .exited(0))
    let screen = lines(shown)
    #expect(screen.last == "")
    #expect(screen.filter { $0.hasPrefix("[####") && $0.contains("100% 12 of 12") }.count == 2)
    let others = screen.filter { !$0.hasPrefix("[####") && !$0.isEmpty }.sorted()
    let expected = (0..<12).flatMap { ["worker says \($0)", "errors of \($0)"] }
    // Of two workers that write at once pieces may be mixed: letter by letter nothing is lost.
    #expect(others.joined().sorted() == (expected + expected).joined().sorted(), "\(shown)")
    #expect(others.allSatisfy { !$0.contains("#") && !$0.contains("%") })
    #expect(screen.filter { $0.hasPrefix("worker says") }.count >= 16)
  }
}

private struct Readable: Waitable {
  let descriptor: Int32
  func readiness() -> Readiness {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&entry, 1, 0) > 0 ? .ready : .pending([.readable(descriptor)])
  }
}
