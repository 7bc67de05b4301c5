// SPDX-License-Identifier: Apache-2.0

extension String {
  /// The text on one line: names of segments and processes are chosen by any user of the machine, and
  /// must not do anything to a terminal. As the library shows what a peer sent.
  var escaped: String {
    var text = ""
    for scalar in unicodeScalars {
      let isEscaped =
        switch scalar.properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: true
        case .format:
          scalar.properties.isBidiControl || (0xe0000...0xe007f).contains(scalar.value)
        default: false
        }
      if isEscaped {
        text += "\\u{\(String(scalar.value, radix: 16, uppercase: true))}"
      } else {
        text.unicodeScalars.append(scalar)
      }
    }
    return text
  }
}
