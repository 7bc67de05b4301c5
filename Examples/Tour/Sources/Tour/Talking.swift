// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

struct Reading: Codable {
  var sensor: String
  var values: [Double]
}

enum Talking: Stop {
  static let title = "A connection carries [42, nil, \"hello\"] and typed messages"

  static func run() async throws {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs) { connection in
      try connection.send([42, nil, "hello"] as MessageValue)
      try connection.send(Reading(sensor: "a", values: [1, 2, 3]))
      try connection.send(bytes: [1, 2, 3])
    }
    say("parent: received \(try await ours.receive())")
    let reading = try await ours.receive(Reading.self)
    say("parent: received sensor \(reading.sensor) with \(reading.values)")
    say("parent: received the bytes \(try await ours.receiveBytes())")
    try await child.join()
  }
}
