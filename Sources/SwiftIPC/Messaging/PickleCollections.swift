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
    for child in stride(from: children.lowerBound, to: children.upperBound, by: 2) {
      guard let key = Key.read(tape.element(child), tape, decoder.context.conversion) else {
        var error = tape.mismatch(
          tape.element(child), Key.self, decoder.context.conversion, decoder.path)
        error.context += ", as a key"
        throw error
      }
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
    Set(try decoder.context.array(Element.self, node, decoder.path, nil))
  }
}
