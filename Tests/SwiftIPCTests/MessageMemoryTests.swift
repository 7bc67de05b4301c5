// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// What messages of a hostile peer can make the decoder allocate. Each is decoded in a child of its
/// own, whose peak of memory tells.
@Suite struct MessageMemoryTests {
  enum Shape: String, Codable, CaseIterable {
    case nulls, emptyTuples, emptyLists, emptyDictionaries, emptySets, singles, pairs, listsOfOne
    case strings, bytes, marks, memo, sparseMemo, dictionary, set, sharedLists, sharedTypedLists
    case sharedLong, sharedText, sharedBytes, complex, numbers, widerNumbers, sharedNumbers, chunks
    case frozen
  }

  /// Bytes that some of the value is made of again and again.
  private static func fill(_ size: Int, _ unit: (Int) -> [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(size + 16)
    var count = 0
    while bytes.count < size {
      bytes += unit(count)
      count += 1
    }
    return bytes
  }

  private static func number(_ number: Int) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
  }

  private static func list(_ size: Int, _ unit: (Int) -> [UInt8]) -> [UInt8] {
    [0x80, 5, 0x5d, 0x28] + fill(size, unit) + [0x65, 0x2e]
  }

  /// A value that is remembered, and then a list of it.
  private static func shared(_ size: Int, _ value: [UInt8]) -> [UInt8] {
    [0x80, 0xc4] + value + [0x94, 0x30, 0x5d, 0x28] + fill(size - value.count) { _ in [0x68, 0] }
      + [0x65, 0x2e]
  }

  static func message(_ shape: Shape, _ size: Int) -> [UInt8] {
    switch shape {
    case .nulls: list(size) { _ in [0x4e] }
    case .emptyTuples: list(size) { _ in [0x29] }
    case .emptyLists: list(size) { _ in [0x5d] }
    case .emptyDictionaries: list(size) { _ in [0x7d] }
    case .emptySets: list(size) { _ in [0x8f] }
    case .singles: list(size) { _ in [0x4e, 0x85] }
    case .pairs: list(size) { _ in [0x4e, 0x4e, 0x86] }
    case .listsOfOne: list(size) { _ in [0x5d, 0x4e, 0x61] }
    case .frozen: list(size) { _ in [0x28, 0x4e, 0x91] }
    case .strings: list(size) { _ in [0x8c, 0] }
    case .bytes: list(size) { _ in [0x43, 1, 1] }
    case .marks: [0x80, 5] + fill(size) { _ in [0x28] } + [0x2e]
    case .memo: [0x80, 5, 0x4e] + fill(size) { _ in [0x94] } + [0x2e]
    case .sparseMemo: [0x80, 5, 0x4e] + fill(size) { [0x72] + number($0 * 64 + 9) } + [0x2e]
    case .dictionary:
      [0x80, 5, 0x7d, 0x28] + fill(size) { [0x4a] + number($0) + [0x4e] } + [0x75, 0x2e]
    case .set: [0x80, 5, 0x8f, 0x28] + fill(size) { [0x4a] + number($0) } + [0x90, 0x2e]
    // As many as may be: two values for each byte.
    case .sharedLists, .sharedTypedLists:
      shared(size, [0x5d, 0x28] + .init(repeating: 0x4e, count: 2) + [0x65])
    case .sharedLong: shared(size, [0x8b] + number(size / 2) + .init(repeating: 1, count: size / 2))
    case .sharedText:
      shared(size, [0x58] + number(size / 2) + .init(repeating: 65, count: size / 2))
    case .sharedBytes:
      shared(size, [0x42] + number(size / 2) + .init(repeating: 1, count: size / 2))
    case .complex:
      [0x80, 5] + Array("cbuiltins\ncomplex\n".utf8) + [0x94, 0x30, 0x47]
        + .init(repeating: 0, count: 8) + [0x94, 0x68, 1, 0x86, 0x94, 0x30, 0x5d, 0x28]
        + fill(size) { _ in [0x68, 0, 0x68, 2, 0x52] } + [0x65, 0x2e]
    case .numbers, .widerNumbers:
      [0x80, 0xc4, 0xf2, 0x62] + number(size) + number(0) + .init(repeating: 1, count: size) + [
        0x2e
      ]
    case .sharedNumbers:
      shared(size, [0xf2, 0x62] + number(2) + number(0) + .init(repeating: 1, count: 2))
    // Two lists that grow in turn, so that neither lies in one piece.
    case .chunks:
      [0x80, 5, 0x5d, 0x94, 0x5d, 0x94]
        + fill(size) { _ in [0x4e, 0x61, 0x68, 0, 0x4e, 0x61, 0x30] }
        + [0x86, 0x2e]
    }
  }

  /// How many times the size of the message the process grew at most.
  private static func growth(_ shape: Shape, _ size: Int) throws -> Double {
    let bytes = message(shape, size)
    // The pages that any decoding touches.
    _ = try MessageDecoder().decode(MessageValue.self, from: [0x80, 4, 0x4e, 0x2e])
    let before = try peak()
    switch shape {
    case .sharedTypedLists: _ = try MessageDecoder().decode([[Int?]].self, from: bytes)
    case .sharedNumbers: _ = try MessageDecoder().decode([[Int]].self, from: bytes)
    case .widerNumbers: _ = try MessageDecoder().decode([Int64].self, from: bytes)
    // Refused, but at the end only.
    case .marks: _ = try? MessageDecoder().decode(MessageValue.self, from: bytes)
    default: _ = try MessageDecoder().decode(MessageValue.self, from: bytes)
    }
    return Double(try peak() - before) / Double(bytes.count)
  }

  /// The most memory that this process has had so far, in bytes.
  private static func peak() throws -> Int {
    let status = ChildWork.readAll(unsafe open("/proc/self/status", O_RDONLY | O_CLOEXEC))
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") })
    return try #require(
      line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }) * 1024
  }

  @Test(
    .enabled(if: !ChildWork.keepsMemory, "sanitizers keep what was freed"),
    arguments: Shape.allCases)
  func aMessageAllocatesASmallMultipleOfItsSize(_ shape: Shape) async throws {
    let child = try ChildProcess.start(shape, 1 << 18) {
      try MessageMemoryTests.growth($0, $1)
    }
    let times = try await child.value
    // 24 bytes for a value, 64 for the storage of an array of one, and 32 of the tape for the two, so
    // 60 for each byte of a list of tuples of one. Pages that only this child has not touched before
    // count too, some 13 times the message.
    #expect(times < 80, "\(shape): \(times)")
  }
}
