// SPDX-License-Identifier: Apache-2.0
// Everything that takes a closure for the time of a call, from an actor and from the main actor, with
// a closure that uses the caller's own state; and values that are not Sendable.
import SwiftIPC

nonisolated final class Tally: Codable {
  var count = 0
}

actor Worker {
  var total = 0
  let tally = Tally()

  func scopes(
    _ semaphore: SharedSemaphore, _ lock: Lock, _ recursive: RecursiveLock,
    _ readWrite: ReadWriteLock, _ condition: Condition, _ barrier: Barrier, _ value: Value<Int>,
    _ array: SharedArray<Int>, _ text: SharedString, _ bytes: SharedBytes, _ memory: SharedMemory,
    _ frames: Queue<[Int]>
  ) async throws {
    try await withProcessPool(workers: 1) { pool in
      total += try await pool.apply(1) { $0 }
      tally.count += 1
    }
    try await withProcessPool(ProcessPool(workers: 1)) { pool in
      total += try await pool.map([1]) { $0 }[0]
      for try await number in pool.imap([1], { $0 }) { total += number }
    }
    let made = try await withProcessPool { _ in Tally() }
    total += made.count
    try await semaphore.withPermit { total += 1 }
    try await semaphore.withPermit(timeout: .seconds(1)) {
      try await frames.put([1])
      total += 1
    }
    try lock.withLock { total += 1 }
    try recursive.withLock {
      total += 1
    } recovering: {
      total = 0
    }
    try await readWrite.withReadLock { total += 1 }
    try await readWrite.withWriteLock {
      total += 1
    } recovering: {
      total = 0
    }
    try await condition.withLock(when: { total > 0 }, { total -= 1 })
    try condition.withLock { total += 1 }
    _ = try await barrier.wait { total += 1 }
    try value.withLock { $0 += total }
    try array.withLock { $0[0] = total }
    try text.withLock { $0 += "\(total)" }
    try bytes.update { $0.append(UInt8(truncatingIfNeeded: total)) }
    try memory.withMutableSpan(of: Int.self) { $0[0] = total }
    total += try await frames.withElement { $0[0] }
    try await frames.put(upTo: 2) { $0.append(total) }
  }

  func messages(_ connection: Connection) async throws {
    for try await number in connection.messages(of: Int.self) { total += number }
  }

  func elements(_ queue: Queue<Int>) async throws {
    for try await number in queue { total += number }
    try await queue.putMany(0..<total)
  }
}

@MainActor final class Screen {
  var total = 0
  let tally = Tally()

  func scopes(
    _ semaphore: SharedSemaphore, _ readWrite: ReadWriteLock, _ condition: Condition,
    _ barrier: Barrier, _ frames: Queue<[Int]>
  ) async throws {
    try await withProcessPool(workers: 1) { pool in
      total += try await pool.apply(1) { $0 }
      tally.count += 1
    }
    try await withProcessPool(ProcessPool(workers: 1)) { pool in
      total += try await pool.map([1]) { $0 }[0]
    }
    let made = try await withProcessPool { _ in Tally() }
    total += made.count
    try await semaphore.withPermit { total += 1 }
    try await readWrite.withReadLock { total += 1 }
    try await readWrite.withWriteLock {
      total += 1
    } recovering: {
      total = 0
    }
    try await condition.withLock(when: { total > 0 }, { total -= 1 })
    _ = try await barrier.wait { total += 1 }
    total += try await frames.withElement { $0[0] }
    try await frames.put(upTo: 2) { $0.append(total) }
  }

  func messages(_ connection: Connection) async throws {
    try await connection.send(tally)
    let answer = try await connection.receive(Tally.self)
    total += answer.count
    for try await number in connection.messages(of: Int.self) { total += number }
  }
}

@main struct Program {
  static func main() async throws {
    let tally = Tally()
    try await withProcessPool(workers: 1) { pool in
      tally.count += try await pool.apply(1) { $0 }
    }
    print(tally.count)
  }
}
