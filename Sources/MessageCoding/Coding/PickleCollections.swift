// SPDX-License-Identifier: Apache-2.0

/// A dictionary whose keys are one opcode each, so that `[Int: T]` is a `dict` with integer keys in
/// Python. Codable itself would write the keys as text, or a list of keys and values in turn.
protocol PickleDictionary {
  func write(to encoding: MessageEncoding, _ path: MessageCodingPath?) throws
}

/// A set whose elements are one opcode each: a `set` in Python.
protocol PickleSet {
  func write(to writer: PickleWriter)
}

/// Either of them, which is read without its own `init(from:)`.
protocol PickleReadable {
  static func read(_ node: PickleNode, _ decoder: MessageDecoding) throws -> Self
}

extension Dictionary: PickleDictionary where Key: PickleScalar, Value: Encodable {
  func write(to encoding: MessageEncoding, _ path: MessageCodingPath?) throws {
    let writer = encoding.writer
    writer.opcode(PickleOpcode.emptyDictionary)
    if isEmpty { return }
    writer.opcode(PickleOpcode.mark)
    for (key, value) in self {
      key.write(to: writer)
      try encoding.encode(value, path, MessageIndexKey(stringValue: "\(key)"))
    }
    writer.opcode(PickleOpcode.setItems)
  }
}

extension Dictionary: PickleReadable where Key: PickleScalar, Value: Decodable {
  static func read(_ node: PickleNode, _ decoder: MessageDecoding) throws -> [Key: Value] {
    let tape = decoder.context.tape
    guard node.tag == PickleOpcode.emptyDictionary else {
      throw tape.mismatch(node, expected: "a dictionary", decoder.path)
    }
    let children = tape.children(of: node)
    var result: [Key: Value] = [:]
    result.reserveCapacity(children.count / 2)
    var unequal = UnequalKeys()
    for child in stride(from: children.lowerBound, to: children.upperBound, by: 2) {
      guard let key = Key.read(tape.element(child), tape, decoder.context.conversion) else {
        var error = tape.mismatch(
          tape.element(child), Key.self, decoder.context.conversion, decoder.path)
        error.context += ", as a key"
        throw error
      }
      try tape.charge(shared: tape.element(child))
      try unequal.check(key, decoder)
      result[key] = try decoder.context.decode(
        Value.self, tape.element(child + 1), decoder.path, MessageIndexKey(stringValue: "\(key)"))
    }
    return result
  }
}

extension Set: PickleSet where Element: PickleScalar {
  func write(to writer: PickleWriter) {
    writer.opcode(PickleOpcode.emptySet)
    if isEmpty { return }
    writer.opcode(PickleOpcode.mark)
    for element in self { element.write(to: writer) }
    writer.opcode(PickleOpcode.addItems)
  }
}

extension Set: PickleReadable where Element: PickleScalar {
  static func read(_ node: PickleNode, _ decoder: MessageDecoding) throws -> Set<Element> {
    let tape = decoder.context.tape
    if let children = tape.sequence(node) {
      for child in children { try tape.charge(shared: tape.element(child)) }
    }
    let elements = try decoder.context.array(Element.self, node, decoder.path, nil)
    var unequal = UnequalKeys()
    for element in elements { try unequal.check(element, decoder) }
    return Set(elements)
  }
}

/// A set or dictionary of other types, which Codable writes as a list. Read here for the sake of the
/// checks alone.
protocol PickleHashed {
  static func read(checking node: PickleNode, _ decoder: MessageDecoding) throws -> Self
}

extension Set: PickleHashed where Element: Decodable {
  static func read(checking node: PickleNode, _ decoder: MessageDecoding) throws -> Set<Element> {
    var container = try decoder.messageContainer()
    var set = Set<Element>(minimumCapacity: container.count ?? 0)
    var unequal = UnequalKeys()
    while !container.isAtEnd { set.insert(try unequal.decode(Element.self, &container, decoder)) }
    return set
  }
}

extension Dictionary: PickleHashed where Key: Decodable, Value: Decodable {
  static func read(
    checking node: PickleNode, _ decoder: MessageDecoding
  ) throws -> [Key: Value] {
    // Its keys are text or integers, in a dictionary of the message.
    if Key.self is any CodingKeyRepresentable.Type { return try Self(from: decoder) }
    var container = try decoder.messageContainer()
    guard let count = container.count, count % 2 == 0 else {
      throw decoder.context.tape.mismatch(
        node, expected: "a list of keys and values in turn", decoder.path)
    }
    var dictionary = [Key: Value](minimumCapacity: count / 2)
    var unequal = UnequalKeys()
    while !container.isAtEnd {
      let key = try unequal.decode(Key.self, &container, decoder)
      dictionary[key] = try container.decode(Value.self)
    }
    return dictionary
  }
}

/// Counts keys that do not equal themselves, as NaN and whatever holds one: they all hash alike, so
/// that each is compared with all of them. A few are let pass; a peer must not send a million.
private struct UnequalKeys {
  private static let maximum = 16
  private var count = 0
  private var hashes: [Int: Int] = [:]

  @inline(__always)
  mutating func check<Key: Hashable>(
    _ key: Key, _ decoder: MessageDecoding
  ) throws(IPCError) {
    if key == key { return }
    count += 1
    if count > Self.maximum { throw tooMany(decoder) }
  }

  /// Decodes a key of any type. An array of NaN equals itself, being one and the same memory, and no
  /// other array of NaN; so where many keys hash alike, the key is decoded once more and the two are
  /// compared. A type that hashes badly is none of ours.
  mutating func decode<Key: Hashable & Decodable>(
    _ type: Key.Type, _ container: inout MessageUnkeyedDecodingContainer,
    _ decoder: MessageDecoding
  ) throws -> Key {
    try container.chargeNext()
    var again = container
    let key = try container.decode(type)
    hashes[key.hashValue, default: 0] += 1
    if hashes[key.hashValue, default: 0] <= Self.maximum { return key }
    if try again.decode(type) != key { throw tooMany(decoder) }
    return key
  }

  private func tooMany(_ decoder: MessageDecoding) -> IPCError {
    IPCError(
      .malformedMessage,
      context:
        "\(MessageCodingPath.describe(decoder.path)): more than \(Self.maximum) keys or elements "
        + "of a set that do not equal themselves, as NaN"
    )
  }
}
