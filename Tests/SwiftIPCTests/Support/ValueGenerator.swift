// SPDX-License-Identifier: Apache-2.0
import SwiftIPC

/// Random values that are the same in each run.
struct ValueGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    // SplitMix64.
    state &+= 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
    return word ^ word >> 31
  }

  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

  mutating func scalar() -> MessageValue {
    switch below(8) {
    case 0: .null
    case 1: .bool(below(2) == 0)
    case 2: .integer(Int64(truncatingIfNeeded: next()) >> Int64(below(64)))
    case 3: MessageValue.integer(Int128(truncatingIfNeeded: next()) << Int128(below(64)))
    case 4: .double(Double(Int64(truncatingIfNeeded: next())) / 1024)
    case 5: .bytes((0..<below(20)).map { _ in UInt8(truncatingIfNeeded: next()) })
    default:
      .string(
        String(
          (0..<below(20)).map { _ in ["a", "Z", "é", "€", "😀", "\n", "\0"][below(7)] as Character })
      )
    }
  }

  mutating func key() -> MessageValue {
    switch below(10) {
    case 0: return .tuple((0..<below(3)).map { _ in key() })
    // 1, 1.0 and True are one key in Python and three here.
    case 1: return .double(Double(below(1000)) + 0.5)
    case 2...5: return .integer(Int64(truncatingIfNeeded: next()) >> Int64(below(60)) | 2)
    default: return .string("key \(below(1000))")
    }
  }

  mutating func value(depth: Int) -> MessageValue {
    let count = below(6)
    switch depth == 0 ? 0 : below(9) {
    case 3: return .tuple((0..<count).map { _ in value(depth: depth - 1) })
    case 4, 5:
      var dictionary = MessageDictionary()
      for _ in 0..<count { dictionary[key()] = value(depth: depth - 1) }
      return .dictionary(dictionary)
    case 6: return .set(Set((0..<count).map { _ in key() }))
    case 7: return .frozenSet(Set((0..<count).map { _ in key() }))
    case 8: return .array((0..<count).map { _ in value(depth: depth - 1) })
    default: return scalar()
    }
  }
}

extension MessageValue {
  /// Equal where NaN is NaN, -0.0 is not 0.0, and dictionaries have the same order.
  func isIdentical(to other: MessageValue) -> Bool {
    func identical(_ left: Double, _ right: Double) -> Bool { left.bitPattern == right.bitPattern }
    func all(_ left: [MessageValue], _ right: [MessageValue]) -> Bool {
      left.count == right.count && zip(left, right).allSatisfy { $0.isIdentical(to: $1) }
    }
    switch (self, other) {
    case (.double(let left), .double(let right)): return identical(left, right)
    case (.complex(let a, let b), .complex(let c, let d)): return identical(a, c) && identical(b, d)
    case (.array(let left), .array(let right)), (.tuple(let left), .tuple(let right)):
      return all(left, right)
    case (.dictionary(let left), .dictionary(let right)):
      return all(left.keys, right.keys) && all(left.values, right.values)
    case (.set(let left), .set(let right)), (.frozenSet(let left), .frozenSet(let right)):
      // NaN in a set equals nothing, and sets have no order to compare by.
      return left == right || left.count == right.count && left.contains { $0 != $0 }
    default: return self == other
    }
  }
}
