// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc

extension MessageValue: Hashable {
  // Numbers, text and containers are compared one by one here rather than by the compiler, for three
  // reasons. NaN equals itself here, so that sets and dictionaries hold it once: a thousand keys that
  // all hash alike and equal nothing would take a million steps. Text is compared by its code points,
  // as Python does. And lists, tuples and dictionaries are gone through without recursion, since
  // values may be nested deeper than a small stack goes.

  /// Whether two values are of the same kind and have the same content: numbers of the same type,
  /// text of the same code points, dictionaries and sets in whatever order. A NaN equals another of
  /// the same bits, and -0.0 equals 0.0.
  public static func == (left: MessageValue, right: MessageValue) -> Bool {
    guard let level = EqualityLevel(left, right) else { return isEqualAlone(left, right) }
    return level.isEqual()
  }

  /// Of values that are not lists, tuples or dictionaries both.
  fileprivate static func isEqualAlone(_ left: MessageValue, _ right: MessageValue) -> Bool {
    switch (left, right) {
    case (.null, .null): true
    case (.bool(let left), .bool(let right)): left == right
    case (.integer(let left), .integer(let right)): left == right
    case (.bigInteger(let left), .bigInteger(let right)): left == right
    case (.double(let left), .double(let right)): isEqual(left, right)
    case (.string(let left), .string(let right)): isEqual(left, right)
    case (.bytes(let left), .bytes(let right)): left == right
    case (.set(let left), .set(let right)), (.frozenSet(let left), .frozenSet(let right)):
      left == right
    case (.complex(let real, let imaginary), .complex(let otherReal, let otherImaginary)):
      isEqual(real, otherReal) && isEqual(imaginary, otherImaginary)
    default: false
    }
  }

  private static func isEqual(_ left: Double, _ right: Double) -> Bool {
    left == right || left.bitPattern == right.bitPattern
  }

  private static func isEqual(_ left: String, _ right: String) -> Bool {
    var (left, right) = (left, right)
    return left.withUTF8 { left in
      right.withUTF8 { right in
        guard left.count == right.count else { return false }
        guard let start = left.baseAddress, let other = right.baseAddress else { return true }
        return unsafe memcmp(start, other, left.count) == 0
      }
    }
  }

  public func hash(into hasher: inout Hasher) {
    hashKind(into: &hasher)
    guard let level = HashLevel(self) else { return hashAlone(into: &hasher) }
    level.hash(into: &hasher)
  }

  /// Of a value that is no list, tuple or dictionary.
  fileprivate func hashAlone(into hasher: inout Hasher) {
    switch self {
    case .bool(let value): hasher.combine(value)
    case .integer(let value): hasher.combine(value)
    case .bigInteger(let value): hasher.combine(value)
    case .double(let value): hasher.combine(value)
    case .string(var value):
      hasher.combine(value.utf8.count)
      value.withUTF8 { unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    case .bytes(let value): hasher.combine(value)
    case .set(let values), .frozenSet(let values): hasher.combine(values)
    case .complex(let real, let imaginary):
      hasher.combine(real)
      hasher.combine(imaginary)
    case .null, .array, .tuple, .dictionary: break
    }
  }
}

/// Two containers that are being compared, element by element.
private struct EqualityLevel {
  private enum Pair {
    case sequences([MessageValue], [MessageValue])
    case dictionaries(MessageDictionary, MessageDictionary)
  }
  private let pair: Pair
  private var next = 0
  private let isDecided: Bool?

  /// `nil` unless both are lists, both tuples or both dictionaries.
  init?(_ left: MessageValue, _ right: MessageValue) {
    switch (left, right) {
    case (.array(let left), .array(let right)), (.tuple(let left), .tuple(let right)):
      pair = .sequences(left, right)
      isDecided =
        if left.count != right.count {
          false
        } else {
          // The same storage: everything equals itself.
          unsafe left.withUnsafeBufferPointer { left in
            unsafe right.withUnsafeBufferPointer { right in
              unsafe left.baseAddress == right.baseAddress ? true : nil
            }
          }
        }
    case (.dictionary(let left), .dictionary(let right)):
      pair = .dictionaries(left, right)
      isDecided = left.count == right.count ? nil : false
    default: return nil
    }
  }

  consuming func isEqual() -> Bool {
    var level = self
    if let isDecided = level.isDecided { return isDecided }
    var path: [EqualityLevel] = []
    while true {
      guard let (left, right) = level.nextPair() else {
        // All of this level is equal, or a key is missing.
        if level.isMissing { return false }
        guard let outer = path.popLast() else { return true }
        level = outer
        continue
      }
      if let inner = EqualityLevel(left, right) {
        switch inner.isDecided {
        case true?: continue
        case false?: return false
        case nil:
          path.append(level)
          level = inner
        }
      } else if !MessageValue.isEqualAlone(left, right) {
        return false
      }
    }
  }

  private var isMissing = false

  private mutating func nextPair() -> (MessageValue, MessageValue)? {
    let place = next
    next += 1
    switch pair {
    case .sequences(let left, let right):
      return place < left.count ? (left[place], right[place]) : nil
    case .dictionaries(let left, let right):
      guard place < left.count else { return nil }
      let (key, value) = left[left.index(left.startIndex, offsetBy: place)]
      guard let other = right[key] else {
        isMissing = true
        return nil
      }
      return (value, other)
    }
  }
}

/// A container that is being hashed, element by element.
private struct HashLevel {
  private enum Elements {
    case sequence([MessageValue])
    case dictionary(MessageDictionary)
  }
  private let elements: Elements
  private var next = 0
  /// Of a dictionary: the hashes of the entries so far, added up since their order does not count, and
  /// the hasher that the sum goes into.
  private var sum = 0
  private var outer: Hasher?

  init?(_ value: MessageValue) {
    switch value {
    case .array(let values), .tuple(let values): elements = .sequence(values)
    case .dictionary(let dictionary): elements = .dictionary(dictionary)
    default: return nil
    }
  }

  consuming func hash(into hasher: inout Hasher) {
    var level = self
    level.begin(&hasher)
    var path: [HashLevel] = []
    while true {
      guard let value = level.nextValue(&hasher) else {
        guard let above = path.popLast() else { return }
        level = above
        continue
      }
      value.hashKind(into: &hasher)
      if var inner = HashLevel(value) {
        inner.begin(&hasher)
        path.append(level)
        level = inner
      } else {
        value.hashAlone(into: &hasher)
      }
    }
  }

  private mutating func begin(_ hasher: inout Hasher) {
    switch elements {
    case .sequence(let values): hasher.combine(values.count)
    case .dictionary(let dictionary):
      hasher.combine(dictionary.count)
      outer = hasher
    }
  }

  private mutating func nextValue(_ hasher: inout Hasher) -> MessageValue? {
    let place = next
    next += 1
    switch elements {
    // `nil` would be a literal here, and mean `.null`.
    case .sequence(let values): return place < values.count ? .some(values[place]) : .none
    case .dictionary(let dictionary):
      if place > 0 { sum = sum &+ hasher.finalize() }
      guard place < dictionary.count else {
        hasher = outer ?? Hasher()
        hasher.combine(sum)
        return .none
      }
      let (key, value) = dictionary[dictionary.index(dictionary.startIndex, offsetBy: place)]
      hasher = Hasher()
      hasher.combine(key)
      return value
    }
  }
}

extension MessageValue {
  /// Which kind of value it is, so that 1 and true hash differently.
  fileprivate func hashKind(into hasher: inout Hasher) {
    let kind: UInt8 =
      switch self {
      case .null: 0
      case .bool: 1
      case .integer: 2
      case .bigInteger: 3
      case .double: 4
      case .string: 5
      case .bytes: 6
      case .array: 7
      case .tuple: 8
      case .dictionary: 9
      case .set: 10
      case .frozenSet: 11
      case .complex: 12
      }
    hasher.combine(kind)
  }
}
