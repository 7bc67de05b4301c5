// SPDX-License-Identifier: Apache-2.0
import CIPC

/// Names for the element types of which a segment holds only a hash: those that every language knows.
enum ElementType {
  private static let names = [
    "int8", "int16", "int32", "int64", "int128", "uint8", "uint16", "uint32", "uint64", "uint128",
    "float16", "float32", "float64", "float80", "bool",
  ]

  private static let byFingerprint: [UInt64: String] = {
    var found: [UInt64: String] = [:]
    for name in names { found[cipc_fingerprint_of(name)] = name }
    return found
  }()

  private static let byQueue: [UInt64: String] = {
    var found: [UInt64: String] = [:]
    for name in names {
      let element = cipc_element(name)
      found[cipc_ring_fingerprint(Int32(CIPC_RING_OF_MESSAGES), element)] = name
      found[cipc_ring_fingerprint(Int32(CIPC_RING_OF_ELEMENTS), element)] = name
      found[cipc_ring_fingerprint(Int32(CIPC_RING_OF_ARRAYS), element)] = "[\(name)]"
    }
    var message = cipc_element_t()
    message.fingerprint = cipc_fingerprint_of("SwiftIPC.MessageValue")
    found[cipc_ring_fingerprint(Int32(CIPC_RING_OF_MESSAGES), &message)] = "MessageValue"
    for name in ["bytes", "text"] { found[cipc_fingerprint_of(name)] = name }
    return found
  }()

  static func name(_ type: cipc_segment_type_t) -> String? {
    if Int(type.kind) == CIPC_KIND_RING { return byQueue[type.fingerprint] }
    guard type.element_size != 0 else { return nil }
    return byFingerprint[type.fingerprint]
  }
}
