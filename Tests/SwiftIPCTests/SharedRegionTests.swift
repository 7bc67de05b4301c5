// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import Testing

@testable import SwiftIPC

@Suite struct SharedRegionTests {
  private struct Pair: BitwiseCopyable, Sendable, Equatable { var x = 1, y = 2 }

  /// What all kinds of objects have in common.
  private func holds<T: NamedObject>(
    _ make: (SharedRegion, NameMode) throws -> T, sharing share: (T, T) throws -> Bool
  ) throws {
    let region = try SharedRegion(size: 1 << 16)
    #expect(errorCode { _ = try make(region, .open) } == .nameNotFound)
    let made = try make(region, .create)
    #expect(made.wasCreated && made.name == "it")
    #expect(errorCode { _ = try make(region, .create) } == .nameExists)
    let opened = try make(region, .open)
    let found = try make(region, .openOrCreate)
    for other in [opened, found] {
      #expect(!other.wasCreated && other.name == "it")
      #expect(try share(made, other), "\(T.self)")
      #expect(errorCode { try other.unlink() } == .unsupported)
    }
    #expect(region.names.contains("it") && region.count == region.names.count)
    // Another process gets it through the region.
    let (ours, theirs) = try Connection.pair()
    if let encodable = made as? any Encodable, let type = T.self as? any Decodable.Type {
      try ours.send(encodable)
      let received = try theirs.receive(type)
      let object = try #require(received as? T)
      #expect(!object.wasCreated && object.name == "it")
      #expect(try share(made, object))
    }
  }

  @Test func everyTypeLivesInARegion() throws {
    try holds {
      try $0.value("it", Pair(), $1)
    } sharing: { made, other in
      try other.withLock { $0.x += 1 }
      return made.value == other.value && made.value.y == 2
    }
    try holds {
      try $0.atomic("it", 5, $1)
    } sharing: { made, other in
      other.add(1).newValue == made.load() && made.load() > 5
    }
    try holds {
      try $0.array("it", [1, 2, 3], $1)
    } sharing: { made, other in
      other[1] += 1
      return try made.withLock { $0[1] } == other[1] && made[2] == 3
    }
    try holds {
      try $0.array("it", shape: [2, 3], repeating: Pair(), $1, transactional: true)
    } sharing: { made, other in
      try other.update(4..<5) { $0[0].x += 1 }
      return made[1, 1] == other[1, 1] && made[1, 1].x > 1 && made.shape == other.shape
    }
    try holds {
      try $0.string("it", "one", capacity: 20, $1)
    } sharing: { made, other in
      try other.withLock { $0 += "!" }
      return made.value == other.value && made.value.hasPrefix("one!")
    }
    try holds {
      try $0.bytes("it", [1], capacity: 20, $1)
    } sharing: { made, other in
      try other.update { $0.append(2) }
      return made.value == other.value && made.count > 1
    }
    try holds {
      try $0.lock("it", $1)
    } sharing: { made, other in
      try made.withLock { errorCode { try other.withLock {} } == .alreadyLocked }
    }
    try holds {
      try $0.recursiveLock("it", $1)
    } sharing: { made, other in
      try made.withLock { try other.withLock { true } }
    }
  }

  @Test func whatIsWaitedForLivesInARegion() throws {
    try holds {
      try $0.semaphore("it", value: 3, $1)
    } sharing: { made, other in
      try made.withPermit { other.value == 2 && other.capacity == 3 } && other.value == 3
    }
    try holds {
      try $0.readWriteLock("it", readers: 16, $1)
    } sharing: { made, other in
      let code = try made.withWriteLock { errorCode { try other.withReadLock {} } }
      return code == .alreadyLocked && other.readerCapacity == 16
    }
    try holds {
      try $0.unownedSemaphore("it", value: 1, $1)
    } sharing: { made, other in
      let before = other.value
      try made.release()
      return other.value == before + 1
    }
    try holds {
      try $0.event("it", $1)
    } sharing: { made, other in
      made.set()
      defer { other.clear() }
      return other.isSet
    }
    try holds {
      try $0.barrier("it", parties: 1, $1)
    } sharing: { made, other in
      other.parties == made.parties
    }
    try holds {
      try $0.condition("it", $0.lock("lock"), waiters: 4, $1)
    } sharing: { made, other in
      try made.withLock { errorCode { try other.withLock {} } == .alreadyLocked }
    }
  }

  @Test func waitersInARegionAreWoken() async throws {
    let region = try SharedRegion(size: 1 << 16)
    let ready = try region.event("ready")
    let semaphore = try region.semaphore("one", value: 1)
    let permit = try await semaphore.acquire()
    let child = try ChildProcess.start(region) { region in try signalAndTake(region) }
    try await ready.wait()
    try permit.release()
    #expect(try await child.value == 7)
  }

  @Test func objectsAreFoundWhateverTheirExtent() throws {
    let region = try SharedRegion(size: 1 << 16)
    _ = try region.array("a", shape: [2, 3], repeating: Int32(7))
    _ = try region.string("s", "text", capacity: 10)
    _ = try region.bytes("b", [1, 2], capacity: 10)
    #expect(try region.array("a", of: Int32.self).shape == [2, 3])
    #expect(try region.string("s").value == "text")
    #expect(try region.bytes("b").value == [1, 2])
    #expect(errorCode { _ = try region.array("b", of: Int32.self) } == .segmentMismatch)
    #expect(errorCode { _ = try region.string("t") } == .nameNotFound)
    #expect(region.names == ["a", "s", "b"])
  }

  @Test func anotherTypeIsToldByTheField() throws {
    let region = try SharedRegion(size: 1 << 16)
    _ = try region.value("it", 0)
    func refusal(_ body: () throws -> Void) -> String {
      do { try body() } catch { return "\(error)" }
      return "accepted"
    }
    #expect(refusal { _ = try region.value("it", UInt(0)) }.contains("fingerprint"))
    #expect(refusal { _ = try region.value("it", Pair()) }.contains("element size"))
    #expect(refusal { _ = try region.atomic("it", 0) }.contains("kind"))
    #expect(refusal { _ = try region.lock("it") }.contains("kind"))
    _ = try region.array("row", [1, 2, 3])
    #expect(refusal { _ = try region.array("row", [1, 2]) }.contains("count"))
    #expect(
      refusal { _ = try region.array("row", shape: [1, 3], repeating: 0) }.contains("shape"))
    #expect(
      refusal { _ = try region.array("row", [1, 2, 3], transactional: true) }
        .hasPrefix("segmentMismatch"))
    #expect(refusal { _ = try region.array("row", of: Int8.self) }.hasPrefix("segmentMismatch"))
  }

  @Test func namesHave1To63Bytes() throws {
    let region = try SharedRegion(size: 1 << 16)
    for name in ["", String(repeating: "n", count: 64), String(repeating: "å", count: 32), "a\0b"] {
      #expect(errorCode { _ = try region.lock(name) } == .invalidArgument)
      #expect(errorCode { _ = try region.lock(name, .open) } == .invalidArgument)
    }
    for name in ["n", "/a/b", String(repeating: "n", count: 63), "åäö", ".."] {
      let lock = try region.lock(name)
      #expect(lock.name == name && lock.wasCreated)
    }
    #expect(region.count == 5 && region.names[2].count == 63 && region.names[3] == "åäö")
  }

  @Test func aFullRegionSaysSo() throws {
    let region = try SharedRegion(size: 2048)
    let first = try region.value("first", 1)
    #expect(
      errorCode { _ = try region.array("large", repeating: 0, count: 300) } == .capacityExceeded)
    #expect(
      errorCode { _ = try region.array("huge", repeating: 0, count: 1 << 57) } == .capacityExceeded)
    var made = 1
    while errorCode({ _ = try region.atomic("\(made)", made) }) == nil { made += 1 }
    #expect(errorCode { _ = try region.atomic("more", 0) } == .capacityExceeded)
    #expect(region.count == made && made > 5)
    #expect(first.value == 1)
    for number in 1..<made { #expect(try region.atomic("\(number)", 0).load() == number) }
    let size = SharedRegion.size(forObjects: 100, bytes: 800)
    let hundred = try SharedRegion(size: size)
    for number in 0..<100 { _ = try hundred.atomic("\(number)", number) }
    #expect(hundred.count == 100 && hundred.size >= size)
  }

  @Test func badSizesAreErrors() {
    for size in [-1, 0, 100, 319] {
      #expect(errorCode { _ = try SharedRegion(size: size) } == .invalidArgument, "\(size)")
    }
    for size in [Int.max, 1 << 60, 1 << 46] {
      let code = errorCode { _ = try SharedRegion(size: size) }
      #expect(code == .outOfMemory || code == .invalidArgument, "\(size)")
    }
    #expect(SharedRegion.size(forObjects: .max, bytes: .max) == .max)
  }

  @Test func elementsAreAligned() throws {
    let region = try SharedRegion(size: 1 << 18)
    func isAligned<T: BitwiseCopyable & Sendable>(_ name: String, _ element: T) throws -> Bool {
      // Something in between, so that what is aligned is so by intention.
      _ = try region.atomic("before \(name)", 0)
      let array = try region.array(name, repeating: element, count: 2, transactional: true)
      let again = try region.array(name, of: T.self)
      return try [array, again].allSatisfy { array in
        let isAligned = unsafe array.withContiguousStorageIfAvailable {
          Int(bitPattern: $0.baseAddress) % max(64, MemoryLayout<T>.alignment) == 0
        }
        let isCopyAligned = try array.update { span in
          unsafe span.withUnsafeMutableBufferPointer {
            Int(bitPattern: $0.baseAddress) % MemoryLayout<T>.alignment == 0
          }
        }
        return isAligned == true && isCopyAligned
      }
    }
    #expect(try isAligned("a", UInt8(0)))
    #expect(try isAligned("b", SIMD16<Double>(repeating: 0)))
    #expect(try isAligned("c", SIMD32<Double>(repeating: 0)))
    #expect(try isAligned("d", SIMD64<Double>(repeating: 0)))
  }

  @Test func objectsKeepTheRegion() throws {
    var region: SharedRegion? = try SharedRegion(size: 4096)
    let inode = try test_inode(descriptor(of: #require(region)))
    var value: Value<Int>? = try region?.value("it", 5)
    region = nil
    #expect(value?.value == 5)
    try value?.store(6)
    #expect(value?.value == 6)
    #expect(test_count_descriptors(inode) == 1)
    value = nil
    #expect(test_count_descriptors(inode) == 0 && test_count_mappings(inode) == 0)
  }

  @Test func aThousandObjectsAreOneDescriptorInEveryProcess() async throws {
    let region = try SharedRegion(size: SharedRegion.size(forObjects: 1001, bytes: 300_000))
    let go = try region.atomic("go", 0)
    let children = try [1, 7, 999].map { stride in
      // The same objects, each process in another order.
      try ChildProcess.start(region, go, stride) { region, go, stride in
        while go.load() == 0 {}
        for index in 0..<1000 {
          try region.value("object \(index * stride % 1000)", 100).withLock { $0 += 1 }
        }
        let inode = try test_inode(descriptor(of: region))
        return [Int(test_count_descriptors(inode)), Int(test_count_mappings(inode))]
      }
    }
    go.store(1)
    for child in children { #expect(try await child.value == [1, 1]) }
    #expect(region.count == 1001)
    for index in 0..<1000 {
      #expect(try region.value("object \(index)", 0, .open).value == 103)
    }
    // All in one message, and each in one of its own.
    let values = try (0..<1000).map { try region.value("object \($0)", 0) }
    let sum = try ChildProcess.start(values) { values in
      for value in values { try value.withLock { $0 -= 3 } }
      let inode = test_inode(values[0].segment.descriptor)
      return [
        values.reduce(0) { $0 + $1.value }, Int(test_count_descriptors(inode)),
        Int(test_count_mappings(inode)),
      ]
    }
    #expect(try await sum.value == [100_000, 1, 1])
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs) { connection in
      var received: [Value<Int>] = []
      for _ in 0..<300 { received.append(try receiveNow(connection)) }
      let inode = test_inode(received[0].segment.descriptor)
      return [
        received.reduce(0) { $0 + $1.value }, Int(test_count_descriptors(inode)),
        Int(test_count_mappings(inode)),
      ]
    }
    for value in values.prefix(300) { try await ours.send(value) }
    #expect(try await child.value == [30_000, 1, 1])
  }

  @Test func aLockInARegionTellsOfADeath() async throws {
    let region = try SharedRegion(size: 8192)
    let lock = try region.lock("lock")
    let numbers = try region.array("numbers", [1, 2], transactional: true)
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(lock, numbers, theirs) { lock, numbers, connection in
      try lock.withLock {
        try numbers.update { span in
          span[0] = 100
          try connection.send(bytes: [1])
          _ = try connection.receiveBytes()
        }
      }
    }
    #expect(try await ours.receiveBytes() == [1])
    try child.kill()
    #expect(try await child.join() == .signalled(SIGKILL))
    #expect(errorCode { try lock.withLock {} } == .ownerDied)
    try lock.withLock {
    } recovering: {
    }
    #expect(try numbers.withLock { [$0[0], $0[1]] } == [1, 2])
  }

  @Test func aRegionMayHaveAName() async throws {
    let name = nameOfTest()
    let region = try SharedRegion(size: 8192, named: name, .create)
    defer { try? region.unlink() }
    let hits = try region.value("hits", 1)
    let child = try ChildProcess.start(name) { name in
      try SharedRegion(named: name).value("hits", 0).withLock { $0 += 1 }
    }
    #expect(try await child.join() == .exited(0))
    #expect(hits.value == 2)
    let same = try SharedRegion(size: 8192, named: name)
    #expect(!same.wasCreated && same.names == ["hits"])
    #expect(errorCode { _ = try SharedRegion(size: 4096, named: name) } == .segmentMismatch)
    #expect(errorCode { _ = try Lock(named: name) } == .segmentMismatch)
  }

  @Test func regionsAndTheirObjectsTravelInMessagesAlone() throws {
    let region = try SharedRegion(size: 4096)
    let hits = try region.value("hits", 0)
    #expect(errorCode { _ = try JSON.encode(region) } == .notTransferable)
    #expect(errorCode { _ = try JSON.encode(hits) } == .notTransferable)
    let received = try transfer(region)
    try received.value("hits", 0).store(5)
    #expect(hits.value == 5)
  }

  @Test func hostileRegionsAreErrors() throws {
    // A region that this process does not have yet, as from another.
    func foreign(_ change: (UnsafeMutableRawPointer) -> Void) throws -> Int32 {
      var segment: OpaquePointer?
      try #require(unsafe cipc_region_create(&segment, 4096) == 0)
      let memory = try unsafe #require(unsafe cipc_segment_address(segment!))
      var object = unsafe cipc_region_object_t()
      let made = unsafe "it".withCString { name in
        unsafe object.name = unsafe name
        var element = cipc_element_t(of: Int.self)
        unsafe object.type = unsafe cipc_atomic_type(&element)
        unsafe object.size = 8
        var entry = cipc_region_entry_t()
        return unsafe cipc_region_allocate(
          memory.assumingMemoryBound(to: cipc_region_t.self), 4096, &object, &entry, .max)
      }
      #expect(made == CIPC_REGION_CREATED.rawValue)
      unsafe change(memory)
      let descriptor = unsafe duplicate(cipc_segment_descriptor(segment!))
      unsafe cipc_segment_close(segment)
      return descriptor
    }
    func word(_ memory: UnsafeMutableRawPointer, _ at: Int) -> UnsafeMutablePointer<UInt64> {
      unsafe (memory + at).assumingMemoryBound(to: UInt64.self)
    }
    let good = try receive(SharedRegion.self, descriptor: unsafe foreign { _ in })
    #expect(try good.names == ["it"] && good.atomic("it", 0, .open).load() == 0)
    // The magic and the size.
    for at in [64, 72] {
      let bad = try unsafe foreign { unsafe word($0, at).pointee += 1 }
      #expect(errorCode { _ = try receive(SharedRegion.self, descriptor: bad) } == .segmentMismatch)
    }
    // The entry: 64 bytes of name, 48 of type, offset and size.
    for (at, number) in [(112, 0), (112, 64), (112, 130), (112, 1 << 40), (120, 4096), (120, .max)]
      as [(Int, UInt64)]
    {
      let bad = try receive(
        SharedRegion.self,
        descriptor: unsafe foreign { unsafe word($0, 4096 - 128 + at).pointee = number })
      #expect(bad.names == [])
      #expect(errorCode { _ = try bad.atomic("it", 0) } == .segmentMismatch, "\(at) \(number)")
    }
    // The count of entries.
    let many = try receive(
      SharedRegion.self, descriptor: unsafe foreign { unsafe word($0, 80).pointee = .max })
    #expect(many.names == ["it"] && many.count == 31)
    #expect(errorCode { _ = try many.lock("new") } != nil)
    // A lock or an array in an object that has no room for it.
    let small = try receive(
      SharedRegion.self,
      descriptor: unsafe foreign {
        unsafe word($0, 4096 - 128 + 64).pointee = UInt64(CIPC_KIND_VALUE) | 1 << 32
      })
    #expect(errorCode { _ = try small.value("it", 0) } == .segmentMismatch)
  }
}

/// The blocking form, which a closure that might be asynchronous does not choose.
private func receiveNow(_ connection: Connection) throws -> Value<Int> {
  try connection.receive(Value<Int>.self)
}

private func signalAndTake(_ region: SharedRegion) throws -> Int {
  try region.event("ready").set()
  return try region.semaphore("one", value: 1).withPermit { 7 }
}

private enum JSON {
  /// Any encoder that writes no message.
  static func encode(_ value: some Encodable) throws {
    try value.encode(to: IndexEncoder(userInfo: [:]))
  }
}
