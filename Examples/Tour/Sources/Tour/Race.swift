// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum Race: Stop {
  static let title = "A race without a lock, and the same with a lock"

  static let rounds = 5_000_000

  /// Reads, adds and writes back: three steps, between which the other child comes in. Not inlined,
  /// since the optimizer would make one addition of all rounds.
  @inline(never)
  static func increment(_ counter: SharedArray<Int>) { counter[0] = next(counter[0]) }

  @inline(never)
  static func next(_ number: Int) -> Int { number + 1 }

  /// Waits at the starting line until both children are there.
  static func start(_ runners: SharedAtomic<Int>) {
    runners.add(1)
    while runners.load() < 2 {}
  }

  static func run() async throws {
    let counter = try SharedArray<Int>(repeating: 0, count: 1)
    var runners = try SharedAtomic(0)
    let unlocked = try (0..<2).map { _ in
      try ChildProcess.start(counter, runners) { counter, runners in
        start(runners)
        for _ in 0..<rounds { increment(counter) }
      }
    }
    for child in unlocked { try await child.join() }
    say("without: two children added \(2 * rounds), the sum is \(counter[0])")

    let lock = try Lock()
    runners = try SharedAtomic(0)
    counter[0] = 0
    let locked = try (0..<2).map { [runners] _ in
      try ChildProcess.start(counter, runners, lock) { counter, runners, lock in
        start(runners)
        for _ in 0..<rounds { try lock.withLock { increment(counter) } }
      }
    }
    for child in locked { try await child.join() }
    say("with:    two children added \(2 * rounds), the sum is \(counter[0])")
  }
}
