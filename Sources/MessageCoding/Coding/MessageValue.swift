// SPDX-License-Identifier: Apache-2.0

/// A value of a message whose type is not known beforehand: any plain data of Python's.
///
/// ```swift
/// try await connection.send([42, nil, "hello"] as MessageValue)
/// let answer = try await connection.receive()
/// if case .string(let text)? = answer["name"] { print(text) }
/// print(answer)                         // ["name": "bob", "scores": [1, 2.5]]
/// ```
///
/// As Python's, text is equal when it has the same code points: `"é"` in one and in two code points are
/// two keys. A NaN equals itself, and is one key.
///
/// It is Codable: inside another type it stands for any value. With the message coder all cases
/// pass; other coders take those that they know, and throw for complex numbers, integers beyond 64
/// bits and dictionaries with keys that are not strings.
public enum MessageValue: Sendable {
  /// Python's `None`.
  case null
  /// A truth value.
  case bool(Bool)
  /// An integer that fits 64 bits.
  case integer(Int64)
  /// An integer that does not fit 64 bits. `integer(_:)` for any type of integer picks the right one
  /// of the two.
  case bigInteger(BigInteger)
  /// A floating-point number: Python's `float`.
  case double(Double)
  /// Text.
  case string(String)
  /// Python's `bytes`. A `bytearray` arrives as this too.
  case bytes([UInt8])
  /// Python's `list`.
  case array([MessageValue])
  /// Python's `tuple`.
  case tuple([MessageValue])
  /// Python's `dict`, in its order.
  case dictionary(MessageDictionary)
  /// Python's `set`.
  case set(Set<MessageValue>)
  /// Python's `frozenset`.
  case frozenSet(Set<MessageValue>)
  /// A complex number.
  indirect case complex(real: Double, imaginary: Double)

  /// An integer of any type: the case `integer` where it fits 64 bits, otherwise `bigInteger`.
  ///
  /// ```swift
  /// let size: MessageValue = .tuple([.integer(UInt64.max), .integer(480 as UInt16)])
  /// print(size)                                   // (18446744073709551615, 480)
  /// ```
  // Not favoured: for an `Int64` it would be as good as the case.
  @_disfavoredOverload
  public static func integer(_ value: some BinaryInteger) -> MessageValue {
    Int64(exactly: value).map { .integer($0) } ?? .bigInteger(BigInteger(value))
  }

  /// The value of a key of a dictionary; `nil` when there is none or this is no dictionary.
  public subscript(key: MessageValue) -> MessageValue? {
    if case .dictionary(let dictionary) = self { dictionary[key] } else { .none }
  }

  /// The element at an index of an array or tuple; `nil` beyond the end or when this is neither.
  public subscript(index: Int) -> MessageValue? {
    // `nil` would be a literal here, and mean `.null`.
    switch self {
    case .array(let values), .tuple(let values):
      values.indices.contains(index) ? .some(values[index]) : .none
    case .dictionary(let dictionary): dictionary[.integer(Int64(index))]
    default: .none
    }
  }

  /// Whether Python takes the value as a key of a dictionary or an element of a set.
  var isHashableInPython: Bool {
    switch self {
    case .array, .dictionary, .set: false
    case .tuple(let values): Self.areHashableInPython(values)
    // The elements of a frozen set were looked at when it was made.
    default: true
    }
  }

  /// Without recursion: tuples may be nested deeper than a small stack goes.
  private static func areHashableInPython(_ values: [MessageValue]) -> Bool {
    var left = [values]
    while let values = left.popLast() {
      for value in values {
        switch value {
        case .array, .dictionary, .set: return false
        case .tuple(let inner): left.append(inner)
        default: break
        }
      }
    }
    return true
  }
}

extension MessageValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByStringLiteral,
  ExpressibleByStringInterpolation, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  public init(nilLiteral: ()) { self = .null }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(integerLiteral value: Int128) { self = .integer(value) }
  public init(floatLiteral value: Double) { self = .double(value) }
  public init(stringLiteral value: String) { self = .string(value) }
  public init(arrayLiteral elements: MessageValue...) { self = .array(elements) }
  public init(dictionaryLiteral elements: (MessageValue, MessageValue)...) {
    self = .dictionary(MessageDictionary(elements))
  }
}
