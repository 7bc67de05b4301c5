// SPDX-License-Identifier: Apache-2.0
import MessageCoding
import SwiftIPC
import Testing

/// Bytes that are not a message, or not one to accept.
@Suite struct MessageReaderTests {
  private func read(_ bytes: [UInt8]) throws -> MessageValue {
    try MessageDecoder().decode(MessageValue.self, from: bytes)
  }

  private func refusal(_ bytes: [UInt8]) -> String? {
    do {
      let value = try read(bytes)
      Issue.record("read as \(value)")
      return nil
    } catch let error as IPCError {
      #expect(error.code == .malformedMessage)
      return error.context
    } catch {
      Issue.record("\(error)")
      return nil
    }
  }

  private func text(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test func theErrorsNameOpcodeAndOffset() {
    #expect(refusal([]) == "no bytes")
    #expect(refusal([1, 2, 3])?.hasPrefix("offset 0:") == true)
    #expect(refusal([0x80, 2, 0x4e, 0x2e]) == "protocol 2 at offset 1: 3, 4 and 5 are read")
    #expect(refusal([0x80, 6, 0x4e, 0x2e]) == "protocol 6 at offset 1: 3, 4 and 5 are read")
    #expect(refusal([0x80, 4, 0x4e]) == "the message ends at offset 3 without STOP")
    #expect(
      refusal([0x80, 4, 0x4e, 0x2e, 1])
        == "opcode 0x2e (STOP) at offset 3: 1 bytes after the end of the message")
    #expect(
      refusal([0x80, 4, 0x4e, 0x4e, 0x2e])
        == "opcode 0x2e (STOP) at offset 4: 2 values and 0 marks left, where one value is the message"
    )
    #expect(
      refusal([0x80, 4] + text("cos\nsystem\n") + [0x2e])
        == "opcode 0x63 (GLOBAL) at offset 2: names os.system, and a message is data only")
    #expect(
      refusal([0x80, 4, 0x8c, 2] + text("os") + [0x8c, 6] + text("system") + [0x93, 0x2e])
        == "opcode 0x93 (STACK_GLOBAL) at offset 14: names os.system, and a message is data only")
    #expect(
      refusal([0x80, 4, 0x4e, 0x29, 0x52, 0x2e])
        == "opcode 0x52 (REDUCE) at offset 4: calls something, and a message is data only")
    #expect(
      refusal([0x80, 4, 0x58, 0, 0, 0, 0x10, 0x2e])
        == "opcode 0x58 (BINUNICODE) at offset 2: 268435456 bytes wanted, 1 left")
    #expect(refusal([0x80, 4, 0x8e, 255, 255, 255, 255, 255, 255, 255, 255, 0x2e]) != nil)
    #expect(refusal([0x80, 4, 0x95, 9, 0, 0, 0, 0, 0, 0, 0, 0x4e, 0x2e]) != nil)
    #expect(refusal([0x80, 4, 0x8b, 255, 255, 255, 255, 0x2e]) != nil)
  }

  @Test func everyOtherOpcodeIsRefused() {
    let allowed: Set<UInt8> = [
      0x28, 0x29, 0x2e, 0x30, 0x31, 0x42, 0x43, 0x47, 0x4a, 0x4b, 0x4d, 0x4e, 0x52, 0x58, 0x5d,
      0x61,
      0x63, 0x65, 0x68, 0x6a, 0x71, 0x72, 0x73, 0x74, 0x75, 0x7d, 0x85, 0x86, 0x87, 0x88, 0x89,
      0x8a,
      0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90, 0x91, 0x93, 0x94, 0x95, 0x96,
    ]
    for opcode in UInt8.min...UInt8.max where !allowed.contains(opcode) {
      let bytes = [0x80, 4, 0x5d, 0x4e, opcode] + [UInt8](repeating: 0x2e, count: 16)
      #expect(
        refusal(bytes)?.hasSuffix("at offset 4: not allowed in a message, which is data only")
          == true)
    }
  }

  @Test func textMustBeUTF8() throws {
    for bad: [UInt8] in [
      [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf], [0xc0, 0x80], [0xc1, 0xbf], [0xe0, 0x9f, 0xbf],
      [0xf0, 0x8f, 0xbf, 0xbf], [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0x80], [0xff],
      [0xc3], [0xe2, 0x82], [0xf0, 0x9f, 0x98], [0xc3, 0x28], [0xe2, 0x28, 0xac],
      [0xe2, 0x82, 0x28],
      [0xf0, 0x9f, 0x28, 0x80], [0xf0, 0x9f, 0x98, 0x28],
    ] {
      for prefix in ["", "1234567", "12345678", "é"] {
        let utf8 = text(prefix) + bad
        let message = [0x80, 4, 0x8c, UInt8(utf8.count)] + utf8 + [0x2e]
        let context = refusal(message)
        #expect(context?.contains("at offset \(4 + prefix.utf8.count)") == true)
        if bad[0] == 0xed { #expect(context?.contains("a lone surrogate") == true) }
        // Also where no caller looks at it.
        #expect(refusal([0x80, 4, 0x8c, UInt8(utf8.count)] + utf8 + [0x30, 0x4e, 0x2e]) != nil)
      }
    }
    let good = "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}"
    #expect(
      try read([0x80, 4, 0x8c, UInt8(good.utf8.count)] + text(good) + [0x2e]) == .string(good))
  }

  @Test func theStackIsGuarded() {
    for body: [UInt8] in [
      [0x30], [0x31], [0x61], [0x65], [0x73], [0x75], [0x90], [0x91], [0x74], [0x85], [0x86],
      [0x87],
      [0x94], [0x52], [0x93], [0x68, 0], [0x71, 0], [0x6a, 0, 0, 0, 0], [0x5d, 0x61], [0x5d, 0x65],
      [0x5d, 0x28, 0x4e, 0x61], [0x5d, 0x28, 0x30, 0x65], [0x28, 0x4e, 0x65],
      [0x4e, 0x28, 0x4e, 0x65],
      [0x5d, 0x28, 0x4e, 0x75], [0x7d, 0x28, 0x4e, 0x75], [0x7d, 0x4e, 0x73],
      [0x5d, 0x4e, 0x4e, 0x73],
      [0x5d, 0x28, 0x4e, 0x90], [0x28], [0x4e, 0x28, 0x94], [0x4e, 0x4e, 0x28, 0x86],
    ] {
      #expect(refusal([0x80, 4] + body + [0x2e]) != nil, "\(body)")
    }
  }

  @Test func namesOfTheListMakeData() throws {
    let set = [0x80, 3] + text("cbuiltins\nset\n")
    #expect(try read(set + [0x5d, 0x4b, 1, 0x61, 0x85, 0x52, 0x2e]) == .set([1]))
    #expect(try read(set + [0x29, 0x52, 0x2e]) == .set([]))
    #expect(
      try read([0x80, 3] + text("cbuiltins\nbytearray\n") + [0x29, 0x52, 0x2e]) == .bytes([]))
    let encode = [0x80, 3] + text("c_codecs\nencode\n")
    let latin1: [UInt8] = [0x8c, 6] + text("latin1") + [0x86, 0x52, 0x2e]
    #expect(try read(encode + [0x8c, 3, 0x41, 0xc3, 0xbf] + latin1) == .bytes([0x41, 0xff]))
    #expect(
      try MessageDecoder().decode([UInt8].self, from: encode + [0x8c, 1, 0x41] + latin1) == [0x41])
    #expect(refusal(encode + [0x8c, 2, 0xc4, 0x80] + latin1) != nil)
    #expect(refusal(encode + [0x8c, 1, 0x41, 0x8c, 3] + text("hex") + [0x86, 0x52, 0x2e]) != nil)
    // A name is no value, wherever it stands.
    #expect(refusal(set + [0x2e]) != nil)
    #expect(refusal(set + [0x85, 0x2e]) != nil)
    #expect(refusal([0x80, 3, 0x5d] + text("cbuiltins\nset\n") + [0x61, 0x2e]) != nil)
    // What a call made is not added to, and keeps what it was made of.
    #expect(refusal(set + [0x5d, 0x85, 0x52, 0x28, 0x4b, 1, 0x90, 0x2e]) != nil)
    let growing =
      [0x80, 3, 0x5d, 0x71, 0, 0x4b, 1, 0x61, 0x30] + text("cbuiltins\nset\n")
      + [0x68, 0, 0x85, 0x52, 0x68, 0, 0x4b, 2, 0x61, 0x86, 0x2e]
    #expect(try read(growing) == .tuple([.set([1]), [1, 2]]))
  }

  @Test func unhashableKeysAreRefused() {
    #expect(refusal([0x80, 4, 0x7d, 0x5d, 0x4e, 0x73, 0x2e]) != nil)
    #expect(refusal([0x80, 4, 0x8f, 0x28, 0x7d, 0x90, 0x2e]) != nil)
    #expect(refusal([0x80, 4, 0x8f, 0x28, 0x5d, 0x85, 0x90, 0x2e]) != nil)
  }

  @Test func cyclesAreRefused() {
    #expect(
      refusal([0x80, 4, 0x5d, 0x94, 0x68, 0, 0x61, 0x2e])?.contains("contains itself") == true)
    // A dictionary in a list in the same dictionary.
    #expect(
      refusal([0x80, 4, 0x7d, 0x94, 0x4e, 0x5d, 0x68, 0, 0x61, 0x73, 0x2e])?.contains(
        "contains itself") == true)
    // A tuple that holds a list that holds the tuple: as Python writes it.
    #expect(
      refusal([0x80, 4, 0x5d, 0x94, 0x68, 0, 0x85, 0x94, 0x61, 0x2e])?.contains("contains itself")
        == true)
  }

  @Test func sharedPartsAreSharedAndBounded() throws {
    // x = [1]; [x, x]
    #expect(
      try read([0x80, 4, 0x5d, 0x28, 0x5d, 0x94, 0x4b, 1, 0x61, 0x68, 0, 0x65, 0x2e]) == [[1], [1]])
    // Each list holds the one before twice: 2^40 values in under 300 bytes.
    var bomb: [UInt8] = [0x80, 4, 0x5d, 0x94]
    for level in 0..<40 {
      bomb += [0x5d, 0x94, 0x28, 0x68, UInt8(level), 0x68, UInt8(level), 0x65]
    }
    // All but the last are dropped from the stack, so that one value is left.
    var dropped = bomb + [0x71, 200]
    dropped += [UInt8](repeating: 0x30, count: 41) + [0x68, 200, 0x2e]
    #expect(refusal(dropped)?.contains("more than 16384 values") == true)
    // Written by hand the same with tuples.
    var tuples: [UInt8] = [0x80, 4, 0x29, 0x94]
    for level in 0..<40 { tuples += [0x30, 0x68, UInt8(level), 0x68, UInt8(level), 0x86, 0x94] }
    #expect(refusal(tuples + [0x2e])?.contains("more than 16384 values") == true)
    // However much patience is asked for, the count does not overflow: 2^70 of them.
    var boundless: [UInt8] = [0x80, 4, 0x29, 0x94]
    for level in 0..<70 { boundless += [0x30, 0x68, UInt8(level), 0x68, UInt8(level), 0x86, 0x94] }
    var patient = MessageDecoder()
    patient.maximumValues = .max
    #expect(throws: IPCError.self) {
      try patient.decode(MessageValue.self, from: boundless + [0x2e])
    }
    patient.maximumValues = 100
    let square = try MessageEncoder().encode([[0, 0], [0, 0]])
    #expect(try patient.decode([[Int]].self, from: square) == [[0, 0], [0, 0]])
    patient.maximumValues = 5
    #expect(throws: IPCError.self) { try patient.decode([[Int]].self, from: square) }
  }

  @Test func depthIsRefusedWithoutRecursion() {
    for count in [513, 100_000] {
      let lists = [UInt8](repeating: 0x5d, count: count)
      let message = [0x80, 4] + lists + [UInt8](repeating: 0x61, count: count - 1) + [0x2e]
      #expect(refusal(message)?.hasPrefix("nested more than 512 deep") == true)
      let tuples = [0x80, 4, 0x29] + [UInt8](repeating: 0x85, count: count - 1) + [0x2e]
      #expect(refusal(tuples)?.hasPrefix("nested more than 512 deep") == true)
    }
  }

  @Test func memoIndicesMayBeAnything() throws {
    #expect(
      try read([0x80, 4, 0x4b, 5, 0x72, 255, 255, 255, 255, 0x30, 0x6a, 255, 255, 255, 255, 0x2e])
        == 5)
    // MEMOIZE numbers by how many entries there are.
    #expect(
      try read([0x80, 4, 0x4b, 5, 0x71, 9, 0x30, 0x4b, 6, 0x94, 0x30, 0x68, 1, 0x68, 9, 0x86, 0x2e])
        == .tuple([6, 5]))
    #expect(try read([0x80, 4, 0x4b, 5, 0x94, 0x30, 0x4b, 6, 0x71, 0, 0x30, 0x68, 0, 0x2e]) == 6)
  }

  @Test func batchesThatArriveApart() throws {
    // [1, [2], 3] with each element added on its own, and the inner list filled in between.
    let bytes: [UInt8] = [
      0x80, 4, 0x5d, 0x4b, 1, 0x61, 0x5d, 0x4b, 2, 0x61, 0x61, 0x28, 0x65, 0x28, 0x4b, 3, 0x65,
      0x2e,
    ]
    #expect(try read(bytes) == [1, [2], 3])
    #expect(try read([0x80, 4, 0x8a, 0, 0x2e]) == 0)
    #expect(try read([0x80, 4, 0x8a, 2, 0xff, 0xff, 0x2e]) == -1)
    // A mark taken away, and what is above it.
    #expect(try read([0x80, 4, 0x28, 0x30, 0x28, 0x4e, 0x4e, 0x31, 0x4b, 1, 0x2e]) == 1)
  }

  @Test func ofAKeyThatOccursTwiceTheLastValueStays() throws {
    let twice: [UInt8] = [0x80, 4, 0x7d, 0x28, 0x4b, 1, 0x4b, 2, 0x4b, 1, 0x4b, 3, 0x75, 0x2e]
    #expect(try read(twice) == [1: 3])
    #expect(try MessageDecoder().decode([Int: Int].self, from: twice) == [1: 3])
  }

  /// Changed, cut and extended messages: a value or an error, and what is read is written the same.
  @Test func mutatedMessagesAreValuesOrErrors() throws {
    var generator = ValueGenerator(seed: 4)
    var read = 0
    var refused = 0
    for round in 0..<200 {
      let original = try MessageEncoder().encode(generator.value(depth: 4))
      for _ in 0..<40 {
        var bytes = original
        for _ in 0...generator.below(3) {
          let place = generator.below(bytes.count)
          switch generator.below(6) {
          case 0: bytes[place] = UInt8(truncatingIfNeeded: generator.next())
          case 1: bytes[place] ^= 1 << UInt8(generator.below(8))
          case 2 where bytes.count > 1: bytes.remove(at: place)
          case 3: bytes.insert([0x28, 0x94, 0x30, 0x61, 0x65, 0x85][generator.below(6)], at: place)
          case 4: bytes.insert(contentsOf: [0x68, UInt8(generator.below(4))], at: place)
          default: bytes = Array(bytes[..<max(1, place)])
          }
        }
        do {
          let value = try MessageDecoder().decode(MessageValue.self, from: bytes)
          let again = try MessageEncoder().encode(value)
          var patient = MessageDecoder()
          patient.maximumValues = .max
          let back = try patient.decode(MessageValue.self, from: again)
          #expect(back.isIdentical(to: value), "round \(round): \(bytes)")
          read += 1
        } catch let error as IPCError {
          #expect(error.code == .malformedMessage, "round \(round): \(error) for \(bytes)")
          refused += 1
        }
        // Typed decoding meets the same bytes from another side.
        _ = try? MessageDecoder().decode([String: [Int: [String?]]].self, from: bytes)
        _ = try? MessageDecoder().decode([[Double]].self, from: bytes)
      }
    }
    #expect(read > 300 && refused > 1000, "\(read) read, \(refused) refused")
  }
}
