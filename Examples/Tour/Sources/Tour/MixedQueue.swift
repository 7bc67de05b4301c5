// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum MixedQueue: Stop {
  static let title = "A queue carries [42, nil, \"hello\"]"

  static func run() async throws {
    let queue = try Queue<MessageValue>()
    let child = try ChildProcess.start(queue) { queue in
      try queue.put([42, nil, "hello"])
      queue.finish()
    }
    for try await element in queue { say("parent: got \(element)") }
    try await child.join()
  }
}
