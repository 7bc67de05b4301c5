// SPDX-License-Identifier: Apache-2.0

/// A type that is one opcode in a message: written and read without going through Codable's
/// containers, in arrays and sets and as keys of dictionaries.
protocol PickleScalar: Codable, Hashable {
  func write(to writer: PickleWriter)

  /// The value of a node, or `nil` where the node is another kind or does not fit.
  static func read(
    _ node: PickleNode, _ tape: PickleTape, _ conversion: MessageDecoder.NumberConversion
  )
    -> Self?
}

protocol PickleNumber: PickleScalar {}

protocol PickleInteger: PickleNumber, FixedWidthInteger {}

extension PickleInteger {
  @inline(__always)
  func write(to writer: PickleWriter) { writer.integer(self) }

  @inline(__always)
  static func read(
    _ node: PickleNode, _ tape: PickleTape, _ conversion: MessageDecoder.NumberConversion
  ) -> Self? {
    if let value = tape.smallInteger(node) { return Self(exactly: value) }
    return readSeldom(node, tape, conversion)
  }

  @inline(never)
  private static func readSeldom(
    _ node: PickleNode, _ tape: PickleTape, _ conversion: MessageDecoder.NumberConversion
  ) -> Self? {
    if let value = tape.bigInteger(node) { return Self(exactly: value) }
    guard conversion == .lenient else { return nil }
    switch node.tag {
    case PickleOpcode.newTrue: return 1
    case PickleOpcode.newFalse: return 0
    default: return tape.floatingPoint(node).flatMap { Self(exactly: $0) }
    }
  }
}

extension Int: PickleInteger {}
extension Int8: PickleInteger {}
extension Int16: PickleInteger {}
extension Int32: PickleInteger {}
extension Int64: PickleInteger {}
extension Int128: PickleInteger {}
extension UInt: PickleInteger {}
extension UInt8: PickleInteger {}
extension UInt16: PickleInteger {}
extension UInt32: PickleInteger {}
extension UInt64: PickleInteger {}
extension UInt128: PickleInteger {}

/// A floating-point type: one that any float decodes as, rounded to what it can hold.
protocol PickleFloat: PickleNumber, BinaryFloatingPoint {}

extension PickleFloat {
  @inline(__always)
  func write(to writer: PickleWriter) { writer.float(Double(self)) }

  @inline(__always)
  static func read(
    _ node: PickleNode, _ tape: PickleTape, _ conversion: MessageDecoder.NumberConversion
  ) -> Self? {
    guard let value = tape.floatingPoint(node) else { return readInteger(node, tape, conversion) }
    let rounded = Self(value)
    // A small float may round. It may not turn a number into infinity.
    return rounded.isInfinite && !value.isInfinite ? nil : rounded
  }

  /// A list of floats written in Python may hold integers: `[1, 2.5]`.
  @inline(never)
  private static func readInteger(
    _ node: PickleNode, _ tape: PickleTape, _ conversion: MessageDecoder.NumberConversion
  ) -> Self? {
    if let value = tape.smallInteger(node) {
      let wide = Double(value)
      let rounded = Self(wide)
      // An integer says that it is exact.
      let isExact = Int64(exactly: wide) == value && Double(rounded) == wide
      return conversion == .strict && !isExact || rounded.isInfinite ? nil : rounded
    }
    guard let value = tape.bigInteger(node).flatMap({ Int128(exactly: $0) }) else {
      guard conversion == .lenient else { return nil }
      switch node.tag {
      case PickleOpcode.newTrue: return 1
      case PickleOpcode.newFalse: return 0
      default: return nil
      }
    }
    if conversion == .strict { return Self(exactly: value) }
    let rounded = Self(value)
    return rounded.isInfinite ? nil : rounded
  }
}

extension Double: PickleFloat {}
extension Float: PickleFloat {}
extension Float16: PickleFloat {}

extension Bool: PickleScalar {
  @inline(__always)
  func write(to writer: PickleWriter) { writer.bool(self) }

  @inline(__always)
  static func read(
    _ node: PickleNode, _ tape: PickleTape, _ conversion: MessageDecoder.NumberConversion
  ) -> Bool? {
    switch node.tag {
    case PickleOpcode.newTrue: return true
    case PickleOpcode.newFalse: return false
    default:
      guard conversion == .lenient else { return nil }
      switch tape.smallInteger(node) {
      case 0: return false
      case 1: return true
      default: return nil
      }
    }
  }
}

extension String: PickleScalar {
  @inline(__always)
  func write(to writer: PickleWriter) { writer.string(self) }

  @inline(__always)
  static func read(
    _ node: PickleNode, _ tape: PickleTape, _ conversion: MessageDecoder.NumberConversion
  ) -> String? {
    tape.string(node)
  }
}
