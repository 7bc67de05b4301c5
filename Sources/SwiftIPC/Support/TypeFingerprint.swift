// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// A number for an element type, the same in every process and build, and in every language where the
/// type has a name that does not depend on one.
enum TypeFingerprint {
  /// The hash of the type's shared name, as `cipc_fingerprint_of` has it.
  static func of(_ type: Any.Type) -> UInt64 { unsafe cipc_fingerprint_of(sharedName(of: type)) }

  /// What programs know the type by: that of the C library's list, the one that the type gives itself,
  /// or its qualified name.
  static func sharedName(of type: Any.Type) -> String {
    if let name = listed[ObjectIdentifier(type)] { return name }
    if let type = type as? any NamedType.Type { return type.sharedName }
    return name(of: type)
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

  private static let isWide = Int.bitWidth == 64

  // CIPC_ELEMENT_LIST, a macro that Swift does not see; TypeFingerprintTests compares.
  private static let listed: [ObjectIdentifier: String] = {
    var names: [ObjectIdentifier: String] = [
      ObjectIdentifier(Int8.self): "int8", ObjectIdentifier(Int16.self): "int16",
      ObjectIdentifier(Int32.self): "int32", ObjectIdentifier(Int64.self): "int64",
      ObjectIdentifier(Int128.self): "int128", ObjectIdentifier(UInt8.self): "uint8",
      ObjectIdentifier(UInt16.self): "uint16", ObjectIdentifier(UInt32.self): "uint32",
      ObjectIdentifier(UInt64.self): "uint64", ObjectIdentifier(UInt128.self): "uint128",
      ObjectIdentifier(Int.self): isWide ? "int64" : "int32",
      ObjectIdentifier(UInt.self): isWide ? "uint64" : "uint32",
      ObjectIdentifier(Float16.self): "float16", ObjectIdentifier(Float.self): "float32",
      ObjectIdentifier(Double.self): "float64", ObjectIdentifier(Bool.self): "bool",
    ]
    #if arch(x86_64) || arch(i386)
      names[ObjectIdentifier(Float80.self)] = "float80"
    #endif
    return names
  }()
}

extension cipc_element_t {
  /// A Swift type as the element of a segment.
  init<T>(of type: T.Type) {
    self.init(
      size: UInt64(MemoryLayout<T>.size), stride: UInt64(MemoryLayout<T>.stride),
      alignment: UInt64(MemoryLayout<T>.alignment), fingerprint: TypeFingerprint.of(type))
  }
}
