// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import MessageCoding
import SwiftIPC
import Testing

@Suite struct RecursiveLockTests {
  @Test func itsOwnerTakesItAgainAndOthersWaitForTheOutermostRelease() throws {
    let lock = try RecursiveLock()
    let mutex = try unsafe mutex(of: lock)
    try lock.withLock {
      try lock.withLock {
        let inner = try lock.withLockIfAvailable { 3 }
        #expect(inner == 3)
        #expect(test_wait(unsafe test_fork_try(mutex)) == 1)
      }
      #expect(test_wait(unsafe test_fork_try(mutex)) == 1)
    }
    #expect(test_wait(unsafe test_fork_try(mutex)) == 0)
  }

  @Test func aHolderKilledAtAnyDepthIsToldAndRepaired() throws {
    let lock = try RecursiveLock()
    let mutex = try unsafe mutex(of: lock)
    for depth in 1...3 {
      let victim = unsafe killHolder(of: mutex, depth: Int32(depth))
      for _ in 0..<2 {
        let error = #expect(throws: IPCError.self) { try lock.withLock {} }
        #expect(error?.code == .ownerDied)
        #expect(error?.context.contains("process \(victim) ") == true)
      }
      try lock.withLock {
        try lock.withLock {}
      } recovering: {
      }
      #expect(test_wait(unsafe test_fork_try(mutex)) == 0)
    }
  }

  @Test func aRecursiveLockReceivedIsTheSame() throws {
    let lock = try RecursiveLock()
    let received = try transfer(lock)
    try unsafe whileAnotherProcessHolds(mutex(of: lock)) {
      let result: Void? = try received.withLockIfAvailable {}
      #expect(result == nil)
      #expect(errorCode { try received.withLock(timeout: .milliseconds(1)) {} } == .timedOut)
      let deadline = SuspendingClock.now + .milliseconds(1)
      #expect(errorCode { try received.withLock(timeout: .milliseconds(1)) {} } == .timedOut)
      #expect(SuspendingClock.now >= deadline)
      #expect(
        errorCode { try received.withLock(timeout: .milliseconds(1), {}, recovering: {}) }
          == .timedOut)
    }
    #expect(try received.withLock(timeout: .zero) { 1 } == 1)
    #expect(
      errorCode { _ = try receive(Lock.self, descriptor: duplicate(descriptor(of: lock))) }
        == .segmentMismatch)
  }
}
