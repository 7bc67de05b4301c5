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

  /// Those of queues, with which the library's QueueFormat has mixed how elements become bytes.
  private static let byQueue: [UInt64: String] = {
    let sizes: [String: UInt64] = [
      "Int8": 1, "UInt8": 1, "Int16": 2, "UInt16": 2, "Int32": 4, "UInt32": 4, "Float": 4,
      "Int": 8, "UInt": 8, "Int64": 8, "UInt64": 8, "Double": 8,
    ]
    var found: [UInt64: String] = [:]
    func add(_ qualified: String, _ format: UInt64, _ name: String) {
      found[(hash(qualified) ^ format) &* 0x0000_0100_0000_01b3] = name
    }
    for (name, size) in sizes {
      add("Swift." + name, 1 + size << 8, name)
      add("Swift.Array<Swift.\(name)>", 2 + size << 8, "[\(name)]")
    }
    add("Swift.String", 3, "String")
    add("Swift.Bool", 4, "Bool")
    add("SwiftIPC.MessageValue", 4, "MessageValue")
    return found
  }()

  static func name(_ type: cipc_segment_type_t) -> String? {
    if Int(type.kind) == CIPC_KIND_RING { return byQueue[type.fingerprint] }
    guard type.element_size != 0 else { return nil }
    return byFingerprint[type.fingerprint]
  }

  /// The 64-bit FNV-1a hash, as the library's TypeFingerprint has it.
  private static func hash(_ name: String) -> UInt64 {
    name.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
  }
}
