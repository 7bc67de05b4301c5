// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum NameAndArguments: Stop {
  static let title = "A child with a name, arguments and a result"

  static func run() async throws {
    let greeter = try ChildProcess.start("bob", 3, options: .init(name: "greeter")) { name, times in
      say("child:  " + Array(repeating: "hello \(name)", count: times).joined(separator: ", "))
    }
    try await greeter.join()
    say("parent: the child was called \(greeter.name)")

    let square = try ChildProcess.start(12) { $0 * $0 }
    say("parent: another child says that 12 * 12 is \(try await square.value)")
  }
}
