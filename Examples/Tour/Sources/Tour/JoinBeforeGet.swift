// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum JoinBeforeGet: Stop {
  static let title = "A child that puts a million characters is joined before anyone reads"

  static func run() async throws {
    let queue = try Queue<String>()
    let child = try ChildProcess.start(queue) { queue in
      try queue.put(String(repeating: "X", count: 1_000_000))
    }
    // With Python's queue this waits for ever: the child's text is stuck in a pipe.
    say("parent: the child \(try await child.join()), \(queue.count) element is in the queue")
    say("parent: it has \(try await queue.get().count) characters")
  }
}
