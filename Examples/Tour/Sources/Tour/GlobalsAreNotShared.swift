// SPDX-License-Identifier: Apache-2.0
import SwiftIPC
import Synchronization

enum GlobalsAreNotShared: Stop {
  static let title = "Globals are not shared"

  static let visits = Mutex(0)

  static func run() async throws {
    visits.withLock { $0 = 10 }
    let child = try ChildProcess.start {
      let here = visits.withLock { visits in
        visits += 1
        return visits
      }
      say("child:  my visits are \(here), since I have a memory of my own")
    }
    try await child.join()
    say("parent: mine are still \(visits.withLock { $0 })")
  }
}
