// SPDX-License-Identifier: Apache-2.0

/// How an encoder or decoder came to where it is. Made for nested values alone: scalars cost none.
final class MessageCodingPath {
  let parent: MessageCodingPath?
  let key: any CodingKey
  let depth: Int

  init(_ parent: MessageCodingPath?, _ key: any CodingKey) {
    self.parent = parent
    self.key = key
    depth = (parent?.depth ?? 0) + 1
  }

  static func keys(_ path: MessageCodingPath?) -> [any CodingKey] {
    var keys: [any CodingKey] = []
    var next = path
    while let node = next {
      keys.append(node.key)
      next = node.parent
    }
    return keys.reversed()
  }

  /// The path as an error shows it: `values[3].id`.
  static func describe(_ path: MessageCodingPath?, _ key: (any CodingKey)? = nil) -> String {
    describe(keys(path) + (key.map { [$0] } ?? []))
  }

  static func describe(_ keys: [any CodingKey]) -> String {
    var text = keys.count > maximumShown ? "…" : ""
    for key in keys.suffix(maximumShown) {
      if let index = key.intValue, key.stringValue == "\(index)" || key is MessageIndexKey {
        text += "[\(index)]"
      } else {
        text += text.isEmpty ? key.stringValue.excerpt() : ".\(key.stringValue.excerpt())"
      }
    }
    return text.isEmpty ? "the message" : text
  }

  /// The innermost keys tell most.
  private static let maximumShown = 12
}

extension String {
  /// The beginning, escaped: for errors that quote what a peer sent.
  package func excerpt(_ shown: Int = 64) -> String { beginning(shown).escaped }

  /// The text, or its beginning where it is long. Counted in bytes, since a single character may be of
  /// any length.
  func beginning(_ shown: Int) -> String {
    utf8.count <= shown ? self : String(decoding: utf8.prefix(shown), as: UTF8.self) + "…"
  }
}

/// The key of an element of a list, or of the value that a superclass encodes into.
struct MessageIndexKey: CodingKey {
  let stringValue: String
  let intValue: Int?

  init(_ index: Int) {
    stringValue = "Index \(index)"
    intValue = index
  }
  init(stringValue: String) {
    self.stringValue = stringValue
    intValue = nil
  }
  init(intValue: Int) { self.init(intValue) }

  static let `super` = MessageIndexKey(stringValue: "super")
}
