// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// What a segment from another process is checked for, and that nothing of it stays behind.
@Suite struct SegmentTests {
  private struct Private: BitwiseCopyable, Sendable { var x = 0 }

  /// The bytes of an object's segment, header included.
  private func bytes(of value: some Encodable) throws -> [UInt8] {
    let descriptor = try descriptor(of: value)
    let size = lseek(descriptor, 0, SEEK_END)
    return unsafe [UInt8](unsafeUninitializedCapacity: Int(size)) { buffer, count in
      unsafe count = pread(descriptor, buffer.baseAddress, Int(size), 0)
    }
  }

  /// What decoding says about these bytes in a memfd; also checks that the descriptor is closed.
  private func message<T: Decodable>(
    _ type: T.Type, _ bytes: [UInt8], sealed: Bool = true, writable: Bool = true
  ) throws -> String {
    let crafted = unsafe test_memfd(bytes, bytes.count, sealed ? 1 : 0, writable ? 1 : 0)
    try #require(crafted >= 0)
    defer { close(crafted) }
    let inode = test_inode(crafted)
    var message = "accepted"
    do { _ = try receive(type, descriptor: duplicate(crafted)) } catch { message = "\(error)" }
    #expect(test_count_descriptors(inode) == 1)
    #expect(test_count_mappings(inode) == 0)
    return message
  }

  private static let fields: [(offset: Int, word: String)] = [
    (0, "magic"), (8, "layout version"), (12, "kind"), (16, "layout version"),
    (20, "mutex layout"), (24, "mutex layout"), (28, "mutex layout"), (32, "element size"),
    (40, "stride"), (48, "alignment"), (56, "count"), (64, "type fingerprint"),
    (72, "pid namespace"), (80, "segment size"), (120, "ready word"),
  ]

  private func refusesEachField<T: Codable>(_ value: T) throws {
    let good = try bytes(of: value)
    #expect(try message(T.self, good) == "accepted")
    for (offset, word) in Self.fields {
      // 0x80 in the highest byte of a 32-bit half: far beyond and, for counts, negative.
      for (byte, bit) in [(offset, UInt8(1)), (offset + 3, 0x80)] {
        var bad = good
        bad[byte] ^= bit
        // A smaller count of an array or text is a shape or a capacity that does not fit.
        let said = try message(T.self, bad)
        #expect(
          said.hasPrefix("segmentMismatch: \(T.self): segment ")
            && (said.contains(word) || offset == 56 && said.contains("shape"))
            && (said.contains(" instead of ") || offset == 56),
          "\(T.self), byte \(byte): \(said)")
      }
    }
    for size in [1, 64, 127, 128, 129, good.count - 1] {
      let said = try message(T.self, Array(good.prefix(size)))
      #expect(said.hasPrefix("segmentMismatch: \(T.self): segment size"), "\(size): \(said)")
    }
    #expect(try message(T.self, good + [0]).contains("segment size"))
    #expect(try message(T.self, good, sealed: false).contains("segment seals"))
    #expect(
      try message(T.self, good, writable: false)
        == "segmentMismatch: \(T.self): segment memory: cannot be written (errno \(EPERM))")
    #expect(try message(T.self, []).contains("segment size"))
  }

  @Test func eachFieldThatDiffersIsNamed() throws {
    try refusesEachField(Lock())
    try refusesEachField(RecursiveLock())
    try refusesEachField(Value(1.5))
    try refusesEachField(SharedAtomic(7))
    try refusesEachField(SharedArray<Int32>(0..<10))
    // A capacity of one more is a longer cell.
    try refusesEachField(SharedString("hello", capacity: 8))
  }

  @Test func aDescriptorOfSomethingElseIsAnErrorAndClosed() throws {
    let pipe = Pipe()
    let inode = test_inode(pipe.reading)
    let before = test_count_descriptors(inode)
    #expect(
      errorCode { _ = try receive(Lock.self, descriptor: duplicate(pipe.reading)) }
        == .segmentMismatch)
    #expect(test_count_descriptors(inode) == before)
  }

  @Test func nothingStaysOfAnObjectThatIsDropped() throws {
    func check(_ make: () throws -> any Encodable) throws {
      var inode: UInt64 = 0
      do {
        let value = try make()
        inode = try test_inode(descriptor(of: value))
        #expect(test_count_descriptors(inode) == 1)
        #expect(test_count_mappings(inode) == 1)
        withExtendedLifetime(value) {}
      }
      #expect(test_count_descriptors(inode) == 0)
      #expect(test_count_mappings(inode) == 0)
    }
    try check { try Lock() }
    try check { try RecursiveLock() }
    try check { try Value(1) }
    try check { try SharedAtomic(1) }
    try check { try SharedArray(0..<10) }
    try check { try SharedString(capacity: 10) }
    try check { try transfer(Value(1)) }
    try check { try transfer(SharedArray(0..<10)) }
  }

  @Test func anOutboxKeepsTheDescriptorOpen() throws {
    let outbox = DescriptorOutbox()
    do { try Value(5).encode(to: IndexEncoder(userInfo: [.descriptorOutbox: outbox])) }
    let received = try receive(Value<Int>.self, descriptor: duplicate(outbox.descriptors[0]))
    #expect(received.value == 5)
  }

  @Test func anIndexThatDidNotComeAlongIsAnError() {
    let inbox = DescriptorInbox([])
    #expect(
      errorCode { _ = try Lock(from: IndexDecoder(userInfo: [.descriptorInbox: inbox])) }
        == .malformedMessage)
  }

  private struct Everything: Codable {
    var lock: Lock
    var recursive: RecursiveLock
    var value: Value<Double>
    var atomic: SharedAtomic<Int32>
    var arrays: [SharedArray<Int32>]
    var text: SharedString
    var nothing: Value<Int>?
  }

  @Test func allTravelTogetherInOneMessage() throws {
    let sent = try Everything(
      lock: Lock(), recursive: RecursiveLock(), value: Value(1.5), atomic: SharedAtomic(7),
      arrays: [SharedArray(0..<6, shape: 2, 3), SharedArray(6..<9)],
      text: SharedString("hello", capacity: 10), nothing: nil)
    let (bytes, outbox) = try MessageEncoder().encodeWithDescriptors(sent)
    let descriptors = try #require(outbox).descriptors
    #expect(descriptors.count == 7)
    let inbox = DescriptorInbox(descriptors.map(duplicate))
    let got = try MessageDecoder().decode(Everything.self, from: bytes, inbox: inbox)
    try got.value.store(2.5)
    got.atomic.add(1)
    got.arrays[0][1, 2] = 50
    got.arrays[1][0] = 60
    try got.text.store("there")
    #expect(sent.value.value == 2.5 && sent.atomic.load() == 8)
    #expect(sent.arrays[0][5] == 50 && sent.arrays[1][0] == 60 && sent.text.value == "there")
    #expect(try sent.lock.withLock { errorCode { try got.lock.withLock {} } } == .alreadyLocked)
    #expect(try sent.recursive.withLock { try got.recursive.withLock { true } })
    // Without a message around them they do not go.
    #expect(errorCode { _ = try MessageEncoder().encode(sent) } == .notTransferable)
    #expect(
      errorCode { _ = try MessageDecoder().decode(Everything.self, from: bytes) }
        == .notTransferable)
  }

  /// The runtime names private types by an address, which differs in every process.
  @Test func privateElementTypesTravel() throws {
    struct Local: BitwiseCopyable, Sendable { var x = 0 }
    #expect(try transfer(Value(Private(x: 3))).value.x == 3)
    #expect(try transfer(Value(Local(x: 4))).value.x == 4)
    let value = try Value(Local())
    #expect(
      errorCode {
        _ = try receive(Value<Private>.self, descriptor: duplicate(descriptor(of: value)))
      } == .segmentMismatch)
  }
}
