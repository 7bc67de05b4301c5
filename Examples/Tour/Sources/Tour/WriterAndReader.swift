// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

enum WriterAndReader: Stop {
  static let title = "One writer and one reader at a queue; the reader is terminated at the end"

  static func run() async throws {
    let queue = try Queue<String>()
    let writer = try ChildProcess.start(queue) { queue in
      for letter in ["A", "B", "C", "D"] {
        say("writer: puts \(letter)")
        try queue.put(letter)
      }
    }
    // Without this the parent would wait for another writer, which it might yet start.
    let shown = try Queue<String>(whenAlone: .fail)
    let reader = try ChildProcess.start(queue, shown) { queue, shown in
      while true {
        try shown.put("reader: got \(try queue.get())")
      }
    }
    try await writer.join()
    for _ in 0..<4 { say(try await shown.get()) }
    try reader.terminate()  // It would wait for ever.
    say("parent: the reader \(try await reader.join())")
    do {
      _ = try await shown.get()
    } catch {
      say("parent: no producer is left: \(error)")
    }
  }
}
