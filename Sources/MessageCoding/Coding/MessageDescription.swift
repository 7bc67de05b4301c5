// SPDX-License-Identifier: Apache-2.0

/// Writes a value as text, up to a length: a value whose parts are shared may be far longer as text
/// than the message was that it came in. Without recursion.
package struct MessageDescription {
  private(set) var text = ""
  private let limit: Int
  private var path: [Level] = []

  /// A list, or a dictionary as its keys and values in turn, that is being written.
  private struct Level {
    var elements: Elements
    var next = 0
    let closing: StaticString
  }

  private enum Elements {
    case values([MessageValue])
    case dictionary(MessageDictionary)
  }

  /// How long descriptions become unless a limit is given.
  static let usual = 1 << 20

  package init(limit: Int = usual) { self.limit = limit }

  /// The value as text: its beginning and "…" where that is longer than the limit.
  package static func text(of value: MessageValue, limit: Int = usual) -> String {
    var description = MessageDescription(limit: limit)
    description.write(value)
    return description.cut()
  }

  package var isFull: Bool { text.utf8.count > limit }

  /// What was written, cut at the limit.
  package func cut() -> String { text.excerpt(limit) }

  package mutating func write(_ part: String) { text += part }

  package mutating func write(_ value: MessageValue) {
    begin(value)
    while let level = path.last {
      if isFull { return path.removeAll() }
      let place = level.next
      path[path.count - 1].next += 1
      switch level.elements {
      case .values(let values):
        if place == values.count {
          text += "\(level.closing)"
          path.removeLast()
          continue
        }
        if place > 0 { text += ", " }
        begin(values[place])
      case .dictionary(let dictionary):
        if place == 2 * dictionary.count {
          text += "\(level.closing)"
          path.removeLast()
          continue
        }
        if place > 0 { text += place % 2 == 0 ? ", " : ": " }
        let (key, value) = dictionary[dictionary.index(dictionary.startIndex, offsetBy: place / 2)]
        begin(place % 2 == 0 ? key : value)
      }
    }
  }

  private mutating func begin(_ value: MessageValue) {
    switch value {
    case .null: text += "nil"
    case .bool(let value): text += value.description
    case .integer(let value): text += value.description
    case .bigInteger(let value): text += value.description
    case .double(let value): text += value.description
    case .string(let value): text += value.beginning(limit).debugDescription.escaped
    case .bytes(let value): write(value)
    case .array(let values): open("[", .values(values), "]")
    case .tuple(let values): open("(", .values(values), values.count == 1 ? ",)" : ")")
    case .dictionary(let dictionary):
      if dictionary.isEmpty { text += "[:]" } else { open("[", .dictionary(dictionary), "]") }
    case .set(let values): open("Set([", .values(Array(values)), "])")
    case .frozenSet(let values): open("FrozenSet([", .values(Array(values)), "])")
    case .complex(let real, let imaginary): text += "(\(real) + \(imaginary)i)"
    }
  }

  private mutating func open(
    _ opening: StaticString, _ elements: Elements, _ closing: StaticString
  ) {
    text += "\(opening)"
    path.append(Level(elements: elements, closing: closing))
  }

  private mutating func write(_ bytes: [UInt8]) {
    text += "<"
    for (place, byte) in bytes.prefix(limit).enumerated() {
      if place > 0 { text += " " }
      if byte < 16 { text += "0" }
      text += String(byte, radix: 16)
    }
    text += ">"
  }
}

extension MessageValue: CustomStringConvertible {
  /// The value as a Swift literal where there is one: `[42, nil, "hello"]`. What is longer than a
  /// mebibyte is cut there, and ends with "…".
  public var description: String { MessageDescription.text(of: self) }
}

extension MessageDictionary: CustomStringConvertible {
  /// As a literal: `["a": 1]`. What is longer than a mebibyte is cut there, and ends with "…".
  public var description: String { MessageDescription.text(of: .dictionary(self)) }
}
