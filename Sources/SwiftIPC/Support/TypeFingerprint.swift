// SPDX-License-Identifier: Apache-2.0

/// A number for an element type, the same in every process and build of one program.
enum TypeFingerprint {
  /// The 64-bit FNV-1a hash of the type's qualified name.
  static func of(_ type: Any.Type) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name(of: type).utf8 {
      hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
    }
    return hash
  }

  /// The name without the addresses that the runtime puts in place of private scopes, as in
  /// `Program.(unknown context at $5581f0c2a1b4).Reading`: they differ in every process.
  static func name(of type: Any.Type) -> String {
    var name = ""
    var isAddress = false
    for character in String(reflecting: type) {
      isAddress = character == "$" || (isAddress && character.isHexDigit)
      if !isAddress { name.append(character) }
    }
    return name
  }
}
