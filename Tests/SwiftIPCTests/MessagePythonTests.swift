// SPDX-License-Identifier: Apache-2.0
import SwiftIPC
import Testing

/// Real interpreters as judges: what they write is read, what we write they read.
@Suite struct MessagePythonTests {
  /// Which interpreters were found; the other tests run on each of these. None is a known gap of the
  /// machine and is said once, here.
  @Test func interpretersOnThisMachine() {
    print(
      "messages are tried with \(PythonInterpreter.all.count) Pythons: \(PythonInterpreter.all)")
    withKnownIssue("no Python 3.6 or later: 3 tests have nothing to run") {
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
      .integer(.min), .integer(.max), MessageValue(integer: Int128.max),
      MessageValue(integer: Int128.min), MessageValue(integer: UInt128.max),
      .string(String(repeating: "é", count: 40_000)), .bytes(.init(repeating: 7, count: 70_000)),
    ]
    for shift in 0..<127 {
      for around: Int128 in -1...1 {
        values.append(MessageValue(integer: (Int128(1) << Int128(shift)) + around))
        values.append(MessageValue(integer: -(Int128(1) << Int128(shift)) + around))
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
