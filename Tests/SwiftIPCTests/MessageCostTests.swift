// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// What messages cost that were made to be expensive: in all of them four times the bytes are about
/// four times the work, or the message is refused.
@Suite struct MessageCostTests {
  // MARK: Counting

  /// A key that counts how often it is compared and hashed.
  struct CountedKey: Codable, Hashable {
    @TaskLocal static var counter: Counter?
    final class Counter: @unchecked Sendable { var count = 0 }
    var number: Double

    init(from decoder: any Decoder) throws {
      number = try decoder.singleValueContainer().decode(Double.self)
    }
    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      try container.encode(number)
    }
    static func == (left: Self, right: Self) -> Bool {
      counter?.count += 1
      return left.number == right.number
    }
    func hash(into hasher: inout Hasher) {
      Self.counter?.count += 1
      hasher.combine(number)
    }
  }

  private func message(_ body: [UInt8]) -> [UInt8] { [0x80, 4] + body + [0x2e] }
  private func number(_ value: Double) -> [UInt8] {
    [0x47] + (0..<8).map { UInt8(truncatingIfNeeded: value.bitPattern >> UInt64(56 - 8 * $0)) }
  }
  private func text(_ length: Int, _ last: UInt8 = 0x61) -> [UInt8] {
    let count = UInt32(length)
    return [0x58] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (8 * UInt32($0))) }
      + [UInt8](repeating: 0x61, count: length - 1) + [last]
  }
  private func repeated(_ bytes: [UInt8], _ count: Int) -> [UInt8] {
    [UInt8]([[UInt8]](repeating: bytes, count: count).joined())
  }

  private func outcome<T: Decodable>(_ type: T.Type, _ bytes: [UInt8]) throws -> T? {
    do {
      return try MessageDecoder().decode(type, from: bytes)
    } catch let error as IPCError {
      #expect(error.code == .malformedMessage)
      return nil
    }
  }

  // MARK: NaN

  @Test func keysThatAreNotANumberAreOne() throws {
    for body: [UInt8] in [
      [0x8f, 0x28] + repeated(number(.nan), 20_000) + [0x90],
      [0x28] + repeated(number(.nan), 20_000) + [0x91],
    ] {
      switch try MessageDecoder().decode(MessageValue.self, from: message(body)) {
      case .set(let elements), .frozenSet(let elements): #expect(elements.count == 1)
      case let other: Issue.record("\(other)")
      }
    }
    let dictionary = message(
      [0x7d, 0x28] + repeated(number(.nan) + [0x4b, 1], 20_000) + number(.nan) + [0x4b, 2, 0x75])
    #expect(
      try MessageDecoder().decode(MessageValue.self, from: dictionary)
        == .dictionary([.double(.nan): 2]))
    // In tuples and complex numbers, too; and other bits are another key.
    let pairs = message([0x8f, 0x28] + repeated(number(.nan) + [0x4e, 0x86], 20_000) + [0x90])
    #expect(
      try MessageDecoder().decode(MessageValue.self, from: pairs)
        == .set([.tuple([.double(.nan), .null])]))
    let other = Double(bitPattern: Double.nan.bitPattern | 1)
    #expect(MessageValue.double(.nan) != .double(other))
    #expect(MessageValue.double(0.0) == .double(-0.0))
    #expect(
      MessageValue.complex(real: .nan, imaginary: 0) == .complex(real: .nan, imaginary: -0.0))
    #expect(
      MessageValue.complex(real: .nan, imaginary: 0).hashValue
        == MessageValue.complex(real: .nan, imaginary: -0.0).hashValue)
  }

  @Test func keysOfOtherTypesThatDoNotEqualThemselvesAreFew() throws {
    func list(_ count: Int) -> [UInt8] {
      message([0x5d, 0x28] + repeated(number(.nan), count) + [0x65])
    }
    #expect(try outcome(Set<Double>.self, list(16))?.count == 16)
    #expect(try outcome(Set<Double>.self, list(17)) == nil)
    #expect(try outcome(Set<Float>.self, list(17)) == nil)
    #expect(try outcome(Set<Double?>.self, list(17)) == nil)
    #expect(try outcome([Double: Double].self, list(17)) == nil)
    #expect(try outcome([Double?: Double].self, list(34)) == nil)
    let pairs = message(
      [0x7d, 0x28] + repeated(number(.nan) + [0x4b, 1], 17) + [0x75])
    #expect(try outcome([Double: Int].self, pairs) == nil)
    #expect(try outcome([Float16: Int].self, pairs) == nil)
    let lists = message(
      [0x5d, 0x28] + repeated([0x5d] + number(.nan) + [0x61], 17) + [0x65])
    #expect(try outcome(Set<[Double]>.self, lists) == nil)
    // A type that hashes badly is its own affair.
    struct Alike: Codable, Hashable {
      var number: Double
      func hash(into hasher: inout Hasher) {}
    }
    let alike = try MessageEncoder().encode((0..<40).map { Alike(number: Double($0)) })
    #expect(try outcome(Set<Alike>.self, alike)?.count == 40)
  }

  @Test func comparisonsGrowAsTheMessageDoes() throws {
    func cost<T: Decodable>(_ type: T.Type, _ body: (Int) -> [UInt8], _ count: Int) -> Int {
      let counter = CountedKey.Counter()
      CountedKey.$counter.withValue(counter) {
        _ = try? MessageDecoder().decode(type, from: message(body(count)))
      }
      return counter.count
    }
    let nan = number(.nan)
    for body in [
      { self.repeated(nan, $0) }, { count in (0..<count).flatMap { self.number(Double($0)) } },
      { count in (0..<count).flatMap { self.number(Double($0 % 7)) } },
    ] {
      let list = { (count: Int) in [0x5d, 0x28] + body(count) + [0x65] }
      let (small, large) = (
        cost(Set<CountedKey>.self, list, 1000), cost(Set<CountedKey>.self, list, 4000)
      )
      #expect(large <= 6 * max(small, 1000), "\(small), then \(large)")
      let (first, second) = (
        cost([CountedKey: Double].self, list, 1000), cost([CountedKey: Double].self, list, 4000)
      )
      #expect(second <= 6 * max(first, 1000), "\(first), then \(second)")
    }
  }

  // MARK: Parts that are named again and again

  /// Each is a message of about n bytes that was quadratic, or would be.
  @Test func workForPartsThatAreNamedAgainIsBounded() throws {
    let n = 1 << 16
    let long = text(n / 2) + [0x94]
    func list(_ element: [UInt8], _ count: Int) -> [UInt8] {
      message([0x5d, 0x28] + long + repeated(element, count) + [0x65])
    }
    let count = n / 16
    // A long key of many dictionaries; an element of many sets; one in a tuple.
    #expect(try outcome(MessageValue.self, list([0x7d, 0x68, 0, 0x4e, 0x73], count)) == nil)
    #expect(try outcome(MessageValue.self, list([0x8f, 0x28, 0x68, 0, 0x90], count)) == nil)
    #expect(try outcome(MessageValue.self, list([0x28, 0x68, 0, 0x91], count)) == nil)
    #expect(
      try outcome(MessageValue.self, list([0x8f, 0x28, 0x68, 0, 0x85, 0x90], count)) == nil)
    // As types, also of a list.
    let dictionaries = message(
      [0x5d, 0x28] + long + [0x30] + repeated([0x7d, 0x68, 0, 0x88, 0x73], count) + [0x65])
    #expect(try outcome([[String: Bool]].self, dictionaries) == nil)
    #expect(try outcome(Set<String>.self, list([0x68, 0], n / 4)) == nil)
    let lists = message(
      [0x5d, 0x28] + long + [0x30] + repeated([0x5d, 0x68, 0, 0x61], count) + [0x65])
    #expect(try outcome(Set<[String]>.self, lists) == nil)
    #expect(try outcome([AnyKeys].self, dictionaries) == nil)
    // Short ones are as cheap as in any message.
    let short = message(
      [0x5d, 0x28] + text(60) + [0x94, 0x30] + repeated([0x7d, 0x68, 0, 0x88, 0x73], n / 4) + [0x65]
    )
    #expect(try outcome([[String: Bool]].self, short)?.count == n / 4)
    #expect(try outcome(MessageValue.self, short) != nil)
    // Bytes that a type reads one by one.
    let bytes = [0x42] + text(n / 2).dropFirst() + [0x94]
    let data = message([0x5d, 0x28] + bytes + repeated([0x68, 0], n / 4) + [0x65])
    #expect(try outcome([ContiguousArray<UInt8>].self, data) == nil)
    #expect(try outcome([[UInt8]].self, data)?.count == n / 4 + 1)
    // Text in a list that is named again is made once.
    let nested = message(
      [0x5d, 0x28, 0x5d, 0x94] + text(n / 2) + [0x61] + repeated([0x68, 0], n / 4) + [0x65])
    let texts = try #require(try outcome([[String]].self, nested))
    let storages = Set(
      texts.map { text in
        unsafe text[0].utf8.withContiguousStorageIfAvailable {
          Int(bitPattern: $0.baseAddress)
        }
      })
    #expect(texts.count == n / 4 + 1)
    #expect(storages.count == 1)
  }

  /// Keys of whatever name.
  struct AnyKeys: Decodable {
    struct Key: CodingKey {
      var stringValue: String
      var intValue: Int?
      init?(stringValue: String) { self.stringValue = stringValue }
      init?(intValue: Int) {
        self.intValue = intValue
        stringValue = "\(intValue)"
      }
    }
    var sum = 0
    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Key.self)
      for key in container.allKeys.reversed() {
        sum += (try? container.decode(Int.self, forKey: key)) ?? 1
      }
    }
  }

  @Test func bytesSpelledAsTextAreMadeOnce() throws {
    // encode(text, "latin1"), again and again: with the name, the text and the arguments in the memo.
    let n = 1 << 15
    let body =
      [0x63] + Array("_codecs\nencode\n".utf8) + [0x94, 0x30] + text(n) + [0x8c, 6]
      + Array("latin1".utf8) + [0x86, 0x94, 0x30, 0x5d, 0x28]
      + repeated([0x68, 0, 0x68, 1, 0x52], n / 4) + [0x65]
    let arrays = try MessageDecoder().decode([[UInt8]].self, from: message(body))
    let storages = Set(
      arrays.map { array in
        unsafe array.withUnsafeBufferPointer { Int(bitPattern: $0.baseAddress) }
      })
    #expect(arrays.count == n / 4)
    #expect(storages.count == 1)
    #expect(arrays[1].count == n)
    // The same as a manager's answer, where the calls are put together later.
    #expect(throws: IPCError.self) { try InertMessage(message(body)) }
  }

  @Test func setsInSetsAreHashedAFewTimes() throws {
    func nested(_ depth: Int, _ count: Int) -> [UInt8] {
      message(
        repeated([0x28], depth) + (0..<count).flatMap { [0x4d, UInt8($0 & 255), UInt8($0 >> 8)] }
          + repeated([0x91], depth))
    }
    #expect(try outcome(MessageValue.self, nested(3, 20_000)) != nil)
    #expect(try outcome(MessageValue.self, nested(100, 10)) != nil)
    #expect(try outcome(MessageValue.self, nested(100, 20_000)) == nil)
    #expect(try outcome(MessageValue.self, nested(500, 1)) == nil)
    // As objects of a manager.
    func called(_ depth: Int, _ count: Int) -> [UInt8] {
      message(
        [0x63] + Array("builtins\nfrozenset\n".utf8) + [0x94, 0x30]
          + repeated([0x68, 0, 0x5d, 0x28], depth)
          + (0..<count).flatMap { [0x4d, UInt8($0 & 255), UInt8($0 >> 8)] }
          + repeated([0x65, 0x85, 0x52], depth))
    }
    #expect(try InertMessage(called(3, 20_000)).asPlain != nil)
    #expect(throws: IPCError.self) { try InertMessage(called(100, 20_000)) }
  }

  /// Twice in each level, forty levels took longer than a lifetime.
  @Test func objectsInObjectsAreReadOnce() throws {
    for depth in [20, 100] {
      let body =
        repeated([0x63] + Array("m\nc\n".utf8), depth) + [0x4e] + repeated([0x85, 0x52], depth)
      var inner = try InertMessage(message(body))
      var levels = 0
      while case .object(_, let arguments, _) = inner {
        inner = arguments[0]
        levels += 1
      }
      #expect(levels == depth)
    }
  }

  // MARK: Keys

  @Test func keysInAnyOrderAreFoundInOneStep() throws {
    // Types that ask for keys backwards, or for integers, in large dictionaries.
    let count = 20_000
    var strings: [UInt8] = [0x7d, 0x28]
    var integers: [UInt8] = [0x7d, 0x28]
    for index in 0..<count {
      let name = Array("k\(index)".utf8)
      strings += [0x8c, UInt8(name.count)] + name + [0x4b, 2]
      integers += [0x4d, UInt8(index & 255), UInt8(index >> 8), 0x4b, 3]
    }
    #expect(
      try MessageDecoder().decode(AnyKeys.self, from: message(strings + [0x75])).sum == 2 * count)
    #expect(
      try MessageDecoder().decode(AnyKeys.self, from: message(integers + [0x75])).sum == 3 * count)
    // Missing ones, and one far behind.
    struct Many: Decodable {
      var k19999: Int
      var none0: Int?
      var none1: Int?
      var none2: Int?
      var none3: Int?
      var none4: Int?
      var k40: Int
      var k0: Int
    }
    let many = try MessageDecoder().decode(Many.self, from: message(strings + [0x75]))
    #expect([many.k19999, many.k40, many.k0] == [2, 2, 2])
    #expect(
      [many.none0, many.none1, many.none2, many.none3, many.none4] == [nil, nil, nil, nil, nil])
  }

  // MARK: Text

  @Test func combiningCharactersInARowAreFew() throws {
    func text(_ count: Int, before: Int, after: Int) -> String {
      var text = String(repeating: "x", count: before)
      for index in 0..<count { text.unicodeScalars.append(index % 2 == 0 ? "\u{301}" : "\u{316}") }
      return text + String(repeating: "\u{4e00}", count: after)
    }
    for before in [0, 1, 200, 511, 512, 513, 1000, 1023, 5000] {
      for after in [0, 1, 300] {
        let good = text(256, before: before, after: after)
        #expect(
          try MessageDecoder().decode(String.self, from: MessageEncoder().encode(good)) == good)
        let bad = try MessageEncoder().encode(text(257, before: before, after: after))
        #expect(throws: IPCError.self) { try MessageDecoder().decode(String.self, from: bad) }
        #expect(throws: IPCError.self) { try MessageDecoder().decode(MessageValue.self, from: bad) }
      }
    }
    // Those of four bytes, too.
    for scalar: Unicode.Scalar in ["\u{16ff0}", "\u{1d165}", "\u{1e8d0}", "\u{3099}", "\u{fe20}"]
    where scalar.properties.canonicalCombiningClass != .notReordered {
      var bad = ""
      for _ in 0..<300 { bad.unicodeScalars.append(scalar) }
      let bytes = try MessageEncoder().encode(bad)
      #expect(throws: IPCError.self) { try MessageDecoder().decode(String.self, from: bytes) }
    }
  }

  @Test func textIsEqualByItsCodePoints() {
    let (composed, decomposed) = (MessageValue.string("\u{e9}"), MessageValue.string("e\u{301}"))
    #expect(composed != decomposed)
    #expect(Set([composed, decomposed]).count == 2)
    #expect(composed == MessageValue.string("\u{e9}"))
  }

  // MARK: Descriptions

  @Test func descriptionsAreBounded() throws {
    let n = 1 << 16
    let shared = try MessageDecoder().decode(
      MessageValue.self,
      from: message(
        [0x5d, 0x28] + text(n) + [0x94] + repeated([0x68, 0], n / 8) + [0x65]))
    #expect(shared.description.utf8.count <= 1 << 20 + 8)
    #expect(shared.description.hasSuffix("…"))
    #expect(MessageValue.bytes([UInt8](repeating: 1, count: 1 << 21)).description.hasSuffix("…"))
    let error = #expect(throws: IPCError.self) {
      try MessageEncoder().encode(MessageValue.set([shared]))
    }
    #expect((error?.context.utf8.count ?? .max) < 512)
    for answer in [
      [0x5d, 0x28] + text(n) + [0x65],
      [0x8c, 7] + Array("#RETURN".utf8) + [0x63] + Array("m\nc\n".utf8) + text(n) + [
        0x85, 0x52, 0x86,
      ],
    ] {
      let error = #expect(throws: IPCError.self) { try ManagerLink.answer(message(answer)) }
      #expect((error?.context.utf8.count ?? .max) < 1024)
    }
    #expect(("\(MessageValue.tuple([1]))", "\(MessageValue.tuple([]))") == ("(1,)", "()"))
    let nested = ["a": [1, .tuple([1, 2])], "b": [:]] as MessageValue
    #expect("\(nested)" == "[\"a\": [1, (1, 2)], \"b\": [:]]")
    #expect("\(MessageValue.set([1]))" == "Set([1])")
    #expect("\(MessageValue.frozenSet([.bytes([1, 255])]))" == "FrozenSet([<01 ff>])")
  }

  @Test func equalityAndHashesOfDeepValues() {
    var (left, right) = (MessageValue.null, MessageValue.null)
    for level in 0..<2000 {
      left = level % 3 == 0 ? ["a": left, "b": 1] : level % 3 == 1 ? [left, 2] : .tuple([left])
      right =
        level % 3 == 0 ? ["b": 1, "a": right] : level % 3 == 1 ? [right, 2] : .tuple([right])
    }
    #expect(left == right)
    #expect(left.hashValue == right.hashValue)
    #expect(left != [right])
    #expect([1, 2] as MessageValue != .tuple([1, 2]))
    #expect(["a": 1] as MessageValue != ["b": 1] && ["a": 1] as MessageValue != ["a": 2])
    #expect([[1], [2]] as MessageValue != [[1], [3]])
    #expect(Set<MessageValue>([1, 1.0, true, "1", [1], .tuple([1]), nil]).count == 7)
  }
}
