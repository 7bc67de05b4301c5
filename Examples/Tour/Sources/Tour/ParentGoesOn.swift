// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum ParentGoesOn: Stop {
  static let title = "The parent goes on before the child ends"

  static func run() async throws {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs) { connection in
      let word = try connection.receive(String.self)
      say("child:  the parent says \"\(word)\", so I end")
    }
    say("parent: the child is alive: \(child.isAlive); I have gone on already")
    try await ours.send("that will do")
    try await child.join()
    say("parent: the child is alive: \(child.isAlive)")
  }
}
