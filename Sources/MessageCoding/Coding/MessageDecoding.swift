// SPDX-License-Identifier: Apache-2.0

/// The decoder that a type's `init(from:)` gets: which value of the message to read, and the path to it.
///
/// Three words, so that it fits an existential without memory of its own.
struct MessageDecoding: Decoder, SingleValueDecodingContainer {
  let context: MessageDecodingContext
  let node: PickleNode
  let path: MessageCodingPath?

  var codingPath: [any CodingKey] { MessageCodingPath.keys(path) }
  var userInfo: [CodingUserInfoKey: Any] { context.userInfo }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    guard node.tag == PickleOpcode.emptyDictionary else {
      throw context.tape.mismatch(node, expected: "a dictionary", path)
    }
    try context.checkStack(node, path)
    try context.tape.charge(0)
    return KeyedDecodingContainer(
      MessageKeyedDecodingContainer<Key>(context: context, container: node.payload, path: path))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { try messageContainer() }

  func messageContainer() throws(IPCError) -> MessageUnkeyedDecodingContainer {
    let tape = context.tape
    try context.checkStack(node, path)
    let offset = tape.offset(of: node)
    if let elements = tape.sequence(node) {
      return MessageUnkeyedDecodingContainer(
        context: context, elements: .values(elements), offset: offset, path: path)
    }
    if let numbers = tape.numbers(node) {
      return MessageUnkeyedDecodingContainer(
        context: context, elements: .numbers(numbers), offset: offset, path: path)
    }
    if tape.isBytes(node), node.tag != PickleNode.latin1 {
      let span = tape.span(of: node)
      // One value for the limits of the reader, and many for the type that goes through them.
      try tape.charge(span.count / PickleTape.bytesPerValue)
      let numbers = PickleNumbers(element: .uint8, start: span.lowerBound, count: span.count)
      return MessageUnkeyedDecodingContainer(
        context: context, elements: .numbers(numbers), offset: offset, path: path)
    }
    throw tape.mismatch(node, expected: "a list", path)
  }

  func singleValueContainer() throws -> any SingleValueDecodingContainer { self }

  // MARK: SingleValueDecodingContainer

  func decodeNil() -> Bool { node.tag == PickleOpcode.none }

  @inline(__always)
  private func scalar<S: PickleScalar>(_ type: S.Type) throws(IPCError) -> S {
    try context.scalar(type, node, path, nil)
  }

  func decode(_ type: Bool.Type) throws -> Bool { try scalar(type) }
  func decode(_ type: String.Type) throws -> String { try scalar(type) }
  func decode(_ type: Double.Type) throws -> Double { try scalar(type) }
  func decode(_ type: Float.Type) throws -> Float { try scalar(type) }
  func decode(_ type: Int.Type) throws -> Int { try scalar(type) }
  func decode(_ type: Int8.Type) throws -> Int8 { try scalar(type) }
  func decode(_ type: Int16.Type) throws -> Int16 { try scalar(type) }
  func decode(_ type: Int32.Type) throws -> Int32 { try scalar(type) }
  func decode(_ type: Int64.Type) throws -> Int64 { try scalar(type) }
  func decode(_ type: Int128.Type) throws -> Int128 { try scalar(type) }
  func decode(_ type: UInt.Type) throws -> UInt { try scalar(type) }
  func decode(_ type: UInt8.Type) throws -> UInt8 { try scalar(type) }
  func decode(_ type: UInt16.Type) throws -> UInt16 { try scalar(type) }
  func decode(_ type: UInt32.Type) throws -> UInt32 { try scalar(type) }
  func decode(_ type: UInt64.Type) throws -> UInt64 { try scalar(type) }
  func decode(_ type: UInt128.Type) throws -> UInt128 { try scalar(type) }

  func decode<T: Decodable>(_ type: T.Type) throws -> T {
    try context.decode(type, node, path, nil)
  }
}
