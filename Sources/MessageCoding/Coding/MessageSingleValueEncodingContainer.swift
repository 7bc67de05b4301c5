// SPDX-License-Identifier: Apache-2.0

/// A value that is one value: a scalar, or another type that stands for it.
struct MessageSingleValueEncodingContainer: SingleValueEncodingContainer {
  let encoding: MessageEncoding
  let serial: Int
  let path: MessageCodingPath?

  var codingPath: [any CodingKey] { MessageCodingPath.keys(path) }

  @inline(__always)
  private func scalar(_ value: some PickleScalar) throws(IPCError) {
    try encoding.single(serial)
    value.write(to: encoding.writer)
  }

  func encodeNil() throws {
    try encoding.single(serial)
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
    try encoding.single(serial)
    do {
      try encoding.encode(value, path, nil)
    } catch {
      encoding.kind = .nothing
      throw error
    }
  }
}
