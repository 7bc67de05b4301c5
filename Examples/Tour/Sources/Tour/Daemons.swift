// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftIPC

enum Daemons: Stop {
  static let title = "A daemon ends with its parent, even when that is killed"

  static func run() async throws {
    let (ours, theirs) = try Connection.pair()
    let parent = try ChildProcess.start(theirs) { connection in
      try ChildProcess.start(connection, options: .init(name: "daemon", daemon: true)) {
        connection in
        try connection.send(getpid())
        while true { pause() }
      }
      while true { pause() }
    }
    let daemon = try await ours.receive(Int32.self)
    say("tour:   the parent \(parent.pid) and its daemon \(daemon) run; now SIGKILL for the parent")
    try parent.kill()
    try await parent.join()
    do {
      // The daemon has the other end of this connection, and says nothing more.
      _ = try await ours.receive(Int32.self)
    } catch let error as IPCError {
      say("tour:   the daemon is gone too: \(error.code)")
    }
  }
}
