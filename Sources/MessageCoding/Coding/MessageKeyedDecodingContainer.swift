// SPDX-License-Identifier: Apache-2.0

/// A `dict` that is being read. Its methods are one line each, one for every scalar type that
/// Codable names.
struct MessageKeyedDecodingContainer<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let context: MessageDecodingContext
  let container: Int
  let path: MessageCodingPath?

  var codingPath: [any CodingKey] { MessageCodingPath.keys(path) }

  private var children: Range<Int> {
    context.tape.children(of: PickleNode(PickleOpcode.emptyDictionary, container))
  }

  /// The keys that `Key` knows.
  var allKeys: [Key] {
    let tape = context.tape
    return stride(from: children.lowerBound, to: children.upperBound, by: 2).compactMap { place in
      let node = tape.element(place)
      tape.note(shared: node)
      if let text = tape.string(node) { return Key(stringValue: text) }
      return tape.smallInteger(node).flatMap { Key(intValue: Int($0)) }
    }
  }

  func contains(_ key: Key) -> Bool { find(key) != nil }

  /// The place of a key's value. It looks first where the last key's value ended.
  @inline(__always)
  private func find(_ key: some CodingKey) -> Int? {
    let tape = context.tape
    let children = children
    let hint = tape.keyContainer == container ? tape.nextKey : children.lowerBound
    var name = key.stringValue
    let place = name.withUTF8 { utf8 -> Int? in
      var place = hint
      for _ in 0..<min(children.count / 2, PickleKeyIndex.scanned) {
        if place >= children.upperBound { place = children.lowerBound }
        if unsafe tape.isString(tape.element(place), utf8) { return place + 1 }
        place += 2
      }
      if children.count / 2 <= PickleKeyIndex.scanned { return nil }
      return unsafe findFar(from: place, utf8)
    }
    if let place {
      tape.keyContainer = container
      tape.nextKey = place + 1
      return place
    }
    return findInteger(key)
  }

  /// In a large dictionary, when the next keys are others.
  @inline(never)
  private func findFar(from start: Int, _ utf8: UnsafeBufferPointer<UInt8>) -> Int? {
    let tape = context.tape
    if let index = tape.keyIndex(of: container) { return unsafe index.find(utf8, tape) }
    let children = children
    var place = start
    for _ in PickleKeyIndex.scanned..<children.count / 2 {
      if place >= children.upperBound { place = children.lowerBound }
      if unsafe tape.isString(tape.element(place), utf8) { return place + 1 }
      place += 2
    }
    return nil
  }

  /// A `dict` with integers as keys, for a key that has one.
  private func findInteger(_ key: some CodingKey) -> Int? {
    guard let wanted = key.intValue else { return nil }
    let tape = context.tape
    let children = children
    if children.count / 2 > PickleKeyIndex.scanned,
      let index = tape.keyIndex(of: container)
    {
      return index.find(Int64(wanted))
    }
    for place in stride(from: children.lowerBound, to: children.upperBound, by: 2)
    where tape.smallInteger(tape.element(place)) == Int64(wanted) {
      return place + 1
    }
    return nil
  }

  private func missing(_ key: any CodingKey) -> IPCError {
    IPCError(
      .malformedMessage,
      context:
        "\(MessageCodingPath.describe(path, key)): no such key in the dictionary at offset "
        + "\(context.tape.container(container).offset)"
    )
  }

  @inline(__always)
  private func scalar<S: PickleScalar>(_ type: S.Type, _ key: Key) throws(IPCError) -> S {
    guard let place = find(key) else { throw missing(key) }
    let node = context.tape.element(place)
    guard let value = S.read(node, context.tape, context.conversion) else {
      throw context.tape.mismatch(node, type, context.conversion, path, key)
    }
    return value
  }

  @inline(__always)
  private func optional<S: PickleScalar>(_ type: S.Type, _ key: Key) throws(IPCError) -> S? {
    guard let place = find(key) else { return nil }
    let node = context.tape.element(place)
    if node.tag == PickleOpcode.none { return nil }
    guard let value = S.read(node, context.tape, context.conversion) else {
      throw context.tape.mismatch(node, type, orNone: true, context.conversion, path, key)
    }
    return value
  }

  func decodeNil(forKey key: Key) throws -> Bool {
    guard let place = find(key) else { throw missing(key) }
    return context.tape.element(place).tag == PickleOpcode.none
  }

  func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try scalar(type, key) }
  func decode(_ type: String.Type, forKey key: Key) throws -> String { try scalar(type, key) }
  func decode(_ type: Double.Type, forKey key: Key) throws -> Double { try scalar(type, key) }
  func decode(_ type: Float.Type, forKey key: Key) throws -> Float { try scalar(type, key) }
  func decode(_ type: Int.Type, forKey key: Key) throws -> Int { try scalar(type, key) }
  func decode(_ type: Int8.Type, forKey key: Key) throws -> Int8 { try scalar(type, key) }
  func decode(_ type: Int16.Type, forKey key: Key) throws -> Int16 { try scalar(type, key) }
  func decode(_ type: Int32.Type, forKey key: Key) throws -> Int32 { try scalar(type, key) }
  func decode(_ type: Int64.Type, forKey key: Key) throws -> Int64 { try scalar(type, key) }
  func decode(_ type: Int128.Type, forKey key: Key) throws -> Int128 { try scalar(type, key) }
  func decode(_ type: UInt.Type, forKey key: Key) throws -> UInt { try scalar(type, key) }
  func decode(_ type: UInt8.Type, forKey key: Key) throws -> UInt8 { try scalar(type, key) }
  func decode(_ type: UInt16.Type, forKey key: Key) throws -> UInt16 { try scalar(type, key) }
  func decode(_ type: UInt32.Type, forKey key: Key) throws -> UInt32 { try scalar(type, key) }
  func decode(_ type: UInt64.Type, forKey key: Key) throws -> UInt64 { try scalar(type, key) }
  func decode(_ type: UInt128.Type, forKey key: Key) throws -> UInt128 { try scalar(type, key) }

  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
    guard let place = find(key) else { throw missing(key) }
    return try decode(type, place, key)
  }

  func decodeIfPresent(_ type: Bool.Type, forKey key: Key) throws -> Bool? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Double.Type, forKey key: Key) throws -> Double? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Float.Type, forKey key: Key) throws -> Float? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Int.Type, forKey key: Key) throws -> Int? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Int8.Type, forKey key: Key) throws -> Int8? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Int16.Type, forKey key: Key) throws -> Int16? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Int32.Type, forKey key: Key) throws -> Int32? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Int64.Type, forKey key: Key) throws -> Int64? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: Int128.Type, forKey key: Key) throws -> Int128? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: UInt.Type, forKey key: Key) throws -> UInt? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: UInt8.Type, forKey key: Key) throws -> UInt8? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: UInt16.Type, forKey key: Key) throws -> UInt16? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: UInt32.Type, forKey key: Key) throws -> UInt32? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: UInt64.Type, forKey key: Key) throws -> UInt64? {
    try optional(type, key)
  }
  func decodeIfPresent(_ type: UInt128.Type, forKey key: Key) throws -> UInt128? {
    try optional(type, key)
  }

  func decodeIfPresent<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T? {
    guard let place = find(key), context.tape.element(place).tag != PickleOpcode.none else {
      return nil
    }
    return try decode(type, place, key)
  }

  private func decode<T: Decodable>(_ type: T.Type, _ place: Int, _ key: Key) throws -> T {
    let value = try context.decode(type, context.tape.element(place), path, key)
    // The value may have looked for keys of its own.
    context.tape.keyContainer = container
    context.tape.nextKey = place + 1
    return value
  }

  private func decoder(_ key: some CodingKey) throws(IPCError) -> MessageDecoding {
    guard let place = find(key) else { throw missing(key) }
    return MessageDecoding(
      context: context, node: context.tape.element(place), path: MessageCodingPath(path, key))
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> {
    try decoder(key).container(keyedBy: type)
  }

  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    try decoder(key).unkeyedContainer()
  }

  func superDecoder() throws -> any Decoder { try decoder(MessageIndexKey.super) }
  func superDecoder(forKey key: Key) throws -> any Decoder { try decoder(key) }
}
