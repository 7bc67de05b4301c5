// SPDX-License-Identifier: Apache-2.0

/// A `list` that is being written.
struct MessageUnkeyedEncodingContainer: UnkeyedEncodingContainer {
  let encoding: MessageEncoding
  let serial: Int
  let path: MessageCodingPath?

  var codingPath: [any CodingKey] { MessageCodingPath.keys(path) }
  var count: Int { serial == encoding.serial ? encoding.count : 0 }

  @inline(__always)
  private func scalar(_ value: some PickleScalar) throws(IPCError) {
    try encoding.element(serial, .unkeyed)
    value.write(to: encoding.writer)
  }

  func encodeNil() throws {
    try encoding.element(serial, .unkeyed)
    encoding.writer.opcode(PickleOpcode.none)
  }

  func encode(_ value: Bool) throws { try scalar(value) }
  func encode(_ value: String) throws { try scalar(value) }
  func encode(_ value: Double) throws { try scalar(value) }
  func encode(_ value: Float) throws { try scalar(value) }
  func encode(_ value: Int) throws { try scalar(value) }
  func encode(_ value: Int8) throws { try scalar(value) }
  func encode(_ value: Int16) throws { try scalar(value) }
  func encode(_ value: Int32) throws { try scalar(value) }
  func encode(_ value: Int64) throws { try scalar(value) }
  func encode(_ value: Int128) throws { try scalar(value) }
  func encode(_ value: UInt) throws { try scalar(value) }
  func encode(_ value: UInt8) throws { try scalar(value) }
  func encode(_ value: UInt16) throws { try scalar(value) }
  func encode(_ value: UInt32) throws { try scalar(value) }
  func encode(_ value: UInt64) throws { try scalar(value) }
  func encode(_ value: UInt128) throws { try scalar(value) }

  func encode<T: Encodable>(_ value: T) throws {
    let start = encoding.writer.count
    let count = encoding.count
    try encoding.element(serial, .unkeyed)
    do {
      try encoding.encode(value, path, MessageIndexKey(count))
    } catch {
      encoding.writer.truncate(to: start)
      encoding.count = count
      throw error
    }
  }

  private func part(_ kind: MessageEncoding.Kind) -> MessageEncoding {
    let path = MessageCodingPath(path, MessageIndexKey(count))
    guard (try? encoding.element(serial, .unkeyed)) != nil else { return .unusable(path) }
    return encoding.makePart(path, kind)
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy keyType: Nested.Type
  ) -> KeyedEncodingContainer<Nested> {
    let part = part(.keyed)
    return KeyedEncodingContainer(
      MessageKeyedEncodingContainer<Nested>(encoding: part, serial: 0, path: part.path))
  }

  func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
    let part = part(.unkeyed)
    return MessageUnkeyedEncodingContainer(encoding: part, serial: 0, path: part.path)
  }

  func superEncoder() -> any Encoder {
    let part = part(.nothing)
    return MessageValueEncoder(encoding: part, serial: 0, path: part.path)
  }
}
