// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// A peer that sends every cut and every flipped bit of messages that are right. Whatever it sends
/// is a value or an error here, and no descriptor stays.
@Suite struct HostilePeerTests {
  /// Every message that is one bit or one cut away.
  private func variants(of bytes: [UInt8]) -> [[UInt8]] {
    var variants = (0..<bytes.count).map { Array(bytes[..<$0]) }
    for place in bytes.indices {
      for bit in 0..<8 {
        var flipped = bytes
        flipped[place] ^= 1 << UInt8(bit)
        variants.append(flipped)
      }
    }
    return variants
  }

  /// Decodes every variant of a message, each with descriptors of its own; how many were refused.
  private func tryAll<T: Codable>(_ message: T, _ use: (T) throws -> Void) throws -> Int {
    let (bytes, outbox) = try MessageEncoder().encodeWithDescriptors(message)
    let descriptors = outbox?.descriptors ?? []
    var refused = 0
    for variant in variants(of: bytes) {
      let inbox = DescriptorInbox(descriptors.map { fcntl($0, F_DUPFD_CLOEXEC, 0) })
      do {
        try use(MessageDecoder().decode(T.self, from: variant, inbox: inbox))
      } catch {
        refused += 1
        #expect(error is IPCError, "\(error) for \(variant)")
      }
    }
    withExtendedLifetime(outbox) {}
    return refused
  }

  struct Handles: Codable {
    var lock: Lock
    var recursive: RecursiveLock
    var value: Value<Double>
    var atomic: SharedAtomic<Int32>
    var array: SharedArray<Int32>
    var text: SharedString
  }

  @Test func handles() throws {
    let handles = try Handles(
      lock: Lock(), recursive: RecursiveLock(), value: Value(1.5), atomic: SharedAtomic(7),
      array: SharedArray(0..<6, shape: 2, 3), text: SharedString("hello", capacity: 10))
    let (_, outbox) = try MessageEncoder().encodeWithDescriptors(handles)
    let files = Set(try #require(outbox).descriptors.map { test_inode($0) })
    let before = openDescriptors(of: files)
    let refused = try tryAll(handles) { got in
      // Indices that are exchanged give a handle of another kind, and that is refused; so what
      // comes through is what was sent.
      #expect(got.value.value == 1.5 && got.atomic.load() == 7 && got.text.value == "hello")
      #expect(got.array[1, 2] == 5)
      try got.lock.withLock { try got.recursive.withLock {} }
    }
    #expect(refused > 500)
    #expect(openDescriptors(of: files) == before)
  }

  @Test func connections() throws {
    let (peer, moving) = try Connection.pair()
    for number in 1...3 { try peer.send(number) }
    #expect(try moving.receive(Int.self) == 1)
    let (_, outbox) = try MessageEncoder().encodeWithDescriptors(moving)
    let files = Set(try #require(outbox).descriptors.map { test_inode($0) })
    let before = openDescriptors(of: files)
    let refused = try tryAll(moving) { got in
      // What it has read ahead may be anything now.
      while try got.poll(timeout: .zero) { _ = try got.receiveBytes(timeout: .zero) }
    }
    #expect(refused > 500)
    // Sockets are closed by a thread of the library.
    while openDescriptors(of: files) > before { sched_yield() }
    #expect(openDescriptors(of: files) == before)
  }

  @Test func queues() throws {
    let queue = try Queue<Int>()
    let (_, outbox) = try MessageEncoder().encodeWithDescriptors(queue)
    let files = Set(try #require(outbox).descriptors.map { test_inode($0) })
    let before = openDescriptors(of: files)
    let refused = try tryAll(queue) { got in
      try got.put(7)
      #expect(try queue.get() == 7)
    }
    #expect(refused > 200)
    #expect(openDescriptors(of: files) == before)
  }

  /// An error that quotes a message stays short.
  @Test func errorsAreShort() throws {
    let number = [0x80, 4, 0x8b, 0x40, 0x42, 0x0f, 0] + [UInt8](repeating: 0x7f, count: 1_000_000)
    let key = String(repeating: "k", count: 1_000_000)
    for (message, type) in [
      (number + [0x2e], Int.self as any Decodable.Type),
      (try MessageEncoder().encode([key: "text"]), [String: Int].self),
      (try MessageEncoder().encode([key: [1]]), [String: [String]].self),
    ] {
      do {
        _ = try MessageDecoder().decode(type, from: message)
        Issue.record("decoded")
      } catch let error as IPCError {
        #expect(error.context.utf8.count < 1000)
      }
    }
  }

  /// How many descriptors of this process are of these files: other tests open others meanwhile.
  private func openDescriptors(of files: Set<UInt64>) -> Int32 {
    files.reduce(0) { $0 + test_count_descriptors($1) }
  }
}
