// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import SwiftIPC
import Testing

@Suite struct SharedArrayUpdateTests {
  struct Mine: Error, Equatable {}
  struct Odd: BitwiseCopyable, Sendable, Equatable { var a: UInt16, b: UInt8 }

  @Test func anUpdateChangesItsRange() throws {
    let numbers = try SharedArray<Int32>(0..<10, transactional: true)
    #expect(numbers.isTransactional)
    let sum = try numbers.update(2..<5) { span in
      let seen = (span.count, span[0], span[2])
      #expect(seen == (3, 2, 4))
      span[0] = 20
      span[2] = 40
      // No reader sees it before it is whole.
      #expect(Array(numbers) == Array(0..<10))
      return span[0] + span[1] + span[2]
    }
    #expect(sum == 63)
    #expect(Array(numbers) == [0, 1, 20, 3, 40, 5, 6, 7, 8, 9])
    try numbers.update { span in for i in span.indices { span[i] = Int32(i) } }
    try numbers.update(8...) { $0[1] = 90 }
    try numbers.update(...0, timeout: .seconds(5)) { $0[0] = -1 }
    try numbers.update(timeout: .zero) { $0[5] = 50 }
    #expect(try numbers.update(10..<10) { $0.count } == 0)
    #expect(Array(numbers) == [-1, 1, 2, 3, 4, 50, 6, 7, 8, 90])
  }

  @Test func arraysOfEveryMakingHaveIt() throws {
    let table = try SharedArray<Odd>(shape: 2, 3, repeating: Odd(a: 1, b: 2), transactional: true)
    try table.update(5...) { $0[0].a = 9 }
    #expect(table[1, 2] == Odd(a: 9, b: 2) && table[1, 1] == Odd(a: 1, b: 2))
    let some = try SharedArray([1.5, 2.5], shape: 2, 1, transactional: true)
    try some.update(1..<2) { $0[0] *= 2 }
    #expect(some[1, 0] == 5)
    let large = try SharedArray(repeating: UInt8(1), count: 100_000, transactional: true)
    try large.update { span in for i in span.indices { span[i] = UInt8(truncatingIfNeeded: i) } }
    #expect(large.indices.allSatisfy { large[$0] == UInt8(truncatingIfNeeded: $0) })
    let wide = try SharedArray(
      repeating: SIMD64<Double>(repeating: 1), count: 3, transactional: true)
    try wide.update(1..<2) { $0[0][63] = 7 }
    #expect(wide[1][63] == 7 && wide[0][63] == 1 && wide[2][0] == 1)
    let empty = try SharedArray<Int>([], transactional: true)
    #expect(try empty.update { $0.count } == 0)
    #expect(try transfer(empty).isTransactional)
    let nothing = try SharedArray(repeating: (), count: 3, transactional: true)
    #expect(try nothing.update { $0.count } == 3)
  }

  @Test func anUpdateThatThrowsChangesNothing() throws {
    let numbers = try SharedArray<Int>(0..<4, transactional: true)
    #expect(throws: Mine()) {
      try numbers.update { span in
        span[0] = 100
        throw Mine()
      }
    }
    #expect(Array(numbers) == [0, 1, 2, 3])
    // The lock is free again.
    try numbers.update { $0[0] = 1 }
    #expect(numbers[0] == 1)
  }

  @Test func onlyTransactionalArraysHaveIt() throws {
    let numbers = try SharedArray<Int>(0..<4)
    #expect(!numbers.isTransactional)
    #expect(errorCode { try numbers.update { _ in } } == .unsupported)
    #expect(errorCode { try numbers.update(1..<2, timeout: .zero) { _ in } } == .unsupported)
  }

  @Test func itTakesTheArraysLock() throws {
    let numbers = try SharedArray<Int>(0..<4, transactional: true)
    #expect(
      try numbers.update { _ in errorCode { try numbers.withLock { _ in } } } == .alreadyLocked)
    #expect(
      try numbers.withLock { _ in errorCode { try numbers.update { _ in } } } == .alreadyLocked)
    try unsafe whileAnotherProcessHolds(mutex(of: numbers)) {
      #expect(
        errorCode { try numbers.update(timeout: .milliseconds(1)) { _ in } } == .timedOut)
      let available: Void? = try numbers.withLockIfAvailable { _ in }
      #expect(available == nil)
    }
    try numbers.update { $0[0] = 5 }
    #expect(try numbers.withLock { $0[0] } == 5)
  }

  @Test func aRangeOutOfBoundsTraps() async throws {
    let numbers = try SharedArray<Int>(0..<4, transactional: true)
    let traps = [
      try ChildProcess.start(numbers) { numbers in try numbers.update(0..<5) { _ in } },
      try ChildProcess.start(numbers) { numbers in try numbers.update(-1..<2) { _ in } },
    ]
    for child in traps {
      let status = try await child.join()
      #expect(status == .signalled(SIGILL) || status == .signalled(SIGTRAP))
    }
  }

  @Test func itTravelsWithItsRedoArea() throws {
    let numbers = try SharedArray<Int>(0..<4, transactional: true)
    let received = try transfer(numbers)
    #expect(received.isTransactional)
    try received.update(1..<3) { $0[0] = 10 }
    #expect(numbers[1] == 10)
    #expect(try !transfer(SharedArray<Int>(0..<4)).isTransactional)
  }

  /// A child that is killed in an update, or in a change in place.
  private func killInside(
    _ numbers: SharedArray<Int>, inPlace: Bool, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(numbers, theirs, inPlace) { numbers, connection, inPlace in
      func change(_ span: inout MutableSpan<Int>) throws {
        for i in span.indices.dropLast() { span[i] += 100 }
        try connection.send(bytes: [1])
        _ = try connection.receiveBytes()
      }
      if inPlace {
        try numbers.withLock { try change(&$0) }
      } else {
        try numbers.update { try change(&$0) }
      }
    }
    #expect(try await ours.receiveBytes() == [1], sourceLocation: sourceLocation)
    try child.kill()
    #expect(try await child.join() == .signalled(SIGKILL), sourceLocation: sourceLocation)
  }

  @Test func aProcessKilledInAnUpdateHasChangedNothing() async throws {
    let numbers = try SharedArray<Int>(0..<4, transactional: true)
    try await killInside(numbers, inPlace: false)
    // No death is reported, since nothing is half-changed.
    #expect(try numbers.withLock { span in span[0] + span[1] } == 1)
    try await killInside(numbers, inPlace: false)
    #expect(
      try numbers.withLock({ $0[2] }, recovering: { _ in _ = Issue.record("repaired") }) == 2)
    try await killInside(numbers, inPlace: false)
    #expect(try numbers.withLockIfAvailable { $0[3] } == 3)
    try await killInside(numbers, inPlace: false)
    try numbers.update { $0[0] = 7 }
    #expect(Array(numbers) == [7, 1, 2, 3])
  }

  @Test func aProcessKilledInAChangeInPlaceIsToldUntilItIsRepaired() async throws {
    let numbers = try SharedArray<Int>(0..<4, transactional: true)
    try await killInside(numbers, inPlace: true)
    #expect(errorCode { try numbers.withLock { _ in _ = Issue.record("ran") } } == .ownerDied)
    #expect(errorCode { try numbers.update { _ in _ = Issue.record("ran") } } == .ownerDied)
    #expect(errorCode { try numbers.withLockIfAvailable { _ in } } == .ownerDied)
    #expect(throws: Mine()) {
      try numbers.withLock { _ in
      } recovering: { _ in
        throw Mine()
      }
    }
    #expect(errorCode { try numbers.update { _ in } } == .ownerDied)
    let second = try numbers.withLock { span in
      span[1]
    } recovering: { span in
      let seen = (span[1], span[3])
      #expect(seen == (101, 3))
      for i in span.indices { span[i] = i }
    }
    #expect(second == 1)
    try numbers.update { $0[0] = 5 }
    #expect(Array(numbers) == [5, 1, 2, 3])
  }

  @Test func whatWasCommittedIsFinishedByTheNext() throws {
    let numbers = try SharedArray<Int>(0..<4, transactional: true)
    let payload = try unsafe payload(of: numbers)
    let journal = unsafe payload.assumingMemoryBound(to: cipc_journal_t.self)
    // Behind the journal, the redo word, the rank and the extent, at the next multiple of 64; the
    // redo area at the next one behind the elements.
    let redo = unsafe (payload + 192).assumingMemoryBound(to: Int.self)
    func leaveBehind(_ number: Int, offset: UInt64 = 8, length: UInt64 = 16) {
      unsafe killHolder(of: mutexOf(journal))
      unsafe redo[0] = number
      unsafe redo[1] = number
      unsafe journal.pointee.offset = offset
      unsafe journal.pointee.length = length
      unsafe journal.pointee.committed = 1
    }
    leaveBehind(50)
    #expect(
      try numbers.withLock { span in [span[0], span[1], span[2], span[3]] } == [0, 50, 50, 3])
    leaveBehind(60)
    #expect(try numbers.update(2..<3) { $0[0] } == 60)
    #expect(Array(numbers) == [0, 60, 60, 3])
    // A record that fits nothing is told like a change in place.
    for (offset, length) in [(8, 32), (33, 0), (UInt64.max, 1), (0, .max)] as [(UInt64, UInt64)] {
      leaveBehind(70, offset: offset, length: length)
      #expect(errorCode { try numbers.update { _ in } } == .ownerDied)
      try numbers.withLock { _ in
      } recovering: { _ in
      }
      #expect(Array(numbers) == [0, 60, 60, 3])
    }
  }

  private func mutexOf(
    _ journal: UnsafeMutablePointer<cipc_journal_t>
  ) -> UnsafeMutablePointer<cipc_mutex_t> {
    unsafe UnsafeMutableRawPointer(journal).assumingMemoryBound(to: cipc_mutex_t.self)
  }

  @Test func noUpdateIsLost() async throws {
    let numbers = try SharedArray(repeating: 0, count: 1000, transactional: true)
    let children = try (0..<2).map { _ in
      try ChildProcess.start(numbers) { numbers in
        for _ in 0..<500 {
          try numbers.update { span in for i in span.indices { span[i] += 1 } }
        }
      }
    }
    for child in children { #expect(try await child.join() == .exited(0)) }
    #expect(numbers.allSatisfy { $0 == 1000 })
  }

  @Test func aHostileRedoAreaIsRefused() throws {
    let array = try SharedArray<Int32>(0..<24, transactional: true)
    let word = try unsafe (payload(of: array) + 96).assumingMemoryBound(to: UInt64.self)
    for offset in [1, 128, 223, 225, 1 << 40, 1 << 63, .max] as [UInt64] {
      unsafe word.pointee = offset
      #expect(errorCode { _ = try transfer(array) } == .segmentMismatch, "\(offset)")
    }
    unsafe word.pointee = 256
    #expect(try transfer(array).isTransactional)
    let plain = try SharedArray<Int32>(0..<24)
    let other = try unsafe (payload(of: plain) + 96).assumingMemoryBound(to: UInt64.self)
    unsafe other.pointee = 256
    #expect(errorCode { _ = try transfer(plain) } == .segmentMismatch)
  }
}
