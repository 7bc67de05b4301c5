// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of messages and the decoder of types.

/// A type with a bit of everything that decoding can do.
private struct Everything: Codable, Equatable {
  enum Kind: Codable, Equatable {
    case plain
    case named(String)
    case pair(x: Int8, y: UInt64)
  }
  var id: Int?
  var name: String?
  var ratio: Float?
  var raw: [UInt8]?
  var numbers: [Double]?
  var counts: [Int: String]?
  var tags: Set<String>?
  var kind: Kind?
  var more: [Everything]?
  var rest: MessageValue?
  var big: Int128?
  var words: [UInt16: [Bool]]?
  var floats: [[Float]]?
  var halves: [Float16]?
  var small: [Int8]?
  var wide: [UInt128]?
}

/// A class and its superclass: parts that are written on their own.
private final class Derived: Codable, Equatable {
  var numbers: [Int32]
  var base: Everything
  private enum Keys: CodingKey { case numbers }

  init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Keys.self)
    numbers = try container.decode([Int32].self, forKey: .numbers)
    base = try Everything(from: container.superDecoder())
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Keys.self)
    try base.encode(to: container.superEncoder())
    try container.encode(numbers, forKey: .numbers)
  }

  static func == (left: Derived, right: Derived) -> Bool {
    left.numbers == right.numbers && left.base == right.base
  }
}

/// Any bytes are an error or a value, and the value survives its own round trip.
func fuzzMessageDecoder(_ bytes: [UInt8]) {
  survives(MessageValue.self, bytes, .strict)
  survives(Everything.self, bytes, .lenient)
  survives([Everything].self, bytes, .strict)
  survives([String: MessageValue].self, bytes, .strict)
  survives([Int: [UInt8]].self, bytes, .strict)
  survives(Derived.self, bytes, .lenient)
  survives([[Float]].self, bytes, .strict)
  fits(0.0, bytes, .strict)
  fits(Int16(0), bytes, .lenient)
  fits(UInt64(0), bytes, .strict)
}

/// Into a buffer comes what an array would hold, or nothing.
private func fits<N: MessageNumber & Numeric>(
  _ zero: N, _ bytes: [UInt8], _ conversion: MessageDecoder.NumberConversion
) {
  var decoder = MessageDecoder()
  decoder.numberConversion = conversion
  var buffer = [N](repeating: zero, count: 8)
  let expected = try? decoder.decode([N].self, from: bytes)
  do {
    var span = buffer.mutableSpan
    let count = try decoder.decode(into: &span, from: bytes)
    guard let expected, expected.count == count else { fatalError("read as another array") }
    for (found, wanted) in zip(buffer, expected) {
      precondition(found == wanted || wanted != wanted, "another number")
    }
    precondition(buffer[count...].allSatisfy { $0 == zero }, "written beyond the end")
  } catch let error as IPCError {
    precondition(buffer.allSatisfy { $0 == zero }, "an error, and the buffer written")
    precondition(
      error.code == .messageTooLong ? (expected?.count ?? 0) > 8 : expected == nil, "\(error)")
  } catch {
    fatalError("an error of another type: \(error)")
  }
}

private func survives<T: Codable & Equatable>(
  _ type: T.Type, _ bytes: [UInt8], _ conversion: MessageDecoder.NumberConversion
) {
  var decoder = MessageDecoder()
  decoder.numberConversion = conversion
  do {
    let value = try decoder.decode(type, from: bytes)
    // Shared parts are written out, so what is written again may be longer; never deeper.
    decoder.maximumValues = .max
    for arrays: MessageEncoder.NumberArrays in [.lists, .memory] {
      var encoder = MessageEncoder()
      encoder.numberArrays = arrays
      comesBack(value, encoder, decoder)
    }
  } catch let error as IPCError {
    precondition(error.code == .malformedMessage, "\(error)")
    precondition(!error.context.isEmpty)
  } catch {
    fatalError("an error of another type: \(error)")
  }
}

private func comesBack<T: Codable & Equatable>(
  _ value: T, _ encoder: MessageEncoder, _ decoder: MessageDecoder
) {
  let again: [UInt8]
  do {
    again = try encoder.encode(value)
  } catch {
    fatalError("decoded, but does not encode: \(error)")
  }
  do {
    let back = try decoder.decode(T.self, from: again)
    let written = try encoder.encode(back)
    // NaN is not equal to itself, and sets have no order: then the sizes must do.
    precondition(
      back == value || written.count == again.count, "another value after a round trip")
  } catch {
    fatalError("encoded, but does not decode: \(error)")
  }
}
