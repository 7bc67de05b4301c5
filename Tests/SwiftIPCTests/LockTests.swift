// SPDX-License-Identifier: Apache-2.0
import SwiftIPC
import Testing

@Suite struct LockTests {
  @Test func theResultAndTheErrorOfTheBodyComeThrough() throws {
    struct Mine: Error, Equatable {}
    let lock = try Lock()
    #expect(try lock.withLock { 12 } == 12)
    #expect(throws: Mine()) { try lock.withLock { throw Mine() } }
    #expect(try lock.withLockIfAvailable { 13 } == 13)
    #expect(try lock.withLock(timeout: .milliseconds(1)) { 14 } == 14)
  }

  @Test func lockingTwiceIsAnErrorAndNotAHang() throws {
    let lock = try Lock()
    let error = #expect(throws: IPCError.self) {
      try lock.withLock { try lock.withLock { Issue.record("locked twice") } }
    }
    #expect(error?.code == .alreadyLocked)
    try lock.withLock {}
  }
}
