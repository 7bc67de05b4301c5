// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftIPC

enum Hello: Stop {
  static let title = "A child says hello"

  static func run() async throws {
    say("parent: I am process \(getpid())")
    let child = try ChildProcess.start {
      say("child:  I am process \(getpid()), started by \(getppid())")
    }
    let status = try await child.join()
    say("parent: process \(child.pid) ended: \(status)")
  }
}
