// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum KilledOwner: Stop {
  static let title = "A lock holder is killed, and the next owner is told"

  static func run() async throws {
    let lock = try Lock()
    let account = try SharedArray<Int>([100, 0])
    let (ours, theirs) = try Connection.pair()

    let child = try ChildProcess.start(lock, account, theirs) { lock, account, connection in
      try lock.withLock {
        account[0] -= 70
        try connection.send("between two steps")
        _ = try connection.receive()  // and never comes to the second one: account[1] += 70
      }
    }
    say("child:  inside the lock, \(try await ours.receive(String.self)): \(Array(account))")
    try child.kill()
    say("parent: the child \(try await child.join())")

    do {
      try lock.withLock { say("never printed") }
    } catch let error as IPCError where error.code == .ownerDied {
      say("parent: \(error)")
    }
    try lock.withLock {
      say("parent: now I have the lock, and the accounts are \(Array(account))")
    } recovering: {
      account[1] = 100 - account[0]
    }
    try lock.withLock { say("parent: recovered, and later owners are not told") }
  }
}
