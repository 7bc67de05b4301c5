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

/// A list, tuple, dictionary (keys and values in turn) or set: where its elements are. Sixteen bytes,
/// since a message can have one of these in each of its bytes.
struct PickleContainer {
  /// The first element in the tape's elements; the number of its chain while it is chained.
  var start: UInt32
  var count: UInt32
  /// Where in the message it was made.
  var offset: UInt32
  var tag: UInt8
  private var flags: Flags = []

  private struct Flags: OptionSet {
    var rawValue: UInt8
    static let frozen = Flags(rawValue: 1)
    static let shared = Flags(rawValue: 2)
    static let chained = Flags(rawValue: 4)
  }

  init(start: UInt32, count: UInt32, offset: UInt32, tag: UInt8, isFrozen: Bool = false) {
    self.start = start
    self.count = count
    self.offset = offset
    self.tag = tag
    self.isFrozen = isFrozen
  }

  /// Made of another container's elements by REDUCE: nothing can be added to it.
  var isFrozen: Bool {
    get { flags.contains(.frozen) }
    set { if newValue { flags.insert(.frozen) } else { flags.remove(.frozen) } }
  }

  /// Fetched from the memo: it may occur more than once.
  var isShared: Bool {
    @inline(__always) get { flags.contains(.shared) }
    set { if newValue { flags.insert(.shared) } else { flags.remove(.shared) } }
  }

  /// Its batches did not arrive next to each other, and have not been put there yet.
  var isChained: Bool {
    get { flags.contains(.chained) }
    set { if newValue { flags.insert(.chained) } else { flags.remove(.chained) } }
  }
}

/// A batch of elements of a container, while reading.
struct PickleChunk {
  var start: UInt32
  var count: UInt32
  var next = PickleChunk.none

  static let none = UInt32.max
}

/// The first and last batch of a container, while reading.
struct PickleChain {
  var head: UInt32
  var tail: UInt32
}
