// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum Race: Stop {
  static let title = "A race without a lock, and the same with a lock"

  static let rounds = 1_000_000

  static func run() async throws {
    let counter = try SharedArray<Int>(repeating: 0, count: 1)
    let unlocked = try (0..<2).map { _ in
      try ChildProcess.start(counter) { counter in
        for _ in 0..<rounds { counter[0] += 1 }
      }
    }
    for child in unlocked { try await child.join() }
    say("without: two children added \(2 * rounds), the sum is \(counter[0])")

    let lock = try Lock()
    counter[0] = 0
    let locked = try (0..<2).map { _ in
      try ChildProcess.start(counter, lock) { counter, lock in
        for _ in 0..<rounds { try lock.withLock { counter[0] += 1 } }
      }
    }
    for child in locked { try await child.join() }
    say("with:    two children added \(2 * rounds), the sum is \(counter[0])")
  }
}
