// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import MessageCoding
import SwiftIPC
import Testing

@Suite struct LockTests {
  struct Mine: Error, Equatable {}
  struct Ticket: ~Copyable { var number: Int }

  @Test func theResultAndTheErrorOfTheBodyComeThrough() throws {
    let lock = try Lock()
    #expect(try lock.withLock { 12 } == 12)
    #expect(throws: Mine()) { try lock.withLock { throw Mine() } }
    #expect(try lock.withLockIfAvailable { 13 } == 13)
    #expect(try lock.withLock(timeout: .milliseconds(1)) { 14 } == 14)
    #expect(try lock.withLock(timeout: .zero) { 17 } == 17)
    #expect(try lock.withLock { Ticket(number: 15) }.number == 15)
    let ticket = try lock.withLockIfAvailable { Ticket(number: 16) }
    switch consume ticket {
    case .some(let ticket): #expect(ticket.number == 16)
    case .none: Issue.record("not available")
    }
  }

  @Test func lockingTwiceIsAnErrorAndNotAHang() throws {
    let lock = try Lock()
    let other = try transfer(lock)
    #expect(try lock.withLock { errorCode { try lock.withLock {} } } == .alreadyLocked)
    #expect(try lock.withLock { errorCode { try other.withLock {} } } == .alreadyLocked)
    #expect(
      try lock.withLock { errorCode { try lock.withLockIfAvailable {} } } == .alreadyLocked)
    try lock.withLock {}
  }

  @Test func processesExcludeEachOther() throws {
    let lock = try Lock()
    let mutex = try unsafe mutex(of: lock)
    let counter = try SharedArray<UInt64>(repeating: 0, count: 1)
    let words = try unsafe payload(of: counter)
    // The array's elements, behind its mutex, rank and extent.
    let shared = unsafe (words + 128).assumingMemoryBound(to: UInt64.self)
    unsafe shared.pointee = 0
    let rounds = 20_000
    let children = (0..<3).map { _ in
      unsafe test_fork_increments(mutex, shared, Int32(rounds))
    }
    for round in 0..<rounds {
      try lock.withLock {
        let before = unsafe shared.pointee
        // The children come to run just here, and would lose an update if they were let in.
        if round % 16 == 0 { sched_yield() }
        unsafe shared.pointee = before + 1
      }
    }
    for child in children { #expect(test_wait(child) == 0) }
    #expect(unsafe shared.pointee == UInt64(4 * rounds))
  }

  @Test func aLockHeldElsewhereIsNotAvailableAndTimesOut() throws {
    let lock = try Lock()
    try unsafe whileAnotherProcessHolds(mutex(of: lock)) {
      let results: [Void?] = try [
        lock.withLockIfAvailable {}, lock.withLockIfAvailable({}, recovering: {}),
      ]
      #expect(results.allSatisfy { $0 == nil })
      #expect(errorCode { try lock.withLock(timeout: .zero) {} } == .timedOut)
      #expect(errorCode { try lock.withLock(timeout: .seconds(-1)) {} } == .timedOut)
      let clock = ContinuousClock()
      let start = clock.now
      #expect(errorCode { try lock.withLock(timeout: .milliseconds(20)) {} } == .timedOut)
      #expect(clock.now - start >= .milliseconds(20))
      #expect(
        errorCode { try lock.withLock(timeout: .milliseconds(1), {}, recovering: {}) } == .timedOut)
      let deadline = SuspendingClock.now + .milliseconds(20)
      #expect(errorCode { try lock.withLock(timeout: .milliseconds(20)) {} } == .timedOut)
      #expect(SuspendingClock.now >= deadline)
      #expect(
        errorCode { try lock.withLock(timeout: .milliseconds(20), {}, recovering: {}) } == .timedOut
      )
    }
    try lock.withLock {}
  }

  @Test func everyOwnerIsToldOfADeathUntilOneRepairs() throws {
    let lock = try Lock()
    let victim = try unsafe killHolder(of: mutex(of: lock))
    for _ in 0..<2 {
      let error = #expect(throws: IPCError.self) { try lock.withLock { Issue.record("ran") } }
      #expect(error?.code == .ownerDied)
      #expect(error?.context.contains("process \(victim) ") == true, "\(String(describing: error))")
    }
    #expect(errorCode { try lock.withLock(timeout: .seconds(1)) {} } == .ownerDied)
    #expect(errorCode { try lock.withLockIfAvailable {} } == .ownerDied)
    // Another process is told as well, and released it.
    #expect(test_wait(unsafe test_fork_try(try mutex(of: lock))) == 99)

    #expect(throws: Mine()) {
      try lock.withLock {
        Issue.record("ran")
      } recovering: {
        throw Mine()
      }
    }
    #expect(errorCode { try lock.withLock {} } == .ownerDied)

    var order: [String] = []
    try lock.withLock {
      order.append("body")
    } recovering: {
      order.append("repair")
    }
    try lock.withLock {
      order.append("body")
    } recovering: {
      order.append("repair")
    }
    #expect(order == ["repair", "body", "body"])
    try lock.withLock {}
  }

  @Test func aSecondDeathBeforeTheRepairIsToldToo() throws {
    let lock = try Lock()
    try unsafe killHolder(of: mutex(of: lock))
    try unsafe killHolder(of: mutex(of: lock))
    #expect(errorCode { try lock.withLock {} } == .ownerDied)
    #expect(try lock.withLock(timeout: .seconds(1), { 1 }, recovering: {}) == 1)
    try unsafe killHolder(of: mutex(of: lock))
    #expect(try lock.withLockIfAvailable({ 2 }, recovering: {}) == 2)
    #expect(test_wait(unsafe test_fork_try(try mutex(of: lock))) == 0)
  }

  @Test func aLockTravelsInMessagesAlone() throws {
    let lock = try Lock()
    #expect(errorCode { try lock.encode(to: IndexEncoder(userInfo: [:])) } == .notTransferable)
    #expect(errorCode { _ = try Lock(from: IndexDecoder(userInfo: [:])) } == .notTransferable)
    #expect(
      errorCode {
        _ = try receive(RecursiveLock.self, descriptor: duplicate(descriptor(of: lock)))
      } == .segmentMismatch)
  }
}
