// SPDX-License-Identifier: Apache-2.0

/// The type of the elements of an array that a message holds as memory. In the bytes each is the letter
/// that Python's `struct` has for it; `struct` knows none for 128 bits.
enum PickleElement: UInt8 {
  case double = 0x64  // d
  case float = 0x66  // f
  case half = 0x65  // e
  case int64 = 0x71  // q
  case uint64 = 0x51  // Q
  case int32 = 0x69  // i
  case uint32 = 0x49  // I
  case int16 = 0x68  // h
  case uint16 = 0x48  // H
  case int8 = 0x62  // b
  case uint8 = 0x42  // B
  case int128 = 0x6f  // o
  case uint128 = 0x4f  // O

  /// The one of a type, `nil` for a type that is no number.
  @inline(__always)
  init?<T>(_ type: T.Type) {
    if T.self == Double.self {
      self = .double
    } else if T.self == Float.self {
      self = .float
    } else if T.self == Int.self || T.self == Int64.self {
      self = .int64
    } else if T.self == Int32.self {
      self = .int32
    } else if T.self == UInt.self || T.self == UInt64.self {
      self = .uint64
    } else if T.self == UInt32.self {
      self = .uint32
    } else if T.self == Int16.self {
      self = .int16
    } else if T.self == UInt16.self {
      self = .uint16
    } else if T.self == Int8.self {
      self = .int8
    } else if T.self == UInt8.self {
      self = .uint8
    } else if T.self == Float16.self {
      self = .half
    } else if T.self == Int128.self {
      self = .int128
    } else if T.self == UInt128.self {
      self = .uint128
    } else {
      return nil
    }
  }

  /// Bytes from one to the next; they follow each other without gaps.
  @inline(__always)
  var stride: Int {
    switch self {
    case .int8, .uint8: 1
    case .half, .int16, .uint16: 2
    case .float, .int32, .uint32: 4
    case .double, .int64, .uint64: 8
    case .int128, .uint128: 16
    }
  }

  /// The tag of a node that stands for one element. No opcode has it. The node's payload is the element's
  /// offset in the message.
  var tag: UInt8 {
    switch self {
    case .double: 0xe0
    case .float: 0xe1
    case .half: 0xe2
    case .int64: 0xe3
    case .uint64: 0xe4
    case .int32: 0xe5
    case .uint32: 0xe6
    case .int16: 0xe7
    case .uint16: 0xe8
    case .int8: 0xe9
    case .uint8: 0xea
    case .int128: 0xeb
    case .uint128: 0xec
    }
  }
}

/// The array as memory that a node stands for: where its elements are.
struct PickleNumbers {
  var element: PickleElement
  /// The offset of the first one in the message. At no particular alignment, so they are copied.
  var start: Int
  var count: Int

  /// Behind the opcode: the letter of the type, then the number of elements in 64 bits.
  static let headerSize = 9

  /// Where they begin in a message that is nothing else.
  static let startAlone = 3 + headerSize

  /// The message of nothing but such an array, in one copy; `nil` for bytes, which Python knows, and for
  /// no numbers at all, which are a list.
  @unsafe static func message(
    _ element: PickleElement, _ numbers: UnsafeRawBufferPointer
  ) -> [UInt8]? {
    if element == .uint8 || numbers.count == 0 { return nil }
    return unsafe [UInt8](
      unsafeUninitializedCapacity: startAlone + numbers.count + 1
    ) { buffer, count in
      count = startAlone + numbers.count + 1
      let raw = UnsafeMutableRawBufferPointer(buffer)
      unsafe raw[0] = PickleOpcode.proto
      unsafe raw[1] = PickleOpcode.memoryProtocol
      unsafe raw[2] = PickleOpcode.numbers
      unsafe raw[3] = element.rawValue
      unsafe raw.storeBytes(
        of: UInt64(numbers.count / element.stride).littleEndian, toByteOffset: 4, as: UInt64.self)
      unsafe UnsafeMutableRawBufferPointer(rebasing: raw[startAlone...]).copyMemory(from: numbers)
      unsafe raw[count - 1] = PickleOpcode.stop
    }
  }

  /// A node for one of the elements.
  @inline(__always)
  func node(_ index: Int) -> PickleNode {
    PickleNode(element.tag, start + index * element.stride)
  }
}
