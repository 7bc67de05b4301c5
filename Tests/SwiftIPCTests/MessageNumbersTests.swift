// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// Arrays of numbers as memory: for Swift peers alone.
@Suite struct MessageNumbersTests {
  private var packing: MessageEncoder {
    var encoder = MessageEncoder()
    encoder.numberArrays = .memory
    return encoder
  }

  private func read(_ bytes: [UInt8]) throws -> MessageValue {
    try MessageDecoder().decode(MessageValue.self, from: bytes)
  }

  private func refusal(_ body: () throws -> Void) -> String? {
    do {
      try body()
      return nil
    } catch let error as IPCError {
      #expect(error.code == .malformedMessage)
      return error.context
    } catch {
      Issue.record("\(error)")
      return nil
    }
  }

  /// A message that holds an array as memory, spelled by hand.
  private func message(_ letter: Character, _ count: UInt64, _ numbers: [UInt8]) -> [UInt8] {
    [0x80, 0xc4] + array(letter, count, numbers) + [0x2e]
  }

  private func array(_ letter: Character, _ count: UInt64, _ numbers: [UInt8]) -> [UInt8] {
    [0xf2, letter.asciiValue!] + (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
      + numbers
  }

  // MARK: Round trips

  private func roundTrip<N: MessageNumber & Equatable>(_ numbers: [N]) throws {
    let bytes = try packing.encode(numbers)
    #expect(bytes.count == 13 + numbers.count * MemoryLayout<N>.stride)
    #expect(try MessageDecoder().decode([N].self, from: bytes) == numbers)
    #expect(try packing.encode(numbers.span) == bytes)
    let listed = try MessageEncoder().encode(numbers)
    #expect(try MessageEncoder().encode(numbers.span) == listed)
    // The same value whichever way it came, for a receiver that does not know the type.
    #expect(try read(bytes).isIdentical(to: read(listed)))
    for message in [bytes, listed] {
      var buffer = [N](repeating: numbers[0], count: numbers.count + 2)
      var span = buffer.mutableSpan
      #expect(try MessageDecoder().decode(into: &span, from: message) == numbers.count)
      #expect(buffer == numbers + [numbers[0], numbers[0]])
    }
  }

  private func roundTripInteger<N: MessageNumber & FixedWidthInteger>(_ type: N.Type) throws {
    try roundTrip([N.max, 0, 1, N.min])
  }

  @Test func everyTypeOfNumber() throws {
    try roundTripInteger(Int.self)
    try roundTripInteger(Int8.self)
    try roundTripInteger(Int16.self)
    try roundTripInteger(Int32.self)
    try roundTripInteger(Int64.self)
    try roundTripInteger(Int128.self)
    try roundTripInteger(UInt.self)
    try roundTripInteger(UInt16.self)
    try roundTripInteger(UInt32.self)
    try roundTripInteger(UInt64.self)
    try roundTripInteger(UInt128.self)
    try roundTrip(
      [1.5, -0.0, .infinity, .greatestFiniteMagnitude, .leastNonzeroMagnitude] as [Double])
    try roundTrip(
      [1.5, -0.0, .infinity, .greatestFiniteMagnitude, .leastNonzeroMagnitude] as [Float])
    try roundTrip(
      [1.5, -0.0, .infinity, .greatestFiniteMagnitude, .leastNonzeroMagnitude] as [Float16])
    // Bytes are Python's `bytes`, and a copy of memory, in any case.
    #expect(try packing.encode([1, 2] as [UInt8]) == MessageEncoder().encode([1, 2] as [UInt8]))
    #expect(try MessageDecoder().decode([UInt8].self, from: message("B", 2, [7, 8])) == [7, 8])
    var buffer = [UInt8](repeating: 9, count: 3)
    var span = buffer.mutableSpan
    #expect(try MessageDecoder().decode(into: &span, from: packing.encode([1, 2] as [UInt8])) == 2)
    #expect(buffer == [1, 2, 9])
  }

  private class Base: Codable {
    var base: [Float] = [1, 2]
    init() {}
  }

  private final class Derived: Base {
    var own: [Int]
    override init() {
      own = [3]
      super.init()
    }
    private enum Keys: CodingKey { case own }
    required init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Keys.self)
      own = try container.decode([Int].self, forKey: .own)
      try super.init(from: container.superDecoder())
    }
    override func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Keys.self)
      try super.encode(to: container.superEncoder())
      try container.encode(own, forKey: .own)
    }
  }

  private struct Nested: Codable, Equatable {
    var name = "a"
    var matrix: [[Double]] = [[1, 2], [], [3]]
    var byName: [String: [Int32]] = ["x": [1], "y": []]
    var byNumber: [Int: [Float]] = [1: [1.5]]
    var optional: [UInt16]? = [7]
    var none: [UInt16]?
    var flags = [true, false]
    var value: MessageValue = [1, 2.5]
  }

  @Test func whereverTheyAreInAValue() throws {
    let bytes = try packing.encode(Nested())
    #expect(bytes[1] == 0xc4)
    #expect(try MessageDecoder().decode(Nested.self, from: bytes) == Nested())
    // In a part that is written on its own and inserted later.
    let derived = try packing.encode(Derived())
    #expect(derived[1] == 0xc4)
    let back = try MessageDecoder().decode(Derived.self, from: derived)
    #expect(back.base == [1, 2] && back.own == [3])
  }

  @Test func theBytesAreThese() throws {
    #expect(
      try packing.encode([1, -2] as [Int16]) == message("h", 2, [1, 0, 0xfe, 0xff]))
    #expect(try packing.encode([1] as [Int]) == packing.encode([1] as [Int64]))
    // Without numbers it is pickle as ever.
    for value in [["a": "b"], [:]] {
      #expect(try packing.encode(value) == MessageEncoder().encode(value))
    }
    #expect(try packing.encode([Double]()) == [0x80, 4, 0x5d, 0x2e])
  }

  // MARK: Other types than were sent

  @Test func otherTypesConvertAsFromAList() throws {
    let small = try packing.encode([1, -2, 300] as [Int32])
    #expect(try MessageDecoder().decode([Int].self, from: small) == [1, -2, 300])
    #expect(try MessageDecoder().decode([Int128].self, from: small) == [1, -2, 300])
    #expect(try MessageDecoder().decode([Double].self, from: small) == [1, -2, 300])
    #expect(try MessageDecoder().decode(Set<Int>.self, from: small) == [1, -2, 300])
    #expect(try MessageDecoder().decode([Int?].self, from: small) == [1, -2, 300])
    #expect(
      refusal { _ = try MessageDecoder().decode([Int8].self, from: small) }
        == "[2]: expected Int8, found the integer 300 at offset 20, which it cannot hold")
    #expect(refusal { _ = try MessageDecoder().decode([UInt].self, from: small) } != nil)
    #expect(
      refusal { _ = try MessageDecoder().decode([String].self, from: small) }
        == "[0]: expected String, found the integer 1 at offset 12")
    #expect(
      refusal { _ = try MessageDecoder().decode([String: Int].self, from: small) }
        == "the message: expected a dictionary, found an array of numbers at offset 2")
    let floats = try packing.encode([1, 2] as [Float])
    #expect(try MessageDecoder().decode([Double].self, from: floats) == [1, 2])
    #expect(
      refusal { _ = try MessageDecoder().decode([Int].self, from: floats) }
        == "[0]: expected Int, found the float 1.0 at offset 12, "
        + "which converts only where numberConversion is .lenient")
    var lenient = MessageDecoder()
    lenient.numberConversion = .lenient
    #expect(try lenient.decode([Int].self, from: floats) == [1, 2])
    let huge = try packing.encode([.max, 1] as [UInt128])
    #expect(try read(huge) == [MessageValue.integer(UInt128.max), 1])
    #expect(refusal { _ = try MessageDecoder().decode([Int128].self, from: huge) } != nil)
    #expect(try read(packing.encode([UInt64.max])) == [MessageValue.integer(UInt64.max)])
    #expect(
      refusal { _ = try MessageDecoder().decode([Float].self, from: packing.encode([1e300])) }
        == "[0]: expected Float, found the float 1e+300 at offset 12, which it cannot hold")
  }

  @Test func intoABuffer() throws {
    var buffer: [Double] = [-1, -1, -1]
    func decode(_ bytes: [UInt8]) throws -> Int {
      var span = buffer.mutableSpan
      return try MessageDecoder().decode(into: &span, from: bytes)
    }
    func tooLong(_ bytes: [UInt8]) -> String? {
      do {
        _ = try decode(bytes)
      } catch let error as IPCError where error.code == .messageTooLong {
        return error.context
      } catch {
        Issue.record("\(error)")
      }
      return nil
    }
    let four = [1.0, 2, 3, 4]
    let wording = "4 numbers in the message, 3 fit the buffer"
    #expect(try tooLong(packing.encode(four)) == wording)
    #expect(try tooLong(MessageEncoder().encode(four)) == wording)
    #expect(buffer == [-1, -1, -1])
    // What looks like the usual message and is not.
    let good = try packing.encode([1.0, 2])
    for index in good.indices where index < 12 || index == good.count - 1 {
      var bad = good
      bad[index] ^= 0x40
      #expect(throws: IPCError.self, "byte \(index)") { try decode(bad) }
    }
    for count in 0..<good.count {
      #expect(throws: IPCError.self) { try decode(Array(good[..<count])) }
    }
    #expect(throws: IPCError.self) { try decode(good + [0]) }
    for count in 1..<8 {
      let longer = good.dropLast() + [UInt8](repeating: 0x4e, count: count) + [0x2e]
      #expect(throws: IPCError.self) { try decode(longer) }
    }
    #expect(throws: IPCError.self) { try decode(MessageEncoder().encode("text")) }
    #expect(throws: IPCError.self) { try decode(MessageEncoder().encode([1, nil])) }
    #expect(buffer == [-1, -1, -1])
    #expect(try decode(good) == 2)
    #expect(buffer == [1, 2, -1])
    #expect(try decode(MessageEncoder().encode([7, 8.5] as MessageValue)) == 2)
    #expect(buffer == [7, 8.5, -1])
    #expect(try decode(packing.encode([3, 4, 5] as [Int8])) == 3)
    #expect(buffer == [3, 4, 5])
    #expect(try decode(packing.encode([Double]())) == 0)
    #expect(try decode(message("d", 0, [])) == 0)
  }

  private struct Half: MessageNumber { var bits: UInt16 = 0 }

  @Test func aTypeThatIsNoNumberIsRefused() {
    let halves = [Half()]
    var buffer = [Half()]
    #expect(errorCode { _ = try packing.encode(halves.span) } == .unsupported)
    #expect(errorCode { _ = try MessageEncoder().encode(halves.span) } == .unsupported)
    #expect(
      errorCode {
        var span = buffer.mutableSpan
        _ = try MessageDecoder().decode(into: &span, from: packing.encode([1]))
      } == .unsupported)
  }

  // MARK: Bytes from any peer

  @Test func claimsAreChecked() {
    let eight = [UInt8](repeating: 1, count: 8)
    #expect(
      refusal { _ = try read(message("d", 2, eight)) }
        == "opcode 0xf2 (NUMBERS) at offset 2: 16 bytes wanted, 9 left")
    for count in [UInt64(1) << 61, 1 << 60, 1 << 63, .max, 3] {
      #expect(refusal { _ = try read(message("d", count, eight)) } != nil)
      #expect(refusal { _ = try read(message("o", count, eight)) } != nil)
    }
    for letter in UInt8.min...UInt8.max where !Array("dfeqQiIhHbBoO".utf8).contains(letter) {
      #expect(
        refusal { _ = try read(message(Character(UnicodeScalar(letter & 0x7f)), 1, eight)) } != nil
          || letter > 0x7f)
      var bytes = message("d", 1, eight)
      bytes[3] = letter
      #expect(
        refusal { _ = try read(bytes) }
          == "opcode 0xf2 (NUMBERS) at offset 2: no such type of number")
    }
    for count in 0..<9 {
      #expect(refusal { _ = try read([0x80, 0xc4, 0xf2] + eight[..<min(count, 8)]) } != nil)
    }
    // Only where the protocol has announced it: a decoder of pickle stops at the second byte.
    for version in 3...5 {
      var bytes = message("d", 1, eight)
      bytes[1] = UInt8(version)
      #expect(
        refusal { _ = try read(bytes) }
          == "opcode 0xf2 (NUMBERS) at offset 2: not allowed in a message, which is data only")
    }
    // No key, nor an element of a set.
    let one = array("d", 1, eight)
    #expect(refusal { _ = try read([0x80, 0xc4, 0x7d] + one + [0x4e, 0x73, 0x2e]) } != nil)
    #expect(refusal { _ = try read([0x80, 0xc4, 0x8f, 0x28] + one + [0x90, 0x2e]) } != nil)
    #expect(refusal { _ = try read([0x80, 0xc4] + one + [0x4e, 0x61, 0x2e]) } != nil)
  }

  @Test func sharedArraysCountEachTime() throws {
    let numbers = array("d", 100, [UInt8](repeating: 0, count: 800)) + [0x94]
    func times(_ count: Int) -> [UInt8] {
      [0x80, 0xc4, 0x5d, 0x28] + numbers
        + Array((1..<count).map { _ in [0x68, 0] as [UInt8] }.joined()) + [0x65, 0x2e]
    }
    let some = try MessageDecoder().decode([[Double]].self, from: times(100))
    #expect(some.count == 100 && some.allSatisfy { $0 == [Double](repeating: 0, count: 100) })
    #expect(
      try read(times(3))
        == .array(.init(repeating: .array(.init(repeating: 0.0, count: 100)), count: 3)))
    #expect(refusal { _ = try read(times(200)) }?.contains("more than 16384 values") == true)
    var decoder = MessageDecoder()
    decoder.maximumValues = 100
    let root = message("d", 100, [UInt8](repeating: 0, count: 800))
    #expect(refusal { _ = try decoder.decode([Double].self, from: root) } != nil)
    decoder.maximumValues = 101
    #expect(try decoder.decode([Double].self, from: root).count == 100)
  }

  // MARK: Connections

  private func sockets() -> [Int32] {
    var ends: [Int32] = [-1, -1]
    // Other tests start processes meanwhile, which are to inherit none.
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    #expect(unsafe socketpair(AF_UNIX, type, 0, &ends) == 0)
    return ends
  }

  private func firstBytes(_ connection: Connection, _ peer: Connection) throws -> [UInt8] {
    try connection.send([1.5, 2])
    let list = try peer.receiveBytes()
    try connection.send(numbers: [1.5, 2].span)
    #expect(try peer.receiveBytes() == list)
    return Array(list.prefix(2))
  }

  @Test func onlyPeersKnownToBeSwiftGetThem() throws {
    let (first, second) = try Connection.pair()
    #expect(first.isPeerSwift && second.isPeerSwift)
    #expect(try firstBytes(first, second) == [0x80, 0xc4])
    let copy = try second.duplicate()
    #expect(copy.isPeerSwift)
    #expect(try firstBytes(copy, first) == [0x80, 0xc4])
    let (reader, writer) = try Connection.pipe()
    #expect(try firstBytes(writer, reader) == [0x80, 0xc4])

    let (known, doubtful) = try Connection.pair(isPeerSwift: false)
    #expect(try firstBytes(known, doubtful) == [0x80, 4])
    #expect(try !Connection.pipe(isPeerSwift: false).writer.isPeerSwift)

    // Given away, it stays known.
    let (ours, theirs) = try Connection.pair()
    try first.send(theirs)
    let arrived = try second.receive(Connection.self)
    #expect(arrived.isPeerSwift)
    #expect(try firstBytes(arrived, ours) == [0x80, 0xc4])

    // The peer at the end of a descriptor is unknown.
    let ends = sockets()
    let unknown = try Connection(adopting: ends[0])
    let other = try Connection(adopting: ends[1], isPeerSwift: true)
    #expect(!unknown.isPeerSwift && other.isPeerSwift)
    #expect(try firstBytes(unknown, other) == [0x80, 4])
    #expect(try firstBytes(other, unknown) == [0x80, 0xc4])
    #expect(try !unknown.duplicate().isPeerSwift)
    try first.send(unknown)
    #expect(try !second.receive(Connection.self).isPeerSwift)
  }

  @Test func soItIsForTasks() async throws {
    let (first, second) = try Connection.pair()
    try await first.send([1.5])
    #expect(try await second.receiveBytes() == packing.encode([1.5]))
    let ends = sockets()
    let unknown = try Connection(adopting: ends[0])
    let other = try Connection(adopting: ends[1])
    try await unknown.send([1.5])
    #expect(try await other.receiveBytes() == MessageEncoder().encode([1.5]))
  }

  @Test func receivingIntoABuffer() throws {
    let (ours, theirs) = try Connection.pair()
    var buffer = [Double](repeating: 0, count: 1000)
    let samples = (0..<1000).map { Double($0) + 0.5 }
    try ours.send(numbers: samples.span)
    do {
      var span = buffer.mutableSpan
      #expect(try theirs.receive(into: &span) == 1000)
    }
    #expect(buffer == samples)
    // One that is too long is gone, and the connection goes on.
    try ours.send(samples + [1])
    try ours.send("text")
    try ours.send([7.5])
    var span = buffer.mutableSpan
    #expect(errorCode { _ = try theirs.receive(into: &span) } == .messageTooLong)
    #expect(errorCode { _ = try theirs.receive(into: &span) } == .malformedMessage)
    #expect(try theirs.receive(into: &span) == 1)
    #expect(errorCode { _ = try theirs.receive(into: &span, timeout: .zero) } == .timedOut)
    #expect(buffer[0] == 7.5 && buffer[1] == 1.5)
  }

  @Test func childrenAreSwift() async throws {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs, [1.5, 2]) { connection, numbers in
      #expect(connection.isPeerSwift)
      try connection.send(numbers)
      let more = try connection.receive([Float].self)
      return more.map { Double($0) }
    }
    #expect(try await ours.receiveBytes() == packing.encode([1.5, 2]))
    try await ours.send([Float(0.25)])
    #expect(try await child.value == [0.25])
  }
}
