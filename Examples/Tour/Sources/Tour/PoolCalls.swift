// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum PoolCalls: Stop {
  static let title =
    "A pool: one task and its result, ten squares, and results as they are asked for"

  static func run() async throws {
    let pool = try ProcessPool(workers: 4)
    let result = try pool.submit(10) { $0 * $0 }
    say("submit: \(try await result.get(timeout: .seconds(1)))")
    say("map:    \(try await pool.map(0..<10) { $0 * $0 })")
    say("starmap: \(try await pool.starmap([(2, 3), (4, 5)]) { $0 * $1 })")
    var lines: [String] = []
    // The input has no end: elements are taken as results are.
    for try await line in pool.imap(1..., { "\($0)/\(CurrentProcess.name)" }) {
      lines.append(line)
      if lines.count == 5 { break }
    }
    say("imap:   \(lines.joined(separator: " "))")
    pool.close()
    try await pool.join()
  }
}
