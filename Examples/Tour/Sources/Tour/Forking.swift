// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftIPC

enum Forking: Stop {
  static let title = "One call that returns twice: fork"

  static func run() async throws {
    // Only a process with one thread can be forked, and an asynchronous program soon has more. A child
    // that runs a plain closure has one.
    let child = try ChildProcess.start {
      let number = 17
      switch try ChildProcess.fork() {
      case .child:
        say("child:  fork returned in me, \(getpid()); a copy of my parent's number: \(number)")
        CurrentProcess.leave(0)
      case .parent(let copy):
        try copy.join()
        say("parent: fork returned in me, \(getpid()), with my child \(copy.pid)")
      }
      // The same as a start method: the closure may capture.
      let sum = try ChildProcess.start(25, options: .init(method: .fork)) { $0 + number }
      say(
        "parent: a forked child captured \(number) and added it to 25: \(try sum.value(timeout: nil))"
      )
    }
    try await child.join()
    do {
      _ = try ChildProcess.fork()
    } catch {
      say("tour:   I cannot be forked: \(error.code)")
    }
  }
}
