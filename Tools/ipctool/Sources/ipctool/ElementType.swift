// SPDX-License-Identifier: Apache-2.0
import CIPC

/// Names for the element types of which a segment holds only a hash.
enum ElementType {
  private static let names = [
    "Swift.Bool", "Swift.Int", "Swift.Int8", "Swift.Int16", "Swift.Int32", "Swift.Int64",
    "Swift.UInt", "Swift.UInt8", "Swift.UInt16", "Swift.UInt32", "Swift.UInt64", "Swift.Float",
    "Swift.Double",
  ]
  private static let byFingerprint = Dictionary(
    uniqueKeysWithValues: names.map { (hash($0), String($0.dropFirst("Swift.".count))) })

  static func name(_ type: cipc_segment_type_t) -> String? {
    guard type.element_size != 0 else { return nil }
    return byFingerprint[type.fingerprint]
  }

  /// The 64-bit FNV-1a hash, as the library's TypeFingerprint has it.
  private static func hash(_ name: String) -> UInt64 {
    name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
  }
}
