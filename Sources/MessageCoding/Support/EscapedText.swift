// SPDX-License-Identifier: Apache-2.0

extension String {
  /// The text on one line, for errors and logs that quote another process: control characters, line and
  /// paragraph separators, and what changes the direction of text are written as in Swift's source,
  /// `\\n` and `\\u{1b}`. Doing it twice changes nothing more.
  package var escaped: String {
    // Printable ASCII is all of it as a rule.
    if utf8.allSatisfy({ (0x20..<0x7f).contains($0) }) { return self }
    var text = ""
    text.unicodeScalars.reserveCapacity(unicodeScalars.count)
    for scalar in unicodeScalars {
      switch scalar {
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _ where scalar.isEscaped:
        text += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}

extension Unicode.Scalar {
  /// Whether printing it does something else than show a character.
  fileprivate var isEscaped: Bool {
    switch properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator: true
    // Marks, embeddings, overrides and isolates of direction; and tags, which are invisible text.
    case .format: properties.isBidiControl || (0xe0000...0xe007f).contains(value)
    default: false
    }
  }
}
