// SPDX-License-Identifier: Apache-2.0
import MessageCoding
import SwiftIPC
import Testing

@Suite struct MessageCodingTests {
  private func roundTrip<T: Codable & Equatable>(
    _ value: T, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let bytes = try MessageEncoder().encode(value)
    let back = try MessageDecoder().decode(T.self, from: bytes)
    #expect(back == value, sourceLocation: sourceLocation)
  }

  private func error(_ body: () throws -> Void) -> IPCError? {
    do {
      try body()
      return nil
    } catch {
      return error as? IPCError
    }
  }

  private func value(_ value: some Encodable) throws -> MessageValue {
    try MessageDecoder().decode(MessageValue.self, from: MessageEncoder().encode(value))
  }

  private func decode<T: Decodable>(_ type: T.Type, _ value: MessageValue) throws -> T {
    try MessageDecoder().decode(type, from: MessageEncoder().encode(value))
  }

  // MARK: Round trips

  @Test func scalars() throws {
    try roundTrip(true)
    try roundTrip("")
    try roundTrip(String(repeating: "ü", count: 200))
    try roundTrip(-0.1)
    try roundTrip(Double.infinity)
    try roundTrip(Float.greatestFiniteMagnitude)
    try roundTrip(Int8.min)
    try roundTrip(UInt64.max)
    try roundTrip(Int64.min)
    try roundTrip(Int128.min)
    try roundTrip(UInt128.max)
    try roundTrip(Int?.none)
    try roundTrip(Int?.some(3))
    try roundTrip([Int?.some(3), nil])
  }

  private struct Reading: Codable, Equatable {
    var id: Int
    var name: String
    var values: [Double]
  }

  private enum Shape: Codable, Equatable {
    case empty
    case circle(radius: Double)
    case pair(Int, String)
    indirect case many([Shape])
  }

  private enum Colour: String, Codable { case red, green }

  private struct Everything: Codable, Equatable {
    var reading = Reading(id: 1, name: "a", values: [1, 2.5])
    var readings = [Reading(id: 2, name: "b", values: [])]
    var shapes: [Shape] = [
      .empty, .circle(radius: 2), .pair(1, "x"), .many([.empty, .many([])]),
    ]
    var colours: [Colour] = [.red, .green]
    var byNumber: [Int: String] = [1: "one", -5: "five"]
    var bySmallNumber: [UInt8: [Reading]] = [7: [Reading(id: 3, name: "c", values: [3])]]
    var byName: [String: [String: Int]] = ["x": ["y": 1], "": [:]]
    var tags: Set<String> = ["a", "b"]
    var raw: [UInt8] = [0, 255]
    var nothing: Int?
    var something: Int? = 4
    var flags = [true, false]
    var floats: [Float] = [1.5]
    var small: [Int8] = [-128, 127]
    var unsigned: [UInt64] = [.max]
    var nested: [[[Int]]] = [[], [[1], [2, 3]]]
    var mixed: MessageValue = [1, nil, .tuple(["x"]), .bytes([1])]
    var range = 1..<5
    var big = Int128.max
  }

  @Test func aTypeWithABitOfEverything() throws {
    try roundTrip(Everything())
    try roundTrip([Everything(), Everything()])
    try roundTrip(["k": Everything()])
  }

  @Test func whatATypeIsInAMessage() throws {
    #expect(
      try value(Reading(id: 1, name: "a", values: [2])) == ["id": 1, "name": "a", "values": [2.0]])
    #expect(try value([3: "x"]) == [3: "x"])
    #expect(try value(Set([3])) == .set([3]))
    #expect(try value([1, 2] as [UInt8]) == .bytes([1, 2]))
    #expect(try value(Shape.circle(radius: 1)) == ["circle": ["radius": 1.0]])
    #expect(try value([Int?.none]) == [nil])
    #expect(try value(Everything())["nothing"] == .some(.null))
    #expect(try value(Colour.red) == "red")
  }

  @Test func bytesAreWhatPythonWrites() throws {
    #expect(
      try MessageEncoder().encode([42, nil, "hello"] as MessageValue)
        == [0x80, 4, 0x5d, 0x28, 0x4b, 42, 0x4e, 0x8c, 5] + Array("hello".utf8) + [0x65, 0x2e])
    #expect(try MessageEncoder().encode(-1) == [0x80, 4, 0x4a, 255, 255, 255, 255, 0x2e])
    #expect(
      try MessageEncoder().encode(Int64(1) << 31) == [0x80, 4, 0x8a, 5, 0, 0, 0, 128, 0, 0x2e])
    #expect(try MessageEncoder().encode([Int]()) == [0x80, 4, 0x5d, 0x2e])
  }

  // MARK: Containers used in unusual ways

  private class Base: Codable {
    var base: Int
    init(base: Int) { self.base = base }
  }

  private final class Derived: Base {
    var own: String
    init(base: Int, own: String) {
      self.own = own
      super.init(base: base)
    }
    private enum Keys: CodingKey { case own }
    required init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Keys.self)
      own = try container.decode(String.self, forKey: .own)
      try super.init(from: container.superDecoder())
    }
    override func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Keys.self)
      try super.encode(to: container.superEncoder())
      try container.encode(own, forKey: .own)
    }
  }

  @Test func superclasses() throws {
    let bytes = try MessageEncoder().encode([Derived(base: 4, own: "x")])
    let back = try MessageDecoder().decode([Derived].self, from: bytes)
    #expect(back[0].base == 4 && back[0].own == "x")
    #expect(try value(Derived(base: 4, own: "x")) == ["super": ["base": 4], "own": "x"])
  }

  /// Writes to three containers in turn.
  private struct Interleaved: Codable, Equatable {
    private enum Keys: CodingKey { case list, inner, last, a, b }
    init() {}
    func encode(to encoder: any Encoder) throws {
      var outer = encoder.container(keyedBy: Keys.self)
      var list = outer.nestedUnkeyedContainer(forKey: .list)
      var inner = outer.nestedContainer(keyedBy: Keys.self, forKey: .inner)
      try list.encode(1)
      try inner.encode("a", forKey: .a)
      try outer.encode([1.5], forKey: .last)
      var deep = list.nestedContainer(keyedBy: Keys.self)
      try list.encode(2)
      try inner.encode("b", forKey: .b)
      try deep.encode(nil as Int?, forKey: .a)
      #expect(list.count == 3)
      #expect(deep.codingPath.map(\.stringValue).suffix(2) == ["list", "Index 1"])
    }
    init(from decoder: any Decoder) throws {
      let outer = try decoder.container(keyedBy: Keys.self)
      var list = try outer.nestedUnkeyedContainer(forKey: .list)
      let inner = try outer.nestedContainer(keyedBy: Keys.self, forKey: .inner)
      #expect(try list.decode(Int.self) == 1)
      #expect(try inner.decode(String.self, forKey: .b) == "b")
      #expect(throws: IPCError.self) { try list.decode(Int.self) }
      let deep = try list.nestedContainer(keyedBy: Keys.self)
      #expect(try deep.decodeNil(forKey: .a))
      #expect(try list.decode(Int.self) == 2)
      #expect(list.isAtEnd)
      #expect(throws: IPCError.self) { try list.decode(Int.self) }
      #expect(try inner.decode(String.self, forKey: .a) == "a")
      #expect(try outer.decode([Double].self, forKey: .last) == [1.5])
      #expect(Set(outer.allKeys.map(\.stringValue)) == ["list", "inner", "last"])
      #expect(outer.contains(.last) && !outer.contains(.a))
    }
  }

  @Test func containersWrittenInTurn() throws {
    try roundTrip(Interleaved())
    try roundTrip([Interleaved(), Interleaved()])
    #expect(
      try value(Interleaved())
        == ["list": [1, ["a": nil], 2], "inner": ["a": "a", "b": "b"], "last": [1.5]])
  }

  private struct Failing: Encodable {
    struct Refusal: Error {}
    func encode(to encoder: any Encoder) throws {
      var container = encoder.unkeyedContainer()
      try container.encode([1, 2])
      _ = container.nestedUnkeyedContainer()
      throw Refusal()
    }
  }

  private struct Catching: Encodable {
    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Key.self)
      #expect(throws: Failing.Refusal.self) { try container.encode(Failing(), forKey: .first) }
      #expect(throws: Failing.Refusal.self) {
        try container.encode(["a": Failing()], forKey: .first)
      }
      try container.encode(5, forKey: .second)
    }
    enum Key: CodingKey { case first, second }
  }

  @Test func aValueThatFailedLeavesNothing() throws {
    #expect(try value(Catching()) == ["second": 5])
    #expect(throws: Failing.Refusal.self) { try MessageEncoder().encode(Failing()) }
  }

  private struct TwoWays: Encodable {
    func encode(to encoder: any Encoder) throws {
      var list = encoder.unkeyedContainer()
      try list.encode(1)
      var keyed = encoder.container(keyedBy: Catching.Key.self)
      _ = keyed.nestedUnkeyedContainer(forKey: .first)
      try keyed.encode(1, forKey: .first)
    }
  }

  @Test func oneValueEncodedInTwoWaysIsAnError() {
    #expect(error { _ = try MessageEncoder().encode(TwoWays()) }?.code == .invalidArgument)
  }

  private struct Nothing: Codable, Equatable {}

  @Test func aTypeWithoutPropertiesIsAnEmptyDictionary() throws {
    try roundTrip(Nothing())
    try roundTrip([Nothing(), Nothing()])
    #expect(try value(Nothing()) == [:])
  }

  // MARK: Conversions and errors

  @Test func numbersConvertStrictly() throws {
    #expect(try decode(Double.self, 3) == 3.0)
    #expect(try decode([Double].self, [1, 2.5]) == [1, 2.5])
    #expect(try decode([UInt8].self, [1, 2]) == [1, 2])
    #expect(try decode(UInt64.self, MessageValue.integer(UInt64.max)) == .max)
    #expect(throws: IPCError.self) { try decode(Int.self, 3.0) }
    #expect(throws: IPCError.self) { try decode(Int.self, true) }
    #expect(throws: IPCError.self) { try decode(Bool.self, 1) }
    #expect(throws: IPCError.self) { try decode(UInt8.self, 256) }
    #expect(throws: IPCError.self) { try decode(UInt.self, -1) }
    #expect(throws: IPCError.self) { try decode(Int64.self, MessageValue.integer(UInt64.max)) }
    #expect(throws: IPCError.self) { try decode(Float.self, 1e300) }
    // An integer says that it is exact.
    #expect(try decode(Double.self, MessageValue.integer(1 << 53)) == 0x1p53)
    #expect(throws: IPCError.self) { try decode(Double.self, MessageValue.integer(1 << 53 + 1)) }
    #expect(throws: IPCError.self) { try decode(Float.self, MessageValue.integer(1 << 24 + 1)) }
    #expect(throws: IPCError.self) { try decode(Double.self, true) }
    #expect(throws: IPCError.self) { try decode([UInt8].self, [1, 256]) }
    #expect(throws: IPCError.self) { try decode(String.self, .bytes([65])) }
  }

  @Test func numbersConvertLenientlyWhenAsked() throws {
    var decoder = MessageDecoder()
    decoder.numberConversion = .lenient
    let bytes = try MessageEncoder().encode([3.0, true, 1] as MessageValue)
    #expect(try decoder.decode([Int].self, from: bytes) == [3, 1, 1])
    #expect(throws: IPCError.self) {
      try decoder.decode([Int].self, from: MessageEncoder().encode([3.5]))
    }
    #expect(try decoder.decode(Bool.self, from: MessageEncoder().encode(1)))
    let large = try MessageEncoder().encode([1 << 53 + 1, 1 << 70] as [Int128])
    #expect(try decoder.decode([Double].self, from: large) == [0x1p53, 0x1p70])
    #expect(throws: IPCError.self) { try decoder.decode([Float16].self, from: large) }
    #expect(throws: IPCError.self) {
      try decoder.decode([Int8].self, from: MessageEncoder().encode([128.0]))
    }
  }

  @Test func errorsSayWhereAndWhat() throws {
    let wrong: MessageValue = [["id": 1, "name": "a", "values": [1, "two"]]]
    #expect(
      error { _ = try decode([Reading].self, wrong) }?.context
        == "[0].values[1]: expected Double, found a string at offset 33")
    #expect(
      error { _ = try decode([String: Reading].self, ["k": ["id": 2.5]]) }?.context
        == "k.id: expected Int, found the float 2.5 at offset 13, which is not an integer that it can hold"
    )
    #expect(
      error { _ = try decode(Reading.self, ["id": 300]) }?.context
        == "name: no such key in the dictionary at offset 2")
    #expect(
      error { _ = try decode(Int8.self, 300) }?.context
        == "the message: expected Int8, found the integer 300 at offset 2, which it cannot hold")
    for (wrong, found) in [(3.0, "the float 3.0"), (true, "True")] as [(MessageValue, String)] {
      #expect(
        error { _ = try decode(Reading.self, ["id": wrong]) }?.context
          == "id: expected Int, found \(found) at offset 8, "
          + "which converts only where numberConversion is .lenient")
    }
    #expect(
      error { _ = try decode([String: UInt8].self, ["a": -1]) }?.context
        == "a: expected UInt8, found the integer -1 at offset 7, which it cannot hold")
    #expect(
      error { _ = try decode([UInt8: Int].self, [256: 1]) }?.context
        == "the message: expected UInt8, found the integer 256 at offset 4, which it cannot hold, "
        + "as a key")
    #expect(error { _ = try decode(Colour.self, "blue") }?.code == .malformedMessage)
    #expect(error { _ = try decode(Shape.self, ["square": [:]]) }?.code == .malformedMessage)
    #expect(error { _ = try decode([Int: Int].self, ["x": 1]) }?.code == .malformedMessage)
    #expect(error { _ = try decode(Reading.self, [1]) }?.code == .malformedMessage)
  }

  @Test func keysInAnyOrderAndUnknownOnes() throws {
    let value: MessageValue = ["more": [1], "values": [1.0], 5: 6, "name": "a", "id": 9]
    #expect(try decode(Reading.self, value) == Reading(id: 9, name: "a", values: [1]))
  }

  private final class Link: Codable {
    var next: Link?
    init(_ next: Link?) { self.next = next }
  }

  @Test func depthIsBoundedOnBothSides() throws {
    var deepest = Link(nil)
    for _ in 1..<512 { deepest = Link(deepest) }
    let bytes = try MessageEncoder().encode(deepest)
    _ = try MessageDecoder().decode(Link.self, from: bytes)
    #expect(error { _ = try MessageEncoder().encode(Link(deepest)) }?.code == .invalidArgument)
    var value: MessageValue = 1
    for _ in 0..<512 { value = [value] }
    #expect(
      try MessageDecoder().decode(MessageValue.self, from: MessageEncoder().encode(value)) == value)
    #expect(
      error { _ = try MessageEncoder().encode([value] as MessageValue) }?.code == .invalidArgument)
    #expect(error { _ = try MessageEncoder().encode(["a": value]) }?.code == .invalidArgument)
    var shallow = MessageDecoder()
    shallow.maximumDepth = 3
    #expect(throws: IPCError.self) { try shallow.decode(Link.self, from: bytes) }
  }

  @Test func whatPythonCannotHashIsNoKey() throws {
    for value: MessageValue in [
      .dictionary([[1]: 2]), .set([.array([])]), .frozenSet([.tuple([[1]])]),
    ] {
      #expect(error { _ = try MessageEncoder().encode(value) }?.code == .invalidArgument)
    }
  }

  // MARK: Descriptors

  private struct Handle: Codable {
    final class Owner: Sendable {}
    var index = 0
    init() {}
    init(from decoder: any Decoder) throws {
      let index = try decoder.singleValueContainer().decode(Int.self)
      _ = try decoder.descriptorInbox(for: Handle.self)
      self.index = index
    }
    func encode(to encoder: any Encoder) throws {
      let outbox = try encoder.descriptorOutbox(for: Handle.self)
      var container = encoder.singleValueContainer()
      try container.encode(outbox.enclose(1, keeping: Owner()))
    }
  }

  @Test func descriptorsTravelBesideTheBytes() throws {
    let (bytes, outbox) = try MessageEncoder().encodeWithDescriptors(["a": [Handle(), Handle()]])
    #expect(outbox?.descriptors == [1, 1])
    let inbox = DescriptorInbox([])
    let back = try MessageDecoder().decode([String: [Handle]].self, from: bytes, inbox: inbox)
    #expect(back["a"]?.map(\.index) == [0, 1])
    #expect(try MessageEncoder().encodeWithDescriptors([1]).outbox == nil)
    let given = DescriptorOutbox()
    _ = try MessageEncoder().encode(Handle(), outbox: given)
    #expect(given.descriptors == [1])
    #expect(error { _ = try MessageEncoder().encode(Handle()) }?.code == .notTransferable)
    #expect(
      error { _ = try MessageDecoder().decode([String: [Handle]].self, from: bytes) }?.code
        == .notTransferable)
  }

  private struct Curious: Codable {
    static let key = CodingUserInfoKey(rawValue: "curious")!
    init() {}
    init(from decoder: any Decoder) throws { #expect(decoder.userInfo[Self.key] as? Int == 8) }
    func encode(to encoder: any Encoder) throws {
      #expect(encoder.userInfo[Self.key] as? Int == 7)
      var container = encoder.unkeyedContainer()
      try container.encode(1)
    }
  }

  @Test func userInfoReachesTypes() throws {
    var encoder = MessageEncoder()
    encoder.userInfo[Curious.key] = 7
    var decoder = MessageDecoder()
    decoder.userInfo[Curious.key] = 8
    _ = try decoder.decode([Curious].self, from: encoder.encode([Curious()]))
  }
}
