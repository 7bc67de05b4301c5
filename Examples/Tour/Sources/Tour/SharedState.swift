// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum SharedState: Stop {
  static let title = "A Value and a SharedArray, changed by a child"

  static func run() async throws {
    let number = try Value(0.0)
    let numbers = try SharedArray<Int32>(0..<10)
    say("parent: \(number.value) \(Array(numbers))")
    let child = try ChildProcess.start(number, numbers) { number, numbers in
      try number.store(3.1415927)
      for i in numbers.indices { numbers[i] = -numbers[i] }
    }
    try await child.join()
    say("parent: \(number.value) \(Array(numbers))")
  }
}
