import SwiftIPC

@main struct Worker {
  static func main() async throws {
    let parent = try Connection(adopting: Int32(CommandLine.arguments[1])!)
    // Until Python closes its end.
    for try await numbers in parent.messages(of: [Double].self) {
      try await parent.send(numbers.map { $0 * $0 })
    }
  }
}
