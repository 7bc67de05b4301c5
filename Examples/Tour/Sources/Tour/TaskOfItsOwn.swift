// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

/// A task as a type: its properties are its arguments.
struct Greet: ProcessTask {
  var name: String
  var languages: [String]

  func run() async throws {
    for language in languages { say("child:  a greeting in \(language) to \(name)") }
  }
}

enum TaskOfItsOwn: Stop {
  static let title = "A task struct with its own run()"

  static func run() async throws {
    let child = try ChildProcess.start(task: Greet(name: "bob", languages: ["Swift", "Python"]))
    say("parent: \(try await child.join())")
  }
}
