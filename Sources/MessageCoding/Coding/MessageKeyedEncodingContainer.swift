// SPDX-License-Identifier: Apache-2.0

/// A `dict` that is being written. Its methods are one line each, one for every scalar type that
/// Codable names, since a generic one would cost a cast.
struct MessageKeyedEncodingContainer<Key: CodingKey>: KeyedEncodingContainerProtocol {
  let encoding: MessageEncoding
  let serial: Int
  let path: MessageCodingPath?

  var codingPath: [any CodingKey] { MessageCodingPath.keys(path) }

  @inline(__always)
  private func scalar(_ value: some PickleScalar, _ key: Key) throws(IPCError) {
    try encoding.element(serial, .keyed)
    encoding.writer.string(key.stringValue)
    value.write(to: encoding.writer)
  }

  @inline(__always)
  private func optional(_ value: (some PickleScalar)?, _ key: Key) throws(IPCError) {
    if let value { try scalar(value, key) } else { try encodeNil(forKey: key) }
  }

  func encodeNil(forKey key: Key) throws(IPCError) {
    try encoding.element(serial, .keyed)
    encoding.writer.string(key.stringValue)
    encoding.writer.opcode(PickleOpcode.none)
  }

  func encode(_ value: Bool, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: String, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: Double, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: Float, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: Int, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: Int8, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: Int16, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: Int32, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: Int64, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: Int128, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: UInt, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: UInt8, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: UInt16, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: UInt32, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: UInt64, forKey key: Key) throws { try scalar(value, key) }
  func encode(_ value: UInt128, forKey key: Key) throws { try scalar(value, key) }

  func encode<T: Encodable>(_ value: T, forKey key: Key) throws {
    let start = encoding.writer.count
    let count = encoding.count
    try encoding.element(serial, .keyed)
    encoding.writer.string(key.stringValue)
    do {
      try encoding.encode(value, path, key)
    } catch {
      encoding.writer.truncate(to: start)
      encoding.count = count
      throw error
    }
  }

  // A property that is nil is there and is None, so that Python can ask for it.
  func encodeIfPresent(_ value: Bool?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: String?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Double?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Float?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Int?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Int8?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Int16?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Int32?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Int64?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: Int128?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: UInt?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: UInt8?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: UInt16?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: UInt32?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: UInt64?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent(_ value: UInt128?, forKey key: Key) throws { try optional(value, key) }
  func encodeIfPresent<T: Encodable>(_ value: T?, forKey key: Key) throws {
    if let value { try encode(value, forKey: key) } else { try encodeNil(forKey: key) }
  }

  // Codable does not let these throw: an unusable container throws when something is encoded into it.
  private func part(_ key: any CodingKey, _ name: String, _ kind: MessageEncoding.Kind)
    -> MessageEncoding
  {
    let path = MessageCodingPath(path, key)
    guard (try? encoding.element(serial, .keyed)) != nil else { return .unusable(path) }
    encoding.writer.string(name)
    return encoding.makePart(path, kind)
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy keyType: Nested.Type, forKey key: Key
  ) -> KeyedEncodingContainer<Nested> {
    let part = part(key, key.stringValue, .keyed)
    return KeyedEncodingContainer(
      MessageKeyedEncodingContainer<Nested>(encoding: part, serial: 0, path: part.path))
  }

  func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
    let part = part(key, key.stringValue, .unkeyed)
    return MessageUnkeyedEncodingContainer(encoding: part, serial: 0, path: part.path)
  }

  func superEncoder() -> any Encoder {
    let part = part(MessageIndexKey.super, MessageIndexKey.super.stringValue, .nothing)
    return MessageValueEncoder(encoding: part, serial: 0, path: part.path)
  }

  func superEncoder(forKey key: Key) -> any Encoder {
    let part = part(key, key.stringValue, .nothing)
    return MessageValueEncoder(encoding: part, serial: 0, path: part.path)
  }
}
