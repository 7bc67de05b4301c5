// SPDX-License-Identifier: Apache-2.0
import CIPC
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

@Suite struct ReadWriteLockTests {
  struct Mine: Error, Equatable {}
  struct Ticket: ~Copyable { var number: Int }

  /// Another process that holds a lock until it is killed, or told to let go.
  struct Holder {
    let child: ChildProcess<Void>
    let connection: Connection

    static func reading(_ lock: ReadWriteLock) throws -> Holder {
      let (ours, theirs) = try Connection.pair()
      let child = try ChildProcess.start(lock, theirs) { lock, connection in
        try lock.withReadLock { try Holder.stay(connection) }
      }
      return try Holder(child, ours)
    }

    static func writing(_ lock: ReadWriteLock) throws -> Holder {
      let (ours, theirs) = try Connection.pair()
      let child = try ChildProcess.start(lock, theirs) { lock, connection in
        try lock.withWriteLock({ try Holder.stay(connection) }, recovering: {})
      }
      return try Holder(child, ours)
    }

    private init(_ child: ChildProcess<Void>, _ connection: Connection) throws {
      (self.child, self.connection) = (child, connection)
      _ = try connection.receiveBytes()
    }

    private static func stay(_ connection: Connection) throws {
      try connection.send(bytes: [1])
      _ = try connection.receiveBytes()
    }

    func letGo() throws {
      try connection.send(bytes: [2])
      #expect(try child.join() == .exited(0))
    }

    func kill() throws {
      try child.kill()
      #expect(try child.join() == .signalled(SIGKILL))
    }
  }

  /// As C programs see it.
  func pointer(of lock: ReadWriteLock) -> UnsafeMutablePointer<cipc_rwlock_t> {
    unsafe lock.pointer
  }

  /// Waits until a writer waits or writes: then no reader gets in.
  func awaitWriter(_ lock: ReadWriteLock) throws {
    while try InThread({ try lock.withReadLockIfAvailable {} != nil }).join() { sched_yield() }
  }

  @Test func theResultAndTheErrorOfTheBodyComeThrough() throws {
    let lock = try ReadWriteLock()
    #expect(try lock.withReadLock { 1 } == 1)
    #expect(try lock.withWriteLock { 2 } == 2)
    #expect(try lock.withReadLockIfAvailable { 3 } == 3)
    #expect(try lock.withWriteLockIfAvailable { 4 } == 4)
    #expect(try lock.withReadLock(timeout: .zero) { 5 } == 5)
    #expect(try lock.withWriteLock(timeout: .seconds(-1)) { 6 } == 6)
    #expect(try lock.withReadLock(timeout: .zero) { 7 } == 7)
    #expect(try lock.withWriteLock(timeout: .zero) { 8 } == 8)
    #expect(throws: Mine()) { try lock.withReadLock { throw Mine() } }
    #expect(throws: Mine()) { try lock.withWriteLock { throw Mine() } }
    #expect(throws: Mine()) { try lock.withReadLockIfAvailable { throw Mine() } }
    #expect(throws: Mine()) { try lock.withWriteLockIfAvailable { throw Mine() } }
    #expect(try lock.withReadLock { Ticket(number: 9) }.number == 9)
    #expect(try lock.withWriteLock { Ticket(number: 10) }.number == 10)
  }

  @Test func readersShare() throws {
    let lock = try ReadWriteLock()
    let holder = try Holder.reading(lock)
    #expect(try lock.withReadLock { 1 } == 1)
    #expect(try lock.withReadLockIfAvailable { 2 } == 2)
    #expect(try lock.withWriteLockIfAvailable {} == nil)
    #expect(try lock.withWriteLockIfAvailable({}, recovering: {}) == nil)
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20)] {
      let start = ContinuousClock.now
      #expect(errorCode { try lock.withWriteLock(timeout: timeout) {} } == .timedOut)
      #expect(ContinuousClock.now - start >= timeout)
    }
    #expect(
      errorCode { try lock.withWriteLock(timeout: .zero, {}, recovering: {}) } == .timedOut)
    let soon = SuspendingClock.now.advanced(by: .milliseconds(20))
    #expect(errorCode { try lock.withWriteLock(timeout: .milliseconds(20)) {} } == .timedOut)
    #expect(SuspendingClock.now >= soon)
    #expect(
      errorCode { try lock.withWriteLock(timeout: .milliseconds(20), {}, recovering: {}) }
        == .timedOut)
    // A waiter that gave up holds no other back.
    try lock.withReadLock {}
    try holder.letGo()
    try lock.withWriteLock {}
  }

  @Test func writersExclude() throws {
    let lock = try ReadWriteLock()
    let holder = try Holder.writing(lock)
    #expect(try lock.withReadLockIfAvailable {} == nil)
    #expect(try lock.withWriteLockIfAvailable {} == nil)
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20)] {
      let start = ContinuousClock.now
      #expect(errorCode { try lock.withReadLock(timeout: timeout) {} } == .timedOut)
      #expect(errorCode { try lock.withWriteLock(timeout: timeout) {} } == .timedOut)
      #expect(ContinuousClock.now - start >= timeout * 2)
    }
    let soon = SuspendingClock.now.advanced(by: .milliseconds(20))
    #expect(errorCode { try lock.withReadLock(timeout: .milliseconds(20)) {} } == .timedOut)
    #expect(SuspendingClock.now >= soon)
    try holder.letGo()
    try lock.withReadLock {}
  }

  @Test func waitingForOneselfIsAnError() throws {
    let lock = try ReadWriteLock()
    let other = try transfer(lock)
    try lock.withWriteLock {
      #expect(errorCode { try other.withWriteLock {} } == .alreadyLocked)
      #expect(errorCode { try other.withReadLock {} } == .alreadyLocked)
      #expect(errorCode { try lock.withReadLockIfAvailable {} } == .alreadyLocked)
    }
    try lock.withReadLock {
      #expect(errorCode { try other.withWriteLock {} } == .alreadyLocked)
      #expect(errorCode { try lock.withWriteLockIfAvailable {} } == .alreadyLocked)
    }
    try lock.withWriteLock {}
  }

  @Test func aThreadThatReadsMayReadAgainWhileAWriterWaits() throws {
    let lock = try ReadWriteLock()
    let writer = try lock.withReadLock {
      let writer = InThread { try lock.withWriteLock { 1 } }
      try awaitWriter(lock)
      #expect(try lock.withReadLock { try lock.withReadLock { 2 } } == 2)
      return writer
    }
    #expect(try writer.join() == 1)
  }

  @Test func processesSeeNoHalfChange() throws {
    let lock = try ReadWriteLock()
    let numbers = try SharedArray<Int>(repeating: 0, count: 2)
    let children = try (0..<3).map { _ in
      try ChildProcess.start(lock, numbers) { lock, numbers in
        var torn = 0
        for round in 0..<3000 {
          try lock.withWriteLock {
            numbers[0] += 1
            if round % 16 == 0 { sched_yield() }
            numbers[1] += 1
          }
          if try lock.withReadLock({ numbers[0] != numbers[1] }) { torn += 1 }
        }
        return torn
      }
    }
    for child in children { #expect(try child.value(timeout: nil) == 0) }
    #expect(numbers[0] == 9000)
  }

  @Test func writersDoNotStarve() throws {
    let lock = try ReadWriteLock()
    let stop = try SharedAtomic(0)
    let readers = try (0..<3).map { _ in
      try ChildProcess.start(lock, stop) { lock, stop in
        var rounds = 0
        while stop.load() == 0 { try lock.withReadLock { rounds += 1 } }
        return rounds
      }
    }
    for _ in 0..<300 { try lock.withWriteLock {} }
    stop.store(1)
    for reader in readers { _ = try reader.value(timeout: nil) }
  }

  @Test func theShareOfADeadReaderComesBack() throws {
    let lock = try ReadWriteLock()
    try Holder.reading(lock).kill()
    try lock.withWriteLock {}
    try Holder.reading(lock).kill()
    #expect(try lock.withWriteLockIfAvailable { 1 } == 1)
    // One that waits as well.
    let holder = try Holder.reading(lock)
    let writer = InThread { try lock.withWriteLock { 2 } }
    try awaitWriter(lock)
    try holder.kill()
    #expect(try writer.join() == 2)
  }

  @Test func allAreToldOfADeadWriterUntilOneRepairs() throws {
    let lock = try ReadWriteLock()
    let holder = try Holder.writing(lock)
    let waiting = InThread { errorCode { try lock.withReadLock { _ = Issue.record("ran") } } }
    try holder.kill()
    #expect(try waiting.join() == .ownerDied)
    for _ in 0..<2 {
      let errors = [
        #expect(throws: IPCError.self) { try lock.withReadLock { Issue.record("ran") } },
        #expect(throws: IPCError.self) { try lock.withWriteLock { Issue.record("ran") } },
      ]
      for error in errors {
        #expect(error?.code == .ownerDied)
        #expect(error?.context.contains("process \(holder.child.pid) ") == true)
      }
    }
    #expect(errorCode { try lock.withReadLockIfAvailable {} } == .ownerDied)
    #expect(errorCode { try lock.withWriteLockIfAvailable {} } == .ownerDied)
    #expect(errorCode { try lock.withReadLock(timeout: .seconds(1)) {} } == .ownerDied)
    #expect(errorCode { try lock.withWriteLock(timeout: .seconds(1)) {} } == .ownerDied)

    #expect(throws: Mine()) {
      try lock.withWriteLock {
        Issue.record("ran")
      } recovering: {
        throw Mine()
      }
    }
    #expect(errorCode { try lock.withReadLock {} } == .ownerDied)

    var order: [String] = []
    for _ in 0..<2 {
      try lock.withWriteLock {
        order.append("body")
      } recovering: {
        order.append("repair")
      }
    }
    #expect(order == ["repair", "body", "body"])
    try lock.withReadLock {}
    try lock.withWriteLock {}
  }

  @Test func everyFormRepairs() throws {
    let lock = try ReadWriteLock()
    for form in 0..<3 {
      try Holder.writing(lock).kill()
      var repairs = 0
      switch form {
      case 0: try lock.withWriteLock({}, recovering: { repairs += 1 })
      case 1: try lock.withWriteLock(timeout: .seconds(30), {}, recovering: { repairs += 1 })
      default: try lock.withWriteLockIfAvailable({}, recovering: { repairs += 1 })
      }
      #expect(repairs == 1)
      try lock.withReadLock {}
    }
  }

  @Test func aThreadThatEndsWhileItHoldsIsDead() throws {
    let lock = try ReadWriteLock()
    let lines = lock.lines
    #expect(
      try InThread { unsafe cipc_rwlock_read_lock(lock.pointer, lines, .max) }.join() == 0)
    try lock.withWriteLock {}
    #expect(
      try InThread { unsafe cipc_rwlock_write_lock(lock.pointer, lines, .max) }.join() == 0)
    #expect(errorCode { try lock.withReadLock {} } == .ownerDied)
    try lock.withWriteLock({}, recovering: {})
  }

  @Test func stoppedIsNotDead() throws {
    let lock = try ReadWriteLock()
    for holder in [try Holder.reading(lock), nil] {
      let holder = try holder ?? Holder.writing(lock)
      try holder.child.signal(SIGSTOP)
      #expect(errorCode { try lock.withWriteLock(timeout: .milliseconds(450)) {} } == .timedOut)
      #expect(try lock.withWriteLockIfAvailable {} == nil)
      try holder.child.signal(SIGCONT)
      try holder.letGo()
      try lock.withWriteLock {}
    }
  }

  @Test func asManyReadAtATimeAsTheLockWasMadeFor() throws {
    #expect(try ReadWriteLock().readerCapacity == 128)
    #expect(try ReadWriteLock(readers: 129).readerCapacity == 256)
    #expect(try ReadWriteLock(readers: 32_768).readerCapacity == 32_768)
    for wrong in [0, -1, 32_769, .max] {
      #expect(errorCode { _ = try ReadWriteLock(readers: wrong) } == .invalidArgument)
    }
    let lock = try ReadWriteLock(readers: 1)
    #expect(lock.readerCapacity == 8)
    func nested(_ depth: Int) throws {
      if depth > 0 { return try lock.withReadLock { try nested(depth - 1) } }
      #expect(try InThread { try lock.withReadLockIfAvailable {} == nil }.join())
      #expect(errorCode { try lock.withReadLock(timeout: .milliseconds(1)) {} } == .timedOut)
    }
    try nested(8)
    try lock.withReadLock {}
  }

  @Test func aLockTravelsInMessagesAlone() throws {
    let lock = try ReadWriteLock(readers: 16)
    #expect(errorCode { try lock.encode(to: IndexEncoder(userInfo: [:])) } == .notTransferable)
    #expect(
      errorCode { _ = try ReadWriteLock(from: IndexDecoder(userInfo: [:])) } == .notTransferable)
    #expect(try transfer(lock).readerCapacity == 16)
    #expect(
      errorCode { _ = try receive(Lock.self, descriptor: duplicate(descriptor(of: lock))) }
        == .segmentMismatch)
    // The number of lines in its header is checked: a power of two that fits the size.
    let count = unsafe (try payload(of: lock) - 128 + 56).assumingMemoryBound(to: UInt64.self)
    #expect(unsafe count.pointee == 2)
    for wrong: UInt64 in [0, 3, 4, 1 << 32, .max] {
      unsafe count.pointee = wrong
      #expect(errorCode { _ = try transfer(lock) } == .segmentMismatch)
    }
  }
}

// MARK: By name

extension ReadWriteLockTests {
  @Test func aLockIsFoundByItsName() throws {
    let name = nameOfTest()
    #expect(errorCode { _ = try ReadWriteLock(named: name, .open) } == .nameNotFound)
    let lock = try ReadWriteLock(named: name)
    defer { try? lock.unlink() }
    #expect(lock.wasCreated && lock.name == name)
    #expect(errorCode { _ = try ReadWriteLock(named: name, .create) } == .nameExists)
    #expect(errorCode { _ = try ReadWriteLock(readers: 8, named: name) } == .segmentMismatch)
    #expect(errorCode { _ = try Lock(named: name) } == .segmentMismatch)
    let other = try ReadWriteLock(named: name)
    #expect(!other.wasCreated)
    try lock.withWriteLock { #expect(errorCode { try other.withReadLock {} } == .alreadyLocked) }
    #expect(try other.withReadLock { try lock.withReadLockIfAvailable { 1 } } == 1)
  }
}

// MARK: With await

extension ReadWriteLockTests {
  @Test func theResultAndTheErrorOfTheBodyComeThroughWithAwait() async throws {
    let lock = try ReadWriteLock()
    #expect(try await lock.withReadLock { 1 } == 1)
    #expect(try await lock.withWriteLock { 2 } == 2)
    #expect(try await lock.withReadLock(timeout: .zero) { 3 } == 3)
    #expect(try await lock.withWriteLock(timeout: .seconds(-1)) { 4 } == 4)
    #expect(try await lock.withReadLock(timeout: .zero) { 5 } == 5)
    #expect(try await lock.withWriteLock(timeout: .zero) { 6 } == 6)
    #expect(try await lock.withWriteLock({ 7 }, recovering: {}) == 7)
    #expect(try lock.withReadLockIfAvailable { 8 } == 8)
    #expect(try lock.withWriteLockIfAvailable { 9 } == 9)
    await #expect(throws: Mine()) { try await lock.withReadLock { throw Mine() } }
    await #expect(throws: Mine()) { try await lock.withWriteLock { throw Mine() } }
    // It suspends, and goes on in any thread.
    let number = try await lock.withReadLock {
      try await Task.sleep(for: .milliseconds(1))
      #expect(try lock.withWriteLockIfAvailable {} == nil)
      return try await lock.withReadLock { 10 }
    }
    #expect(number == 10)
    try await lock.withWriteLock {}
  }

  @MainActor final class Tally {
    var count = 0
    func add(_ lock: ReadWriteLock) async throws {
      try await lock.withWriteLock { count += 1 }
      #expect(try await lock.withReadLock { count } > 0)
    }
  }

  @Test func theBodyRunsWhereTheCallerDoes() async throws {
    let lock = try ReadWriteLock()
    let tally = Tally()
    try await withThrowingTaskGroup { group in
      for _ in 0..<20 { group.addTask { try await tally.add(lock) } }
      try await group.waitForAll()
    }
    #expect(await tally.count == 20)
  }

  @Test func timeoutsWithAwait() async throws {
    let lock = try ReadWriteLock()
    let writer = try Holder.writing(lock)
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20)] {
      let start = ContinuousClock.now
      #expect(await asyncCode { try await lock.withReadLock(timeout: timeout) {} } == .timedOut)
      #expect(await asyncCode { try await lock.withWriteLock(timeout: timeout) {} } == .timedOut)
      #expect(ContinuousClock.now - start >= timeout * 2)
    }
    let soon = SuspendingClock.now.advanced(by: .milliseconds(20))
    #expect(
      await asyncCode { try await lock.withReadLock(timeout: .milliseconds(20)) {} } == .timedOut)
    #expect(SuspendingClock.now >= soon)
    try writer.letGo()
    let reader = try Holder.reading(lock)
    #expect(
      await asyncCode { try await lock.withWriteLock(timeout: .milliseconds(20)) {} } == .timedOut)
    // A waiter that gave up holds no other back.
    try await lock.withReadLock {}
    try reader.letGo()
    try await lock.withWriteLock {}
  }

  @Test func cancellation() async throws {
    let lock = try ReadWriteLock()
    for holder in [try Holder.reading(lock), nil] {
      let holder = try holder ?? Holder.writing(lock)
      for round in 0..<40 {
        let writing = Task { await asyncCode { try await lock.withWriteLock {} } }
        let reading = Task {
          await asyncCode {
            try await lock.withReadLock { try await Task.sleep(for: .seconds(60)) }
          }
        }
        for _ in 0..<round % 9 { await Task.yield() }
        writing.cancel()
        reading.cancel()
        #expect(await writing.value == .cancelled)
        // It may have been inside, where it is its sleep that is cancelled.
        let ended = await reading.value
        #expect(ended == .cancelled || ended == .init(rawValue: "CancellationError"))
      }
      try holder.letGo()
      // Nothing is left of them.
      #expect(try lock.withWriteLockIfAvailable { 1 } == 1)
    }
    let before = Task {
      unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
      return [
        await asyncCode { try await lock.withReadLock {} },
        await asyncCode { try await lock.withWriteLock {} },
      ]
    }
    #expect(await before.value == [.cancelled, .cancelled])
  }

  @Test func noThreadIsBlocked() async throws {
    let lock = try ReadWriteLock()
    let holder = try Holder.writing(lock)
    let counter = try SharedAtomic(0)
    let tasks = (0..<100).map { number in
      Task {
        counter.add(1)
        if number % 4 == 0 {
          try await lock.withWriteLock { _ = counter.add(1000) }
        } else {
          try await lock.withReadLock { _ = counter.add(1000) }
        }
      }
    }
    // Were a thread of the pool blocked by each, not all would begin.
    while counter.load() < 100 { await Task.yield() }
    #expect(counter.load() == 100)
    try holder.letGo()
    for task in tasks { try await task.value }
    #expect(counter.load() == 100_100)
    #expect(try lock.withWriteLockIfAvailable { 1 } == 1)
  }

  @Test func deathsWithAwait() async throws {
    let lock = try ReadWriteLock()
    let writer = try Holder.writing(lock)
    let waiting = (0..<4).map { number in
      Task {
        await asyncCode {
          if number % 2 == 0 {
            try await lock.withReadLock { Issue.record("ran") }
          } else {
            try await lock.withWriteLock { Issue.record("ran") }
          }
        }
      }
    }
    try writer.kill()
    for task in waiting { #expect(await task.value == .ownerDied) }
    var repairs = 0
    try await lock.withWriteLock({}, recovering: { repairs += 1 })
    #expect(repairs == 1)
    let reader = try Holder.reading(lock)
    let writing = Task { try await lock.withWriteLock { 2 } }
    while try lock.withReadLockIfAvailable({}) != nil { await Task.yield() }
    try reader.kill()
    #expect(try await writing.value == 2)
  }

  @Test func aWaitingWriterThatDiesHoldsNoOtherBack() async throws {
    let lock = try ReadWriteLock()
    let child = try await lock.withReadLock {
      let child = try ChildProcess.start(lock) { lock in try await lock.withWriteLock {} }
      while try lock.withReadLockIfAvailable({}) != nil { await Task.yield() }
      try child.kill()
      _ = try await child.join()
      try await lock.withReadLock {}
      return child
    }
    #expect(try await child.join() == .signalled(SIGKILL))
    try await lock.withWriteLock {}
  }
}
