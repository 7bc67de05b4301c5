// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum TwoCores: Stop {
  static let title =
    "The same CPU-bound job once, with two threads, two processes and a pool of two"

  static let limit = 3_000_000

  /// Counts the primes below `limit` among the numbers `first`, `first + step`, …
  static func primes(from first: Int, step: Int) -> Int {
    var count = 0
    for candidate in stride(from: first, to: limit, by: step) where candidate > 1 {
      var divisor = 2
      while divisor * divisor <= candidate, candidate % divisor != 0 { divisor += 1 }
      if divisor * divisor > candidate { count += 1 }
    }
    return count
  }

  static func run() async throws {
    let clock = ContinuousClock()

    var found = 0
    let once = clock.measure { found = primes(from: 2, step: 1) }
    say("one thread:    \(found) primes in \(seconds(once))")

    let threads = await clock.measure {
      // Odd numbers in two halves; 2 is the one even prime.
      async let one = primes(from: 1, step: 4)
      async let other = primes(from: 3, step: 4)
      found = await one + other + 1
    }
    say("two threads:   \(found) primes in \(seconds(threads))")

    let processes = try await clock.measure {
      let one = try ChildProcess.start { primes(from: 1, step: 4) }
      let other = try ChildProcess.start { primes(from: 3, step: 4) }
      found = try await one.value + other.value + 1
    }
    say("two processes: \(found) primes in \(seconds(processes))")

    let pool = try ProcessPool(workers: 2)
    let pooled = try await clock.measure {
      // In 64 pieces of different length, which are given out as workers are free.
      found = try await pool.map(0..<64) { primes(from: 1 + 2 * $0, step: 128) }.reduce(1, +)
    }
    await pool.terminate()
    say("a pool of two: \(found) primes in \(seconds(pooled))")
  }

  static func seconds(_ duration: Duration) -> String {
    let hundredths = (duration / .milliseconds(10)).rounded() / 100
    return "\(hundredths) s"
  }
}
