// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

/// A task as a class, in the style of a subclass of `Process` in other languages.
final class Summing: ProcessTask {
  let numbers: [Int]

  init(_ numbers: [Int]) { self.numbers = numbers }

  func run() -> Int { numbers.reduce(0, +) }
}

enum ClassTask: Stop {
  static let title = "A task class whose run() returns a value"

  static func run() async throws {
    let child = try ChildProcess.start(task: Summing(Array(1...100)))
    say("child:  the sum of 1 to 100 is \(try await child.value)")
  }
}
