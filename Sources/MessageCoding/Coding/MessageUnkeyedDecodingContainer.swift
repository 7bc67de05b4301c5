// SPDX-License-Identifier: Apache-2.0

/// A `list`, `tuple`, `set` or `bytes` that is being read.
struct MessageUnkeyedDecodingContainer: UnkeyedDecodingContainer {
  let context: MessageDecodingContext
  let elements: Elements
  let count: Int?
  let offset: Int
  let path: MessageCodingPath?
  private(set) var currentIndex = 0

  enum Elements {
    /// Places in the tape.
    case values(Range<Int>)
    /// Bytes, or an array as memory.
    case numbers(PickleNumbers)
  }

  init(
    context: MessageDecodingContext, elements: Elements, offset: Int, path: MessageCodingPath?
  ) {
    self.context = context
    self.elements = elements
    self.offset = offset
    self.path = path
    count =
      switch elements {
      case .values(let places): places.count
      case .numbers(let numbers): numbers.count
      }
  }

  /// Charges for the next element, which is going to be hashed.
  func chargeNext() throws(IPCError) {
    guard case .values(let places) = elements else { return }
    try context.tape.charge(hashing: context.tape.element(places.lowerBound + currentIndex))
  }

  var codingPath: [any CodingKey] { MessageCodingPath.keys(path) }
  var isAtEnd: Bool { currentIndex >= count! }

  @inline(__always)
  private func next() throws(IPCError) -> PickleNode {
    guard currentIndex < count! else {
      throw IPCError(
        .malformedMessage,
        context:
          "\(MessageCodingPath.describe(path)): element \(currentIndex) wanted "
          + "of the \(count!) at offset \(offset)"
      )
    }
    return switch elements {
    case .values(let places): context.tape.element(places.lowerBound + currentIndex)
    case .numbers(let numbers): numbers.node(currentIndex)
    }
  }

  @inline(__always)
  private mutating func scalar<S: PickleScalar>(_ type: S.Type) throws(IPCError) -> S {
    let node = try next()
    guard let value = S.read(node, context.tape, context.conversion) else {
      throw context.tape.mismatch(
        node, type, context.conversion, path, MessageIndexKey(currentIndex))
    }
    currentIndex += 1
    return value
  }

  mutating func decodeNil() throws -> Bool {
    guard try next().tag == PickleOpcode.none else { return false }
    currentIndex += 1
    return true
  }

  mutating func decode(_ type: Bool.Type) throws -> Bool { try scalar(type) }
  mutating func decode(_ type: String.Type) throws -> String { try scalar(type) }
  mutating func decode(_ type: Double.Type) throws -> Double { try scalar(type) }
  mutating func decode(_ type: Float.Type) throws -> Float { try scalar(type) }
  mutating func decode(_ type: Int.Type) throws -> Int { try scalar(type) }
  mutating func decode(_ type: Int8.Type) throws -> Int8 { try scalar(type) }
  mutating func decode(_ type: Int16.Type) throws -> Int16 { try scalar(type) }
  mutating func decode(_ type: Int32.Type) throws -> Int32 { try scalar(type) }
  mutating func decode(_ type: Int64.Type) throws -> Int64 { try scalar(type) }
  mutating func decode(_ type: Int128.Type) throws -> Int128 { try scalar(type) }
  mutating func decode(_ type: UInt.Type) throws -> UInt { try scalar(type) }
  mutating func decode(_ type: UInt8.Type) throws -> UInt8 { try scalar(type) }
  mutating func decode(_ type: UInt16.Type) throws -> UInt16 { try scalar(type) }
  mutating func decode(_ type: UInt32.Type) throws -> UInt32 { try scalar(type) }
  mutating func decode(_ type: UInt64.Type) throws -> UInt64 { try scalar(type) }
  mutating func decode(_ type: UInt128.Type) throws -> UInt128 { try scalar(type) }

  mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
    let value = try context.decode(type, next(), path, MessageIndexKey(currentIndex))
    currentIndex += 1
    return value
  }

  private func decoder() throws(IPCError) -> MessageDecoding {
    try MessageDecoding(
      context: context, node: next(), path: MessageCodingPath(path, MessageIndexKey(currentIndex)))
  }

  mutating func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type
  ) throws -> KeyedDecodingContainer<Nested> {
    let container = try decoder().container(keyedBy: type)
    currentIndex += 1
    return container
  }

  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    let container = try decoder().unkeyedContainer()
    currentIndex += 1
    return container
  }

  mutating func superDecoder() throws -> any Decoder {
    let decoder = try decoder()
    currentIndex += 1
    return decoder
  }
}
