// SPDX-License-Identifier: Apache-2.0
// Fuzzes the reader of messages and the decoder of types. Built together with the sources that it
// needs, so that they are instrumented too; see the fuzz target in the Makefile.

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
}

/// Bytes from anybody are an error or a value, and the value survives its own round trip.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMessageDecoder(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let bytes = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  survives(MessageValue.self, bytes, .strict)
  survives(Everything.self, bytes, .lenient)
  survives([Everything].self, bytes, .strict)
  survives([String: MessageValue].self, bytes, .strict)
  survives([Int: [UInt8]].self, bytes, .strict)
  return 0
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
    let again: [UInt8]
    do {
      again = try MessageEncoder().encode(value)
    } catch {
      fatalError("decoded, but does not encode: \(error)")
    }
    do {
      let back = try decoder.decode(type, from: again)
      let written = try MessageEncoder().encode(back)
      // NaN is not equal to itself, and sets have no order: then the sizes must do.
      precondition(
        back == value || written.count == again.count, "another value after a round trip")
    } catch {
      fatalError("encoded, but does not decode: \(error)")
    }
  } catch let error as IPCError {
    precondition(error.code == .malformedMessage, "\(error)")
    precondition(!error.context.isEmpty)
  } catch {
    fatalError("an error of another type: \(error)")
  }
}
