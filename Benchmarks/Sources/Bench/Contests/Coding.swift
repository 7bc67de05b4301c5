// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

private struct Record: Codable {
  var id = 7
  var name = "temperature"
  var values = (0..<10).map { Double($0) + 0.5 }
}

extension Contest {
  static let coding =
    [encoding, decoding, encodingNumbers, decodingNumbers] + numbersRoundTrip + [pythonRoundTrip]

  // There is no C to compare with: these two stand against Python's pickle, written in C.

  private static let encoding = Contest(
    name: "{id, name, ten doubles}: encode",
    pythonTarget: 1,
    bound: .median(1000),
    pythonJob: "record-encode"
  ) { _ in
    let record = Record()
    let encoder = MessageEncoder()
    return Sides(ours: { for _ in 0..<$0 { keep(try encoder.encode(record)) } })
  }

  private static let decoding = Contest(
    name: "{id, name, ten doubles}: decode",
    pythonTarget: 1,
    bound: .median(1000),
    pythonJob: "record-decode",
    otherPythonJobs: ["pickle-loads"]
  ) { _ in
    let bytes = try MessageEncoder().encode(Record())
    let decoder = MessageDecoder()
    return Sides(ours: { for _ in 0..<$0 { keep(try decoder.decode(Record.self, from: bytes)) } })
  }

  // MARK: A thousand doubles, between Swift peers

  private static let thousand = (0..<1000).map { Double($0) + 0.5 }
  private static let size = 8000

  private static var packing: MessageEncoder {
    var encoder = MessageEncoder()
    encoder.numberArrays = .memory
    return encoder
  }

  private static let encodingNumbers = Contest(
    name: "1000 doubles as memory: encode",
    floorName: "memcpy",
    target: .atMost(3),
    pythonJob: "thousand-encode"
  ) { _ in
    let numbers = thousand
    let encoder = packing
    let copy = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 64)
    return Sides(
      ours: { for _ in 0..<$0 { keep(try encoder.encode(numbers.span)) } },
      floor: { count in
        numbers.withUnsafeBytes { for _ in 0..<count { floor_copy(copy, $0.baseAddress, size) } }
      })
  }

  private static let decodingNumbers = Contest(
    name: "1000 doubles as memory: decode into a caller's buffer",
    floorName: "memcpy",
    target: .atMost(3),
    pythonJob: "thousand-decode"
  ) { _ in
    let bytes = try packing.encode(thousand)
    let decoder = MessageDecoder()
    let buffer = UnsafeMutableBufferPointer<Double>.allocate(capacity: 1000)
    buffer.initialize(repeating: 0)
    return Sides(
      ours: {
        for _ in 0..<$0 {
          var span = buffer.mutableSpan
          keep(try decoder.decode(into: &span, from: bytes))
        }
      },
      // From where they are in the message, so that both read from the same place.
      floor: { count in
        bytes.withUnsafeBytes { raw in
          for _ in 0..<count { floor_copy(buffer.baseAddress, raw.baseAddress! + 12, size) }
        }
      })
  }

  /// All of it, there and back: most of it is the kernel's.
  private static let numbersRoundTrip = [
    numbersRoundTrip("a caller's buffer", .numbersEcho) { connection in
      let buffer = UnsafeMutableBufferPointer<Double>.allocate(capacity: 1000)
      buffer.initialize(repeating: 0.5)
      return {
        for _ in 0..<$0 {
          var span = buffer.mutableSpan
          try connection.send(numbers: buffer.span)
          keep(try connection.receive(into: &span))
        }
      }
    },
    numbersRoundTrip("an array", .numbersEcho) { connection in
      let numbers = thousand
      return {
        for _ in 0..<$0 {
          try connection.send(numbers)
          keep(try connection.receive([Double].self))
        }
      }
    },
  ]

  private static func numbersRoundTrip(
    _ how: String, _ job: ConnectedPeer.Job,
    _ ours: @escaping @Sendable (Connection) -> (Int) throws -> Void
  ) -> Contest {
    Contest(
      name: "1000 doubles round trip, each into \(how)",
      floorName: "write, read: socketpair",
      pythonJob: "thousand-round-trip"
    ) { cores in
      let peer = try ConnectedPeer(job, core: cores.main)
      let run = ours(peer.connection)
      let rawPeer = RawPeer(.echo, size: size, core: cores.main)
      let buffer = floor_memory_create(size)
      return Sides(
        ours: {
          try run($0)
          withExtendedLifetime(peer) {}
        },
        floor: { floor_round_trips(rawPeer.descriptor, buffer, size, $0) })
    }
  }

  // MARK: With Python

  /// What Python spends on its end is in both figures.
  private static let pythonRoundTrip = Contest(
    name: "[42, nil, \"hello\"] round trip with a Python, one core",
    pythonTarget: 1,
    pythonJob: "typed-round-trip"
  ) { cores in
    let peer = try PythonPeer(core: cores.main)
    return Sides(ours: {
      for _ in 0..<$0 {
        try peer.connection.send([42, nil, "hello"] as MessageValue)
        keep(try peer.connection.receive())
      }
    })
  }
}
