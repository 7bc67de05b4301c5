// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum WhoIsThere: Stop {
  static let title = "Names, parents, active children and processors"

  static func run() async throws {
    say("\(CurrentProcess.name): I may use \(CurrentProcess.processorCount) processors")
    var lines: [Connection] = []
    for name in ["anna", "bert", "cleo"] {
      let (ours, theirs) = try Connection.pair()
      lines.append(ours)
      try ChildProcess.start(theirs, options: .init(name: name, method: .forkServer)) { line in
        let parent = CurrentProcess.parent?.isAlive == true ? "lives" : "is gone"
        try line.send(
          "\(CurrentProcess.name): I came from the fork server, and my parent \(parent)")
        _ = try? line.receive(Int.self)  // until the line is closed
      }
    }
    for line in lines { say(try await line.receive(String.self)) }
    let children = CurrentProcess.activeChildren
    say("\(CurrentProcess.name): my children are \(children.map(\.name).joined(separator: ", "))")
    for line in lines { line.close() }
    for child in children { try await child.join() }
    say("\(CurrentProcess.name): \(CurrentProcess.activeChildren.count) of them are left")
  }
}
