// SPDX-License-Identifier: Apache-2.0

/// The encoder that a type's `encode(to:)` gets: where to write, and which value this is.
///
/// Three words, so that it fits an existential without memory of its own.
struct MessageValueEncoder: Encoder {
  let encoding: MessageEncoding
  let serial: Int
  let path: MessageCodingPath?

  var codingPath: [any CodingKey] { MessageCodingPath.keys(path) }
  var userInfo: [CodingUserInfoKey: Any] { encoding.context.userInfo }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    if serial == encoding.serial { encoding.open(.keyed) }
    return KeyedEncodingContainer(
      MessageKeyedEncodingContainer<Key>(encoding: encoding, serial: serial, path: path))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    if serial == encoding.serial { encoding.open(.unkeyed) }
    return MessageUnkeyedEncodingContainer(encoding: encoding, serial: serial, path: path)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer {
    MessageSingleValueEncodingContainer(encoding: encoding, serial: serial, path: path)
  }
}
