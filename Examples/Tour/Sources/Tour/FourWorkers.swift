// SPDX-License-Identifier: Apache-2.0
@preconcurrency import Glibc
import SwiftIPC

enum FourWorkers: Stop {
  static let title = "Four workers and ten uneven tasks: a free worker takes the next"

  static func run() async throws {
    try await withProcessPool(workers: 4, name: "baker") { pool in
      let loaves = pool.imapUnordered([8, 1, 1, 5, 2, 1, 6, 1, 3, 2]) { minutes in
        usleep(UInt32(minutes) * 10_000)
        return "\(CurrentProcess.name) baked for \(minutes) min"
      }
      for try await loaf in loaves { say(loaf) }
      let progress = pool.progress
      let shares = progress.workers.map { "\($0.name) \($0.done)" }.joined(separator: ", ")
      say("\(progress.done) done: \(shares)")
    }
  }
}
