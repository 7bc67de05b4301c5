// SPDX-License-Identifier: Apache-2.0

/// One value of a message, in eight bytes.
///
/// A scalar is its opcode and the offset of its operand in the message, read when it is wanted. A
/// container is its kind and its index in the tape's table. So a message of one-byte values cannot
/// make the reader allocate more than a few times its size.
struct PickleNode {
  private var bits: UInt64

  @inline(__always)
  init(_ tag: UInt8, _ payload: Int) {
    bits = UInt64(tag) << 56 | UInt64(truncatingIfNeeded: payload)
  }

  /// The opcode that spelled the value; for containers the opcode that makes an empty one.
  @inline(__always)
  var tag: UInt8 { UInt8(truncatingIfNeeded: bits >> 56) }

  /// The offset of the operand, or the index of the container.
  @inline(__always)
  var payload: Int { Int(truncatingIfNeeded: bits & 0x007f_ffff_ffff_ffff) }

  /// Whether the value was fetched from the memo, so that its storage is worth sharing.
  var isShared: Bool { bits & Self.sharedBit != 0 }
  mutating func markShared() { bits |= Self.sharedBit }
  private static let sharedBit: UInt64 = 1 << 55

  @inline(__always)
  var isContainer: Bool {
    switch tag {
    case PickleOpcode.emptyList, PickleOpcode.emptyTuple, PickleOpcode.emptyDictionary,
      PickleOpcode.emptySet, PickleOpcode.frozenSet, Self.complex, Self.latin1:
      true
    default: false
    }
  }

  @inline(__always)
  var isString: Bool {
    switch tag {
    case PickleOpcode.shortBinUnicode, PickleOpcode.binUnicode, PickleOpcode.binUnicode8: true
    default: false
    }
  }

  /// Whether it stands for one element of an array as memory; see `PickleElement.tag`.
  @inline(__always)
  var isElement: Bool { tag & 0xf0 == 0xe0 }

  /// Two tags that no opcode has: a complex number (two floats), and bytes spelled as Latin-1 text
  /// (one string).
  static let complex: UInt8 = 0xf0
  static let latin1: UInt8 = 0xf1
}

/// A list, tuple, dictionary (keys and values in turn) or set: where its elements are.
struct PickleContainer {
  /// The first element in the tape's elements; meaningless while `head` names chunks.
  var start: UInt32
  var count: UInt32
  /// The first and last chunk of a container whose batches did not arrive next to each other.
  var head = Self.noChunk
  var tail = Self.noChunk
  /// Where in the message it was made.
  var offset: UInt32
  var tag: UInt8
  /// Made of another container's elements by REDUCE: nothing can be added to it.
  var isFrozen = false
  /// Fetched from the memo: it may occur more than once.
  var isShared = false

  static let noChunk = UInt32.max
}

/// A batch of elements of a container, while reading.
struct PickleChunk {
  var start: UInt32
  var count: UInt32
  var next = PickleContainer.noChunk
}
