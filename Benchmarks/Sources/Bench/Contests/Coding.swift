// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

private struct Record: Codable {
  var id = 7
  var name = "temperature"
  var values = (0..<10).map { Double($0) + 0.5 }
}

/// There is no C to compare with: these two stand against Python's pickle, written in C.
extension Contest {
  static let encoding = Contest(
    name: "{id, name, ten doubles}: encode",
    pythonJob: "record-encode"
  ) { _ in
    let record = Record()
    let encoder = MessageEncoder()
    return Sides(ours: { for _ in 0..<$0 { keep(try encoder.encode(record)) } })
  }

  static let decoding = Contest(
    name: "{id, name, ten doubles}: decode",
    pythonJob: "record-decode"
  ) { _ in
    let bytes = try MessageEncoder().encode(Record())
    let decoder = MessageDecoder()
    return Sides(ours: { for _ in 0..<$0 { keep(try decoder.decode(Record.self, from: bytes)) } })
  }
}
