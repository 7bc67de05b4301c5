// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// Typed objects by name, for processes that know nothing of each other but that.
@Suite struct NamedObjectTests {
  private struct Pair: BitwiseCopyable, Sendable, Equatable { var x = 1, y = 2 }

  /// What all types have in common.
  private func holds<T: NamedObject>(
    _ make: (String, NameMode) throws -> T, sharing share: (T, T) throws -> Bool
  ) throws {
    let name = nameOfTest()
    #expect(errorCode { _ = try make(name, .open) } == .nameNotFound)
    let made = try make("/" + name, .create)
    #expect(made.name == name && made.wasCreated)
    #expect(errorCode { _ = try make(name, .create) } == .nameExists)
    let opened = try make(name, .open)
    let found = try make(name, .openOrCreate)
    for other in [opened, found] {
      #expect(other.name == name && !other.wasCreated)
      #expect(try share(made, other), "\(T.self)")
      #expect(errorCode { try other.unlink() } == .notOwner)
    }
    try made.unlink()
    #expect(errorCode { try made.unlink() } == .nameNotFound)
    #expect(errorCode { _ = try make(name, .open) } == .nameNotFound)
    #expect(try share(made, opened))
    let second = try make(name, .openOrCreate)
    #expect(second.wasCreated)
    // The name is another object's by now.
    #expect(errorCode { try made.unlink() } == .nameNotFound)
    try second.unlink()
    #expect(errorCode { _ = try make("a/b", .openOrCreate) } == .invalidArgument)
  }

  @Test func everyTypeIsFoundByItsName() throws {
    try holds {
      try Lock(named: $0, $1)
    } sharing: { made, other in
      try made.withLock { errorCode { try other.withLock {} } == .alreadyLocked }
    }
    try holds {
      try RecursiveLock(named: $0, $1)
    } sharing: { made, other in
      try made.withLock { try other.withLock { true } }
    }
    try holds {
      try Value(Pair(), named: $0, $1)
    } sharing: { made, other in
      try other.withLock { $0.x += 1 }
      return made.value == other.value && made.value.y == 2
    }
    try holds {
      try SharedAtomic(5, named: $0, $1)
    } sharing: { made, other in
      other.add(1).newValue == made.load() && made.load() > 5
    }
    try holds {
      try SharedArray<Int32>(0..<10, named: $0, $1)
    } sharing: { made, other in
      other[3] += 1
      return made[3] == other[3] && made[9] == 9
    }
    try holds {
      try SharedArray(shape: [2, 3], repeating: 1.5, named: $0, $1, transactional: true)
    } sharing: { made, other in
      try other.update { $0[5] += 1 }
      return made[1, 2] == other[1, 2] && other.isTransactional
    }
  }

  /// To Swift the slash and the mark behind it are one character, to C they are not.
  @Test func aSlashBeforeACombiningMarkDoesNotCountEither() throws {
    let name = "\u{301}" + nameOfTest()
    let made = try Value(1, named: "/" + name, .create)
    #expect(Array(made.name!.utf8) == Array(name.utf8))
    #expect(try Value<Int>(named: name).value == 1)
    var segment: OpaquePointer?
    for spelling in [name, "/" + name] {
      #expect(unsafe cipc_segment_open_named(&segment, spelling, nil) == 0, "\(spelling)")
      unsafe cipc_segment_close(segment)
    }
    try made.unlink()
  }

  @Test func primitivesAreFoundByTheirNames() throws {
    let lock = try Lock()
    try holds {
      try Condition(lock, waiters: 4, named: $0, $1)
    } sharing: { made, other in
      _ = try made.withLock { try other.notify() }
      return true
    }
    try holds {
      try Barrier(parties: 2, named: $0, $1)
    } sharing: { made, other in
      try other.abort()
      let isBroken = made.isBroken
      try made.reset()
      return isBroken && !other.isBroken
    }
    try holds {
      try Event(named: $0, $1)
    } sharing: { made, other in
      other.set()
      defer { other.clear() }
      return made.isSet
    }
    try holds {
      try SharedSemaphore(value: 3, named: $0, $1)
    } sharing: { made, other in
      try other.withPermit { made.value == 2 }
    }
    try holds {
      try SharedSemaphore.Unowned(value: 0, bound: 9, named: $0, $1)
    } sharing: { made, other in
      let before = made.value
      try other.release()
      return made.value == before + 1
    }
    try holds {
      try SharedRegion(size: 1 << 16, named: $0, $1)
    } sharing: { made, other in
      made.size == other.size && made.names == other.names
    }
  }

  @Test func textAndBytesAreFoundByTheirNames() throws {
    try holds {
      try SharedString("one", capacity: 64, named: $0, $1)
    } sharing: { made, other in
      try other.withLock { $0 += "!" }
      return made.value == other.value && made.value.hasPrefix("one!")
    }
    try holds {
      try SharedBytes([1], capacity: 64, named: $0, $1)
    } sharing: { made, other in
      try other.update { $0.append(2) }
      return made.value == other.value && made.value.starts(with: [1, 2])
    }
    let name = nameOfTest()
    #expect(errorCode { _ = try SharedString(named: name) } == .nameNotFound)
    let text = try SharedString("hello", capacity: 8, named: name)
    defer { try? text.unlink() }
    #expect(try SharedString(named: name).value == "hello")
    #expect(try SharedString(named: name).capacity == 8)
    #expect(
      errorCode { _ = try SharedString(capacity: 16, named: name) } == .segmentMismatch)
    #expect(errorCode { _ = try SharedBytes(named: name) } == .segmentMismatch)
  }

  @Test func whatIsOpenedNeedsNoInitialValue() throws {
    let name = nameOfTest()
    #expect(errorCode { _ = try Value<Double>(named: name) } == .nameNotFound)
    #expect(errorCode { _ = try SharedAtomic<Int>(named: name) } == .nameNotFound)
    #expect(errorCode { _ = try SharedArray<Int>(named: name) } == .nameNotFound)
    let value = try Value(1.5, named: name)
    #expect(try Value<Double>(named: name).value == 1.5)
    #expect(try Value(7.5, named: name).value == 1.5)
    try value.unlink()
    let atomic = try SharedAtomic(3, named: name)
    #expect(try SharedAtomic<Int>(named: name).load() == 3)
    try atomic.unlink()
    let array = try SharedArray(shape: [4, 5], repeating: 2, named: name)
    #expect(try SharedArray<Int>(named: name).shape == [4, 5])
    try array.unlink()
  }

  @Test func anonymousObjectsHaveNoName() throws {
    let value = try Value(1)
    #expect(value.name == nil && value.wasCreated)
    #expect(errorCode { try value.unlink() } == .unsupported)
    let received = try transfer(value)
    #expect(received.name == nil && !received.wasCreated)
    #expect(errorCode { try received.unlink() } == .unsupported)
  }

  @Test func anObjectOfAnotherTypeIsRefused() throws {
    let name = nameOfTest()
    let value = try Value(1.5, named: name)
    defer { try? value.unlink() }
    func refusal(_ body: () throws -> Void) -> String {
      do { try body() } catch { return "\(error)" }
      return "accepted"
    }
    #expect(
      refusal { _ = try Value<Int>(named: name) }
        .contains("segment type fingerprint: float64 instead of int64"))
    #expect(
      refusal { _ = try Value(1 as Int32, named: name) }
        .contains("segment element size: 8 instead of 4"))
    #expect(
      refusal { _ = try Lock(named: name) }.contains("segment kind: value instead of mutex"))
    #expect(refusal { _ = try SharedArray(0..<3, named: name) }.contains("segment kind"))
    #expect(refusal { _ = try Lock(named: name) }.contains("Lock named \(name)"))
    #expect(refusal { _ = try Value(0, named: name, .create) }.contains("nameExists"))
    let plain = nameOfTest()
    let memory = try SharedMemory(creating: plain, size: 4096)
    defer { try? memory.unlink() }
    #expect(refusal { _ = try Lock(named: plain) }.contains("segment magic"))
    // Plain bytes are whatever is there.
    #expect(try SharedMemory(attachingTo: name).size > 128)
    let semaphore = try SharedSemaphore.Unowned(value: 0, bound: 9, named: nameOfTest())
    defer { try? semaphore.unlink() }
    #expect(
      refusal { _ = try SharedSemaphore.Unowned(value: 0, named: semaphore.name!) }.contains(
        "bound"))
    #expect(
      refusal { _ = try SharedSemaphore(value: 1, named: semaphore.name!) }.contains("element size")
    )
    let array = try SharedArray(0..<6, named: nameOfTest())
    defer { try? array.unlink() }
    let taken = array.name!
    #expect(refusal { _ = try SharedArray(0..<7, named: taken) }.contains("count"))
    #expect(
      refusal { _ = try SharedArray(shape: [2, 3], repeating: 0, named: taken) }.contains("shape"))
    #expect(
      refusal { _ = try SharedArray(0..<6, named: taken, transactional: true) }
        .contains("segment size"))
    let transactional = try SharedArray(0..<6, named: nameOfTest(), transactional: true)
    defer { try? transactional.unlink() }
    #expect(
      refusal { _ = try SharedArray(0..<6, named: transactional.name!) }.contains("transactional"))
  }

  @Test func namedObjectsTravelAsWell() async throws {
    let value = try Value(1, named: nameOfTest())
    let lock = try Lock(named: nameOfTest())
    // The name is not needed any more, and the memory is there nevertheless.
    try lock.unlink()
    defer { try? value.unlink() }
    let child = try ChildProcess.start(value, lock) { value, lock in
      try lock.withLock { try value.store(2) }
      return errorCode { try value.unlink() } == .unsupported && !value.wasCreated
    }
    #expect(try await child.value)
    #expect(value.value == 2)
  }

  @Test func aProgramThatKnowsTheNameAloneFindsIt() async throws {
    let value = try Value(1.0, named: nameOfTest())
    defer { try? value.unlink() }
    let child = try ChildProcess.start(value.name!) { name in
      try Value<Double>(named: name).withLock { $0 += 1 }
    }
    try await child.join()
    #expect(value.value == 2)
  }

  @Test func ofTwentyProcessesOneCreates() async throws {
    let name = nameOfTest()
    // All add to it, so that one object came out of it.
    typealias Child = (process: ChildProcess<Bool>, connection: Connection)
    var children: [Child] = []
    for _ in 0..<20 {
      let (ours, theirs) = try Connection.pair()
      let process = try ChildProcess.start(theirs, name) { connection, name in
        try connection.send(bytes: [1])
        _ = try connection.receiveBytes()
        let total = try SharedAtomic(100, named: name)
        total.add(1)
        return total.wasCreated
      }
      children.append((process, ours))
    }
    // All are there before any begins.
    for child in children { _ = try await child.connection.receiveBytes() }
    for child in children { try await child.connection.send(bytes: [1]) }
    var creators = 0
    for child in children where try await child.process.value { creators += 1 }
    #expect(creators == 1)
    #expect(try SharedAtomic<Int>(named: name).load() == 120)
    try SharedMemory.removeName(name)
  }

  @Test func aLockWhoseOwnerWasKilledIsFoundAndSaysSo() async throws {
    let name = nameOfTest()
    let child = try ChildProcess.start(name) { name in
      let lock = try Lock(named: name, .create)
      try lock.withLock { _ = kill(getpid(), SIGKILL) }
    }
    let killed: SwiftIPC.ExitStatus = .signalled(SIGKILL)
    #expect(try await child.join() == killed)
    // The name of a killed creator stays; the next one takes it over.
    let lock = try Lock(named: name)
    #expect(!lock.wasCreated)
    #expect(errorCode { try lock.withLock {} } == .ownerDied)
    try lock.withLock {
    } recovering: {
    }
    #expect(errorCode { try lock.unlink() } == .notOwner)
    try SharedMemory.removeName(name)
  }

  @Test func nothingStaysOpenOfAnObjectThatIsDropped() throws {
    let name = nameOfTest()
    let memory = try SharedMemory(creating: name, size: 1)
    try memory.unlink()
    memory.close()
    var inode: UInt64 = 0
    do {
      let value = try Value(1, named: name)
      inode = try test_inode(descriptor(of: value))
      let second = try Value<Int>(named: name)
      #expect(test_count_descriptors(inode) == 2 && test_count_mappings(inode) == 2)
      try value.unlink()
      withExtendedLifetime((value, second)) {}
    }
    #expect(test_count_descriptors(inode) == 0 && test_count_mappings(inode) == 0)
  }
}
