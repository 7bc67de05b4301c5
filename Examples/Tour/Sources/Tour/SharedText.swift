// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum SharedText: Stop {
  static let title = "A shared string"

  static func run() async throws {
    let text = try SharedString("written by the parent", capacity: 100)
    let child = try ChildProcess.start(text) { text in
      say("child:  read \"\(text.value)\"")
      try text.withLock { $0 += ", and by the child" }
    }
    try await child.join()
    say("parent: read \"\(text.value)\"")
  }
}
