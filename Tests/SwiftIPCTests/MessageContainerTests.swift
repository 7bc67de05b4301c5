// SPDX-License-Identifier: Apache-2.0
import MessageCoding
import SwiftIPC
import Testing

/// What types can do with an encoder and a decoder that most types do not.
@Suite struct MessageContainerTests {
  private func value(_ value: some Encodable) throws -> MessageValue {
    try MessageDecoder().decode(MessageValue.self, from: MessageEncoder().encode(value))
  }

  private func decode<T: Decodable>(_ type: T.Type, _ value: MessageValue) throws -> T {
    try MessageDecoder().decode(type, from: MessageEncoder().encode(value))
  }

  private func roundTrip<T: Codable & Equatable>(
    _ value: T, sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    for arrays: MessageEncoder.NumberArrays in [.lists, .memory] {
      var encoder = MessageEncoder()
      encoder.numberArrays = arrays
      let back = try MessageDecoder().decode(T.self, from: encoder.encode(value))
      #expect(back == value, sourceLocation: sourceLocation)
    }
  }

  private func context(_ body: () throws -> Void) -> String? {
    do { try body() } catch { return (error as? IPCError)?.context }
    return nil
  }

  struct Key: CodingKey, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
    var stringValue: String
    var intValue: Int?
    init(stringValue: String) { self.stringValue = stringValue }
    init(intValue: Int) { (stringValue, self.intValue) = ("\(intValue)", intValue) }
    init(stringLiteral value: String) { self.init(stringValue: value) }
    init(integerLiteral value: Int) { self.init(intValue: value) }
  }

  /// A type that is what its closures do.
  private struct Custom: Encodable {
    var body: (any Encoder) throws -> Void
    func encode(to encoder: any Encoder) throws { try body(encoder) }
  }

  private struct Reading: Decodable {
    static let key = CodingUserInfoKey(rawValue: "body")!
    final class Body: @unchecked Sendable {
      let run: (any Decoder) throws -> Void
      init(_ run: @escaping (any Decoder) throws -> Void) { self.run = run }
    }
    init(from decoder: any Decoder) throws {
      try (decoder.userInfo[Self.key] as! Body).run(decoder)
    }
  }

  private func read(
    _ value: MessageValue, _ body: @escaping (any Decoder) throws -> Void
  ) throws {
    var decoder = MessageDecoder()
    decoder.userInfo[Reading.key] = Reading.Body(body)
    _ = try decoder.decode(Reading.self, from: MessageEncoder().encode(value))
  }

  // MARK: Optionals

  private struct Optionals: Codable, Equatable {
    var twice: Int?? = .some(nil)
    var absent: Int??
    var list: [String?] = ["a", nil]
    var lists: [[Int]?] = [[1], nil, []]
    var byName: [String: Int?] = ["a": 1, "b": nil]
    var nested: [Int?]? = [nil]
    var double: Double?
    var bool: Bool? = true
  }

  @Test func optionals() throws {
    try roundTrip(Optionals(twice: 3))
    // Python has one None: nothing, and something that is nothing, are the same there.
    var one = Optionals()
    one.twice = nil
    #expect(try decode(Optionals.self, value(Optionals())) == one)
    try roundTrip([Int??.some(.some(1)), nil])
    // Absent and None are both nil.
    let sparse = try decode(Optionals.self, ["list": [], "lists": [], "byName": [:]])
    #expect(sparse.bool == nil && sparse.nested == nil)
    #expect(
      context {
        _ = try decode(Optionals.self, ["list": [], "lists": [], "byName": [:], "bool": 1])
      }
        == "bool: expected Bool or None, found the integer 1 at offset 34, "
        + "which converts only where numberConversion is .lenient")
    #expect(
      context { _ = try decode([String: Int].self, ["a": nil]) }
        == "a: expected Int, found None at offset 7")
  }

  // MARK: Enums

  private enum Tree: Codable, Equatable {
    case leaf
    indirect case node(left: Tree, value: [Double], right: Tree?)
    case labelled(_ name: String, Int?, tags: Set<Int> = [])
    case pair((Int), optional: String?)
  }

  private enum Level: Int, Codable, CaseIterable {
    case low = -1
    case high = 300
  }
  private enum Letter: String, Codable, CodingKeyRepresentable { case a, b }
  private enum Wrapped<T: Codable & Equatable>: Codable, Equatable {
    case some(T)
    case none
  }

  @Test func enums() throws {
    try roundTrip(
      Tree.node(
        left: .node(left: .leaf, value: [], right: nil), value: [1, 2.5],
        right: .labelled("x", nil, tags: [3])))
    try roundTrip(Tree.pair(1, optional: nil))
    try roundTrip(Level.allCases)
    try roundTrip([Wrapped.some([1.5]), .none])
    #expect(
      try value(Tree.labelled("x", 4)) == ["labelled": ["_0": "x", "_1": 4, "tags": .set([])]])
    #expect(try value(Tree.leaf) == ["leaf": [:]])
    #expect(context { _ = try decode(Level.self, 5) }?.contains("5") == true)
    #expect(context { _ = try decode(Tree.self, ["leaf": [:], "pair": [:]]) } != nil)
    #expect(context { _ = try decode(Tree.self, [:]) } != nil)
    #expect(
      context { _ = try decode([Tree].self, [["node": ["left": ["leaf": [:]], "value": ["x"]]]]) }
        == "[0].node.value[0]: expected Double, found a string at offset 39")
  }

  // MARK: Dictionaries and sets

  private struct Point: Codable, Hashable { var x: Int, y: Int }

  @Test func keysOfAnyType() throws {
    try roundTrip([1: "a", -1: "b", .max: "c"])
    try roundTrip([Int8(1): [UInt64.max: [true: 1.5]]])
    try roundTrip([UInt64.max: 1, 0: 2])
    try roundTrip([Int128.max: 1, Int128.min: 2])
    try roundTrip([1.5: "x", .infinity: "y"])
    try roundTrip([Float(1.5): 1])
    try roundTrip([true: 1, false: 2])
    try roundTrip(["": 1, "é": 2])
    try roundTrip([Point(x: 1, y: 2): [1.5], Point(x: 3, y: 4): []])
    try roundTrip([Letter.a: 1, .b: 2])
    try roundTrip([[1, 2]: [[3: 4]: 5]])
    try roundTrip([Int?.none: 1, 3: 2])
    #expect(try value([Letter.a: 1]) == ["a": 1])
    #expect(try value([UInt64.max: 1]) == .dictionary([MessageValue.integer(UInt64.max): 1]))
    #expect(try value([true: 1]) == [true: 1])
    // Codable's own form where the key is no scalar: keys and values in turn.
    #expect(try value([Point(x: 1, y: 2): 3]) == [["x": 1, "y": 2], 3])
    #expect(context { _ = try decode([Int: Int].self, [[1]: 1] as MessageValue) } != nil)
    #expect(
      context { _ = try decode([Int: [String: Int8]].self, [7: ["a": 300]]) }
        == "7.a: expected Int8, found the integer 300 at offset 11, which it cannot hold")
  }

  @Test func sets() throws {
    try roundTrip(Set([1.5, 2]))
    try roundTrip(Set([UInt64.max]))
    try roundTrip(Set([true]))
    try roundTrip(Set([Point(x: 1, y: 2)]))
    try roundTrip(Set([Set([1]), []]))
    try roundTrip([Set<String>(), ["a"]])
    #expect(try decode(Set<Int>.self, .frozenSet([1])) == [1])
    #expect(try decode([Int].self, .set([1])) == [1])
    #expect(try decode(Set<Int>.self, .tuple([1, 1])) == [1])
  }

  // MARK: Keys

  private struct Numbered: Codable, Equatable {
    var first = 1
    var second = [2.5]
    enum CodingKeys: Int, CodingKey {
      case first = 7
      case second = -3
    }
  }

  @Test func keysThatAreNumbers() throws {
    try roundTrip(Numbered())
    // A name is what a property is found by; a `dict` of Python's may have the number instead.
    #expect(try value(Numbered()) == ["first": 1, "second": [2.5]])
    #expect(try decode(Numbered.self, [7: 4, -3: []]) == Numbered(first: 4, second: []))
    try read([1: "a", "b": 2, .tuple([]): 3, 1.5: 4]) { decoder in
      let container = try decoder.container(keyedBy: Key.self)
      #expect(container.allKeys.map(\.stringValue) == ["1", "b"])
      #expect(container.contains(1) && container.contains("b"))
      #expect(!container.contains("1") && !container.contains(2) && !container.contains("a"))
      #expect(try container.decode(String.self, forKey: 1) == "a")
    }
  }

  @Test func keysInAnyOrderAndTwice() throws {
    let wide = MessageDictionary((0..<200).map { ("key \($0)", .integer($0)) })
    try read(.dictionary(wide)) { decoder in
      let container = try decoder.container(keyedBy: Key.self)
      for index in [0, 199, 3, 2, 1, 198, 0, 0, 100] {
        #expect(try container.decode(Int.self, forKey: Key(stringValue: "key \(index)")) == index)
      }
      #expect(!container.contains("key 200") && !container.contains(""))
      #expect(try container.decodeIfPresent(Int.self, forKey: "key") == nil)
      #expect(throws: IPCError.self) { try container.decodeNil(forKey: "key") }
      #expect(throws: IPCError.self) { try container.nestedUnkeyedContainer(forKey: "key") }
    }
    // Written twice, the last one counts, as in Python.
    let twice = Custom { encoder in
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(1, forKey: "a")
      try container.encode([2], forKey: "a")
    }
    #expect(try value(twice) == ["a": [2]])
  }

  // MARK: Containers

  @Test func aContainerAskedForAgainGoesOn() throws {
    let keyed = Custom { encoder in
      var first = encoder.container(keyedBy: Key.self)
      try first.encode(1, forKey: "a")
      var second = encoder.container(keyedBy: Key.self)
      try second.encode(2, forKey: "b")
      try first.encode(3, forKey: "c")
    }
    #expect(try value(keyed) == ["a": 1, "b": 2, "c": 3])
    let unkeyed = Custom { encoder in
      var first = encoder.unkeyedContainer()
      try first.encode(1)
      var second = encoder.unkeyedContainer()
      try second.encode(contentsOf: [2, 3])
      #expect(first.count == 3 && second.count == 3)
      try first.encodeNil()
    }
    #expect(try value(unkeyed) == [1, 2, 3, nil])
  }

  @Test func partsInParts() throws {
    let custom = Custom { encoder in
      var outer = encoder.unkeyedContainer()
      var keyed = outer.nestedContainer(keyedBy: Key.self)
      var list = keyed.nestedUnkeyedContainer(forKey: "list")
      let one = list.superEncoder()
      let two = outer.superEncoder()
      let three = keyed.superEncoder(forKey: "three")
      let four = keyed.superEncoder()
      func path(_ part: any Encoder) -> [String] {
        part.codingPath.dropFirst(encoder.codingPath.count).map(\.stringValue)
      }
      #expect(path(one) == ["Index 0", "list", "Index 0"])
      #expect(path(two) == ["Index 1"])
      #expect(path(three) == ["Index 0", "three"])
      #expect(path(four) == ["Index 0", "super"])
      var single = two.singleValueContainer()
      try single.encode([1.5])
      try list.encode("in between")
      var values = one.unkeyedContainer()
      try values.encode(true)
      try keyed.encode([7: Int8(1)], forKey: "last")
      try Optional<Int>.none.encode(to: three)
      try outer.encode("end")
      // Nothing is ever written to `four`.
    }
    #expect(
      try value(custom)
        == [
          ["list": [[true], "in between"], "three": nil, "super": [:], "last": [7: 1]], [1.5],
          "end",
        ])
    // The same wherever it stands.
    #expect(try value(["k": [custom, custom]])["k"]?[1] == value(custom))
    // And with arrays as memory in the parts.
    var packing = MessageEncoder()
    packing.numberArrays = .memory
    let bytes = try packing.encode([custom])
    #expect(bytes[1] == 0xc4)
    #expect(try MessageDecoder().decode(MessageValue.self, from: bytes)[0] == value(custom))
  }

  @Test func partsAreReadInAnyOrder() throws {
    let message: MessageValue = [
      ["list": [[true], "in between"], "super": ["x": 1], "none": nil], .tuple([1.5]),
      .bytes([7, 8]),
    ]
    try read(message) { decoder in
      var outer = try decoder.unkeyedContainer()
      #expect(outer.count == 3 && outer.currentIndex == 0)
      let keyed = try outer.nestedContainer(keyedBy: Key.self)
      #expect(keyed.codingPath.map(\.stringValue) == ["Index 0"])
      var tuple = try outer.nestedUnkeyedContainer()
      #expect(throws: IPCError.self) { try outer.nestedContainer(keyedBy: Key.self) }
      #expect(outer.currentIndex == 2)
      let last = try outer.superDecoder()
      #expect(outer.isAtEnd)
      #expect(throws: IPCError.self) { try outer.superDecoder() }
      #expect(throws: IPCError.self) { try outer.decodeNil() }
      var bytes = try last.unkeyedContainer()
      #expect(last.codingPath.map(\.stringValue) == ["Index 2"])
      #expect(try bytes.decode(Int.self) == 7 && bytes.decode(UInt8.self) == 8 && bytes.isAtEnd)
      #expect(try tuple.decode(Float.self) == 1.5)
      let nested = try keyed.superDecoder().container(keyedBy: Key.self)
      #expect(nested.codingPath.map(\.stringValue) == ["Index 0", "super"])
      #expect(try nested.decode(Int.self, forKey: "x") == 1)
      var list = try keyed.nestedUnkeyedContainer(forKey: "list")
      #expect(try list.decodeNil() == false && list.currentIndex == 0)
      #expect(try list.decode([Bool].self) == [true])
      #expect(throws: IPCError.self) { try list.decode(Int.self) }
      #expect(list.currentIndex == 1)
      #expect(try list.decodeIfPresent(String.self) == "in between")
      #expect(try keyed.superDecoder(forKey: "none").singleValueContainer().decodeNil())
    }
  }

  @Test func codingPathsReachTheTypes() throws {
    try read(["a": 1]) { decoder in
      let container = try decoder.container(keyedBy: Key.self)
      #expect(container.codingPath.isEmpty && decoder.codingPath.isEmpty)
      do {
        throw DecodingError.dataCorruptedError(
          forKey: "a", in: container, debugDescription: "not to my liking")
      } catch { #expect(error is DecodingError) }
    }
    let refusing = Custom { encoder in
      throw EncodingError.invalidValue(
        1, .init(codingPath: encoder.codingPath, debugDescription: "not to my liking"))
    }
    #expect(
      context { _ = try MessageEncoder().encode(["a": [refusing]]) }
        == "a[0]: not to my liking")
    struct Picky: Decodable {
      init(from decoder: any Decoder) throws {
        throw DecodingError.dataCorrupted(
          .init(codingPath: decoder.codingPath, debugDescription: "not to my liking"))
      }
    }
    #expect(
      context { _ = try decode([String: [Picky]].self, ["a": [1]]) } == "a[0]: not to my liking")
  }

  // MARK: Objects

  private class Animal: Codable {
    var name: String
    init(name: String) { self.name = name }
  }

  /// Has a key of its own with the name of one of its superclass's.
  private class Cat: Animal {
    var lives: [Int]
    init(name: String, lives: [Int]) {
      self.lives = lives
      super.init(name: name)
    }
    private enum Keys: String, CodingKey { case lives = "name" }
    required init(from decoder: any Decoder) throws {
      lives = try decoder.container(keyedBy: Keys.self).decode([Int].self, forKey: .lives)
      try super.init(from: decoder.container(keyedBy: Key.self).superDecoder(forKey: "base"))
    }
    override func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Keys.self)
      try container.encode(lives, forKey: .lives)
      var base = encoder.container(keyedBy: Key.self)
      try super.encode(to: base.superEncoder(forKey: "base"))
    }
  }

  private final class Lion: Cat {
    var mane = true
    required init(from decoder: any Decoder) throws {
      var list = try decoder.unkeyedContainer()
      mane = try list.decode(Bool.self)
      try super.init(from: list.superDecoder())
    }
    init() { super.init(name: "Leo", lives: [9, 8]) }
    override func encode(to encoder: any Encoder) throws {
      var list = encoder.unkeyedContainer()
      try list.encode(mane)
      try super.encode(to: list.superEncoder())
    }
  }

  @Test func threeLevelsOfClasses() throws {
    #expect(try value(Lion()) == [true, ["name": [9, 8], "base": ["name": "Leo"]]])
    for arrays: MessageEncoder.NumberArrays in [.lists, .memory] {
      var encoder = MessageEncoder()
      encoder.numberArrays = arrays
      let back = try MessageDecoder().decode([Lion].self, from: encoder.encode([Lion(), Lion()]))
      #expect(
        back.count == 2 && back.allSatisfy { $0.name == "Leo" && $0.lives == [9, 8] && $0.mane })
    }
  }

  // MARK: Containers that outlive their value

  private final class Keeper: @unchecked Sendable {
    var encoder: (any Encoder)?
    var container: (any UnkeyedEncodingContainer)?
    var part: (any Encoder)?
    var decoder: (any Decoder)?

    func letGo() { (encoder, container, part, decoder) = (nil, nil, nil, nil) }
  }

  @Test func containersThatOutliveTheirValueDoNoHarm() throws {
    let keeper = Keeper()
    // The coders have the closures, which have the keeper.
    defer { keeper.letGo() }
    let keeping = Custom { encoder in
      keeper.encoder = encoder
      keeper.container = encoder.unkeyedContainer()
      keeper.part = keeper.container?.superEncoder()
      try keeper.container?.encode("kept")
    }
    #expect(try value(keeping) == [[:], "kept"])
    // The next message has another buffer; the one that was kept belongs to none.
    let bytes = try MessageEncoder().encode([1, 2])
    #expect(throws: IPCError.self) { try keeper.container?.encode(1) }
    if let encoder = keeper.encoder {
      #expect(throws: IPCError.self) {
        var container = encoder.singleValueContainer()
        try container.encode(1)
      }
    }
    if let part = keeper.part {
      var container = part.unkeyedContainer()
      try container.encode([1.5])
    }
    #expect(try MessageEncoder().encode([1, 2]) == bytes)

    try read(["a": [1, 2, 3], "b": "a string that has storage"]) { keeper.decoder = $0 }
    #expect(try value(["something": "else"]) == ["something": "else"])
    let container = try #require(try keeper.decoder?.container(keyedBy: Key.self))
    #expect(try container.decode([Int].self, forKey: "a") == [1, 2, 3])
    #expect(try container.decode(String.self, forKey: "b") == "a string that has storage")
  }

  /// Types that code other messages while they are being coded.
  private struct Nesting: Codable, Equatable {
    var inner: [UInt8]
    init(_ value: [Double]) throws { inner = try MessageEncoder().encode(value) }
    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Key.self)
      try container.encode("before", forKey: "before")
      let again = try MessageEncoder().encode(["inner": inner])
      try container.encode(again, forKey: "again")
    }
    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Key.self)
      let again = try container.decode([UInt8].self, forKey: "again")
      inner = try MessageDecoder().decode([String: [UInt8]].self, from: again)["inner"] ?? []
      #expect(try container.decode(String.self, forKey: "before") == "before")
    }
  }

  @Test func messagesInMessages() throws {
    try roundTrip([Nesting([1, 2]), Nesting([])])
  }

  @Test func fromManyThreadsAtOnce() async throws {
    let expected = try MessageEncoder().encode(["a": [1.5, 2]])
    await withTaskGroup(of: Bool.self) { group in
      for number in 0..<8 {
        group.addTask {
          (0..<500).allSatisfy { round in
            let mine = ["a": [Double(number), Double(round)]]
            guard let bytes = try? MessageEncoder().encode(mine),
              let back = try? MessageDecoder().decode([String: [Double]].self, from: bytes),
              let shared = try? MessageDecoder().decode([String: [Double]].self, from: expected)
            else { return false }
            return back == mine && shared == ["a": [1.5, 2]]
          }
        }
      }
      for await succeeded in group { #expect(succeeded) }
    }
  }

  // MARK: Plain types of the standard library

  @Test func typesOfTheStandardLibrary() throws {
    try roundTrip([Float16(1.5), .infinity])
    try roundTrip(Float16.greatestFiniteMagnitude)
    try roundTrip(1..<5)
    try roundTrip(2...3)
    try roundTrip(ContiguousArray([1, 2]))
    try roundTrip(SIMD4<Float>(1, 2, 3, 4))
    try roundTrip([SIMD2<Int32>(1, -1)])
    try roundTrip(CollectionOfOne("x").first)
    try roundTrip(Duration.milliseconds(1500))
    try roundTrip(Int128.min)
    try roundTrip([UInt128.max])
    try roundTrip("a" as String?)
    try roundTrip(Result<Int, Never>.success(1).get())
    #expect(throws: IPCError.self) { try decode(Float16.self, 1e10) }
    #expect(throws: IPCError.self) { try decode(Int128.self, MessageValue.integer(UInt128.max)) }
    #expect(throws: IPCError.self) { try decode(UInt128.self, -1) }
  }

  @Test func lenientConversionReachesEverywhere() throws {
    var decoder = MessageDecoder()
    decoder.numberConversion = .lenient
    let bytes = try MessageEncoder().encode(
      ["id": 3.0, "list": [1.0, true], "byNumber": [2.0: 1], "flag": 1] as MessageValue)
    struct Loose: Decodable, Equatable {
      var id: Int8
      var list: [UInt16]
      var byNumber: [Int: Bool]
      var flag: Bool?
      var missing: Double?
    }
    #expect(
      try decoder.decode(Loose.self, from: bytes)
        == Loose(id: 3, list: [1, 1], byNumber: [2: true], flag: true))
    #expect(
      context { _ = try decoder.decode(Loose.self, from: MessageEncoder().encode(["id": 3.5])) }
        == "id: expected Int8, found the float 3.5 at offset 8, "
        + "which is not an integer that it can hold")
    #expect(
      context { _ = try decoder.decode(Loose.self, from: MessageEncoder().encode(["id": 1e10])) }
        == "id: expected Int8, found the float 10000000000.0 at offset 8, "
        + "which is not an integer that it can hold")
  }
}
