// SPDX-License-Identifier: Apache-2.0

/// An integer of any size, as Python has them: for the ones that do not fit 64 bits.
///
/// It holds and compares; it does not calculate. Take the value out where it fits:
///
/// ```swift
/// let seconds = BigInteger(Int128(1) << 100)
/// print(seconds)                              // 1267650600228229401496703205376
/// let back = Int128(exactly: seconds)         // nil where it does not fit
/// ```
public struct BigInteger: Hashable, Sendable {
  /// The two's complement of the value, least significant byte first, as short as it can be; empty
  /// for zero.
  public let littleEndianBytes: [UInt8]

  /// Makes an integer of two's complement bytes, least significant byte first.
  ///
  /// Complexity: O(n) in the number of bytes.
  public init(littleEndian bytes: some Sequence<UInt8>) {
    var bytes = Array(bytes)
    while let last = bytes.last {
      let isNegativeWithout = bytes.count > 1 && bytes[bytes.count - 2] >= 0x80
      // The top byte can go when it only repeats the sign.
      guard last == 0x00 && !isNegativeWithout || last == 0xff && isNegativeWithout else { break }
      bytes.removeLast()
    }
    littleEndianBytes = bytes
  }

  /// Makes an integer of any of Swift's.
  public init(_ value: some BinaryInteger) {
    var bytes: [UInt8] = []
    for word in value.words {
      for shift in stride(from: 0, to: UInt.bitWidth, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: word >> shift))
      }
    }
    if value >= 0 { bytes.append(0) }
    self.init(littleEndian: bytes)
  }

  /// Whether the value is below zero.
  public var isNegative: Bool { (littleEndianBytes.last ?? 0) >= 0x80 }

  var asInt64: Int64? { Int64(exactly: self) }
}

extension FixedWidthInteger {
  /// The same value, or `nil` where this type cannot hold it.
  public init?(exactly value: BigInteger) {
    let bytes = value.littleEndianBytes
    let width = Self.bitWidth / 8
    // An unsigned value has a zero byte for its sign.
    guard bytes.count <= width || !Self.isSigned && bytes.count == width + 1 && bytes[width] == 0
    else { return nil }
    if value.isNegative && !Self.isSigned { return nil }
    var result: Self = value.isNegative ? ~0 : 0
    for byte in bytes.prefix(width).reversed() {
      result = Self.bitWidth > 8 ? result << 8 : 0
      result |= Self(truncatingIfNeeded: byte)
    }
    self = result
  }
}

extension BigInteger: CustomStringConvertible {
  /// The value in decimal; in hexadecimal beyond 256 bytes, since that takes time in the square of
  /// the length.
  public var description: String {
    var magnitude = littleEndianBytes
    if isNegative {
      var carry: UInt8 = 1
      for index in magnitude.indices {
        let (sum, overflow) = (~magnitude[index]).addingReportingOverflow(carry)
        magnitude[index] = sum
        carry = overflow ? 1 : 0
      }
    }
    while magnitude.last == 0 { magnitude.removeLast() }
    if magnitude.isEmpty { return "0" }
    if magnitude.count > 256 {
      var digits = String(magnitude[magnitude.count - 1], radix: 16)
      for byte in magnitude.dropLast().reversed() {
        digits += byte < 16 ? "0" : ""
        digits += String(byte, radix: 16)
      }
      return (isNegative ? "-0x" : "0x") + digits
    }
    var digits: [UInt8] = []
    while !magnitude.isEmpty {
      var remainder: UInt32 = 0
      for index in magnitude.indices.reversed() {
        let value = remainder << 8 | UInt32(magnitude[index])
        magnitude[index] = UInt8(value / 10)
        remainder = value % 10
      }
      digits.append(UInt8(ascii: "0") + UInt8(remainder))
      while magnitude.last == 0 { magnitude.removeLast() }
    }
    if isNegative { digits.append(UInt8(ascii: "-")) }
    return String(decoding: digits.reversed(), as: UTF8.self)
  }
}
