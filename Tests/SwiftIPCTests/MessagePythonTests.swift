// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// Real interpreters as judges: what they write is read, what we write they read.
@Suite struct MessagePythonTests {
  /// Which interpreters were found; the other tests run on each of these. None is a known gap of the
  /// machine and is said once, here.
  @Test func interpretersOnThisMachine() {
    print(
      "messages are tried with \(PythonInterpreter.all.count) Pythons: \(PythonInterpreter.all)")
    withKnownIssue("no Python 3.6 or later: 6 tests have nothing to run") {
      #expect(!PythonInterpreter.all.isEmpty)
    } when: {
      PythonInterpreter.all.isEmpty
    }
  }

  @Test(arguments: PythonInterpreter.all)
  func everyValueOfPythonsComesBackEqual(python: PythonInterpreter) throws {
    var compared = 0
    for version in 3...python.highestProtocol {
      let dumped = try python.run(script: "message_corpus.py", ["dump", "\(version)"])
      try #require(dumped.exitCode == 0, "\(dumped.errorText)")
      let messages = frames(dumped.stdout)
      try #require(messages.count > 500)
      var answer: [UInt8] = []
      for (index, message) in messages.enumerated() {
        do {
          let value = try MessageDecoder().decode(MessageValue.self, from: message)
          let bytes = try MessageEncoder().encode(value)
          answer += frame(bytes)
          // What we wrote, we read.
          let again = try MessageDecoder().decode(MessageValue.self, from: bytes)
          #expect(again.isIdentical(to: value), "value \(index) with protocol \(version)")
        } catch {
          Issue.record("value \(index) with protocol \(version): \(error)")
          answer += frame([])
        }
      }
      let checked = try python.run(script: "message_corpus.py", ["check"], stdin: answer)
      #expect(checked.exitCode == 0, "\(checked.errorText)")
      #expect(
        checked.text == "\(messages.count) of \(messages.count) equal\n",
        "protocol \(version): \(checked.text.prefix(2000))")
      compared += messages.count
    }
    print("\(python): \(compared) values equal after a round trip")
  }

  @Test(arguments: PythonInterpreter.all)
  func everyValueOfOursComesBackEqual(python: PythonInterpreter) throws {
    var generator = ValueGenerator(seed: 77)
    var values: [MessageValue] = [
      [42, nil, "hello"], .tuple([]), .tuple([1]), .tuple([1, 2, 3, 4]), .set([]), .frozenSet([1]),
      .dictionary([:]), .array([]), .bytes([]), .string(""), .complex(real: 1, imaginary: -2),
      .integer(.min), .integer(.max), MessageValue.integer(Int128.max),
      MessageValue.integer(Int128.min), MessageValue.integer(UInt128.max),
      .string(String(repeating: "é", count: 40_000)), .bytes(.init(repeating: 7, count: 70_000)),
    ]
    for shift in 0..<127 {
      for around: Int128 in -1...1 {
        values.append(MessageValue.integer((Int128(1) << Int128(shift)) + around))
        values.append(MessageValue.integer(-(Int128(1) << Int128(shift)) + around))
      }
    }
    for _ in 0..<400 { values.append(generator.value(depth: 5)) }

    var sent: [UInt8] = []
    for value in values { sent += frame(try MessageEncoder().encode(value)) }
    for version in 3...python.highestProtocol {
      let result = try python.run(
        script: "message_corpus.py", ["echo", "\(version)"], stdin: sent)
      #expect(result.exitCode == 0, "\(result.errorText)")
      let answers = frames(result.stdout)
      try #require(answers.count == values.count)
      for (value, answer) in zip(values, answers) {
        let back = try MessageDecoder().decode(MessageValue.self, from: answer)
        #expect(back.isIdentical(to: value))
      }
    }
  }

  /// A Python that echoes on descriptor 3 what it receives, until it is told to stop.
  private func withEcho(
    of python: PythonInterpreter, _ body: (Connection) throws -> Void
  ) throws {
    let (ours, theirs) = try connectionWithRawPeer(maximum: 200 << 20)
    let program = """
      from multiprocessing.connection import Connection
      connection = Connection(3)
      while True:
          value = connection.recv()
          if value == "stop":
              break
          connection.send(value)
      """
    let child = try PythonProcess(python.path, ["-B", "-c", program], inheriting: [3: theirs])
    close(theirs)
    do {
      try body(ours)
      try ours.send("stop")
    } catch {
      ours.close()
      Issue.record("\(python): \(error)")
    }
    let result = try child.finish()
    #expect(result.exitCode == 0, "\(python): \(result.errorText)")
  }

  /// Bodies of messages around every limit of the frame and of its parts: CPython sends header and
  /// body in one write up to 16,384 bytes and in two beyond.
  @Test(arguments: PythonInterpreter.all)
  func bodiesOfEverySize(python: PythonInterpreter) throws {
    try withEcho(of: python) { connection in
      let overhead = try MessageEncoder().encode([UInt8](repeating: 0, count: 300)).count - 300
      var sizes = [16_383, 16_384, 16_385, 65_535, 65_536, 1 << 20]
      // The largest costs half a second on each end; frames do not differ by version.
      if python.path == PythonInterpreter.newest?.path { sizes.append(100 << 20) }
      for size in sizes {
        var data = [UInt8](repeating: 0x5a, count: size - overhead)
        for index in stride(from: 0, to: data.count, by: 4093) { data[index] = UInt8(index & 0xff) }
        data[data.count - 1] = 1
        #expect(try MessageEncoder().encode(data).count == size)
        try connection.send(data)
        // Not in the expectation, which would print 100 MiB.
        let isSame = try connection.receive([UInt8].self) == data
        #expect(isSame, "\(size) bytes")
      }
      for size in [0, 1, 255, 256, 65_535, 65_536] {
        for value in [
          MessageValue.bytes(.init(repeating: 7, count: size)),
          .string(.init(repeating: "x", count: size)),
          .array(.init(repeating: 1.5, count: min(size, 5000))),
        ] {
          try connection.send(value)
          let isSame = try connection.receive() == value
          #expect(isSame, "size \(size)")
        }
      }
    }
  }

  /// A peer that is not known to be Swift gets lists, and can be sent from and received into a buffer all
  /// the same.
  @Test(arguments: PythonInterpreter.all)
  func numbersAreLists(python: PythonInterpreter) throws {
    try withEcho(of: python) { connection in
      let samples = (0..<1000).map { Double($0) / 7 }
      try connection.send(numbers: samples.span)
      var buffer = [Double](repeating: 0, count: 1000)
      var span = buffer.mutableSpan
      let count = try connection.receive(into: &span)
      #expect(count == 1000 && buffer == samples)
      for integers in [[Int64.min, -1, 0, .max], []] {
        try connection.send(integers)
        #expect(try connection.receive([Int64].self) == integers)
      }
      try connection.send([Float(0.1), .infinity])
      #expect(try connection.receive([Float].self) == [0.1, .infinity])
    }
  }

  /// What a Python says that gets an array as memory by mistake.
  @Test(arguments: PythonInterpreter.all)
  func arraysAsMemoryAreRefusedInWords(python: PythonInterpreter) throws {
    var packing = MessageEncoder()
    packing.numberArrays = .memory
    let program = """
      import pickle, sys
      try:
          pickle.load(sys.stdin.buffer)
      except ValueError as error:
          print(error)
      """
    let result = try PythonProcess.run(
      python.path, ["-c", program], stdin: packing.encode(["a": [1.5]]))
    #expect(result.text == "unsupported pickle protocol: 196\n", "\(result.errorText)")
  }

  @Test(arguments: PythonInterpreter.all)
  func pythonSeesWhatIsDocumented(python: PythonInterpreter) throws {
    let sample = Sample(
      id: 7, name: "bob", ratio: 2.5, missing: nil, raw: [1, 2, 255], counts: [3: "three"],
      tags: [1], state: .moved(x: 1, to: "b"), big: .max)
    let bytes = try MessageEncoder().encode(sample)
    let program = """
      import pickle, sys
      value = pickle.load(sys.stdin.buffer)
      expected = {'id': 7, 'name': 'bob', 'ratio': 2.5, 'missing': None, 'raw': b'\\x01\\x02\\xff',
                  'counts': {3: 'three'}, 'tags': {1}, 'state': {'moved': {'x': 1, 'to': 'b'}},
                  'big': 2**64 - 1}
      assert value == expected, value
      assert list(value) == list(expected), list(value)
      """
    let result = try PythonProcess.run(python.path, ["-c", program], stdin: bytes)
    #expect(result.exitCode == 0, "\(result.errorText)")
  }

  private struct Sample: Codable {
    enum State: Codable {
      case idle
      case moved(x: Int, to: String)
    }
    var id: Int
    var name: String
    var ratio: Double
    var missing: Int?
    var raw: [UInt8]
    var counts: [Int: String]
    var tags: Set<Int>
    var state: State
    var big: UInt64
  }
}

private func frame(_ message: [UInt8]) -> [UInt8] {
  let count = UInt32(message.count)
  return [
    UInt8(count >> 24), UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255),
  ]
    + message
}

private func frames(_ bytes: [UInt8]) -> [[UInt8]] {
  var frames: [[UInt8]] = []
  var offset = 0
  while offset + 4 <= bytes.count {
    let count = bytes[offset..<offset + 4].reduce(0) { $0 << 8 | Int($1) }
    guard offset + 4 + count <= bytes.count else { break }
    frames.append(Array(bytes[offset + 4..<offset + 4 + count]))
    offset += 4 + count
  }
  return frames
}
