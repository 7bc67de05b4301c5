import SwiftIPC

@main struct Scores {
  static func main() async throws {
    let manager = try await RemoteManager.connect(
      to: .unix(CommandLine.arguments[1]), authenticationKey: Array("secret".utf8),
      allowsMD5: true)  // for Python up to 3.11
    let board = try await manager.create("board")
    try await board.call("add", ["anna", 12])
    try await board.call("add", ["anna"], keywords: ["points": 30])
    print(try await board.call("best", as: [String: Int].self))
    do {
      try await board.call("points_of", ["nobody"])
    } catch let error as RemoteError {
      print(error.typeName, error.message)
    }
    let list = try await manager.create("list", [["from Swift"]])
    print(try await list.value())
    try await list.release()
    try await manager.shutDown()
  }
}
