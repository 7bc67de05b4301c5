// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import SwiftIPC

/// The examples of the documentation of pools, as they stand in `@main static func main() async`: on the
/// main actor.
@MainActor @Suite struct PoolExamplesTests {
  @Test func results() async throws {
    let urls = ["a", "b", "bad"]
    func show(_ page: String) { shown.append(page) }
    var shown: [String] = []
    let pool = try ProcessPool(workers: 2)
    for try await (index, page) in pool.imapUnordered(urls, { try fetch($0) }).indexed {
      switch page {
      case .success(let page): show(page)
      case .failure(let error): print("\(urls[index]): \(error)")
      }
    }
    #expect(shown.sorted() == ["page a", "page b"])
    let results = try urls.map { try pool.submit($0) { try fetch($0) } }
    for try await (index, page) in asCompleted(results) {
      print(urls[index], (try? page.get()) ?? "failed")
    }
    for place in try await firstReady(results, timeout: .seconds(5)) where place < 2 {
      show(try await results[place].get())
    }
    #expect(shown.count == 4)
    print("\(pool.cancelWaiting()) were not begun")
    await pool.terminate()
  }

  @Test func batches() async throws {
    let pool = try ProcessPool(workers: 2)
    let before = pool.progress
    let batch = try pool.submitMap(0..<1000) { $0 * $0 }
    print("\(batch.progress.done) of \(batch.count)")
    let squares = try await batch.get(timeout: patience)
    #expect(squares.last == 998_001)
    #expect(pool.progress.since(before).total == 1000)
    await pool.terminate()
  }

  @Test func progress() async throws {
    let pool = try ProcessPool(
      workers: 2, poolOptions: .init(onProgress: { print("\($0.done) of \($0.total)") }))
    let lines = pool.imap(sequence(first: 0) { $0 < 99 ? $0 + 1 : nil }, { "\($0)" })
      .expecting(total: 100)
    for try await line in lines where line == "50" { break }
    let progress = pool.progress
    print("\(progress.done) of \(progress.total) done, \(progress.failed) failed")
    for worker in progress.workers {
      print(worker.name, worker.pid ?? 0, worker.memory ?? 0, worker.timeInTask ?? .zero)
    }
    await pool.terminate()
  }

  @Test func workers() async throws {
    let pool = try ProcessPool(
      workers: 2,
      poolOptions: .init(idleTime: .seconds(30), memoryGrowth: 256 << 20, processors: [[0], [0]]))
    let scratch = try await pool.map(0..<8) { number in
      "/tmp/scratch-\(CurrentProcess.workerIndex ?? 0)"  // no other task has it at the same time
    }
    #expect(scratch.count == 8)
    await pool.terminate()
  }

  @Test func finalizers() async throws {
    let lines = ["a", "b"]
    let pool = try ProcessPool(workers: 2, arguments: "log") { path in
      try Log(path)
    } finalizer: { log in
      try log.flush()
    }
    try await pool.with(Log.self).forEach(lines) { log, line in log.add(line) }
    pool.close()
    try await pool.join()
  }
}

private struct Log {
  var text = ""
  init(_ path: String) throws { text = path }
  mutating func add(_ line: String) { text += line }
  func flush() throws {}
}

@Sendable nonisolated private func fetch(_ url: String) throws -> String {
  if url == "bad" { throw ChildWork.Refusal(reason: url) }
  return "page \(url)"
}
