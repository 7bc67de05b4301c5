// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import MessageCoding
import SwiftIPC
import Synchronization
import Testing

@Suite struct ValueTests {
  struct Mine: Error, Equatable {}
  struct Odd: BitwiseCopyable, Sendable, Equatable { var a: UInt8, b: UInt8, c: UInt8 }
  struct Mixed: BitwiseCopyable, Sendable, Equatable { var a: UInt8, b: Double, c: Bool, d: Int16 }
  struct Checked: BitwiseCopyable, Sendable {
    var words = InlineArray<7, UInt64>(repeating: 0)
    var sum: UInt64 = 0
    var isWhole: Bool {
      words.indices.allSatisfy { words[$0] == words[0] } && sum == 7 &* words[0]
    }
  }

  private func keeps<T: BitwiseCopyable & Sendable & Equatable>(_ first: T, _ second: T) throws {
    let value = try Value(first)
    #expect(value.value == first)
    try value.store(second)
    #expect(value.value == second)
    try value.withLock { $0 = first }
    #expect(try transfer(value).value == first)
  }

  @Test func valuesOfAllSizesAreKept() throws {
    try keeps(UInt8(1), 255)
    try keeps(true, false)
    try keeps(Int16(-3), 4)
    try keeps(Int32(-3), 4)
    try keeps(0.0, 3.1415927)
    try keeps(Int128.min, .max)
    try keeps(Odd(a: 1, b: 2, c: 3), Odd(a: 4, b: 5, c: 6))
    try keeps(Mixed(a: 1, b: 2, c: true, d: 3), Mixed(a: 4, b: -5, c: false, d: -6))
    try keeps(Optional(5), nil)
    try keeps(SIMD8<Double>(repeating: 1), SIMD8(repeating: 2))
    let large = try Value(InlineArray<1001, Int32>(repeating: 7))
    try large.withLock { $0[1000] = 8 }
    #expect(large.value[0] == 7 && large.value[1000] == 8)
    let empty = try Value(())
    try empty.store(())
    empty.value
  }

  @Test func aChangeHappensWholeOrNotAtAll() throws {
    let value = try Value((1, 2))
    #expect(throws: Mine()) {
      try value.withLock {
        $0 = (3, 4)
        throw Mine()
      }
    }
    #expect(value.value == (1, 2))
    let old = try value.withLock { pair -> Int in
      pair = (5, 6)
      #expect(value.value == (1, 2))
      return pair.0
    }
    #expect(old == 5)
    #expect(value.value == (5, 6))
    #expect(try value.withLock(timeout: .seconds(1)) { $0.0 } == 5)
  }

  @Test func changingAValueWithinItsChangeIsAnError() throws {
    let value = try Value(0)
    #expect(
      try value.withLock { _ in errorCode { try value.withLock { $0 += 1 } } } == .alreadyLocked)
    #expect(try value.withLock { _ in errorCode { try value.store(9) } } == .alreadyLocked)
    #expect(value.value == 0)
  }

  @Test func aChangeElsewhereTimesOutHereAndReadingGoesOn() throws {
    let value = try Value(7)
    try unsafe whileAnotherProcessHolds(mutex(of: value)) {
      #expect(errorCode { try value.withLock(timeout: .milliseconds(1)) { $0 = 1 } } == .timedOut)
      #expect(value.value == 7)
    }
    #expect(value.value == 7)
  }

  @Test func noUpdateOfAnyProcessIsLost() throws {
    let value = try Value(UInt64(0))
    let cell = try unsafe cell(of: value)
    let rounds = 30_000
    let children = (0..<3).map { _ in unsafe test_fork_cell_increments(cell, Int32(rounds)) }
    for _ in 0..<rounds { try value.withLock { $0 += 1 } }
    for child in children { #expect(test_wait(child) == 0) }
    #expect(value.value == UInt64(4 * rounds))
  }

  @Test func aKilledOwnerLeavesTheLastValueAndNoDeathIsReported() throws {
    let value = try Value(UInt64(41))
    try unsafe killHolder(of: mutex(of: value))
    #expect(value.value == 41)
    try value.withLock { $0 += 1 }
    #expect(value.value == 42)
    try unsafe killHolder(of: mutex(of: value))
    try value.store(43)
    #expect(value.value == 43)
  }

  /// Writers are killed wherever they happen to be; a reader looks all the time, and the next
  /// writer takes over.
  @Test func nothingTornIsSeenWhileWritersAreKilled() throws {
    let value = try Value(Checked())
    let cell = try unsafe cell(of: value)
    var torn = 0
    var last: UInt64 = 0
    for round in 0..<200 {
      let writer = unsafe test_fork_cell_writer(cell)
      // Until it has written, and then a little further each time.
      let begin = value.value.words[0]
      while value.value.words[0] == begin {}
      for _ in 0..<(round * 37 % 1000) {
        let seen = value.value
        if !seen.isWhole || seen.words[0] < last { torn += 1 }
        last = seen.words[0]
      }
      #expect(test_kill(writer) == 0)
      #expect(test_wait(writer) == -9)
      let seen = try value.withLock { $0 }
      if !seen.isWhole || seen.words[0] < last { torn += 1 }
    }
    #expect(torn == 0)
    #expect(last > 0)
  }

  @Test func aReaderThatWritersOvertakeStillEnds() throws {
    let value = try Value(InlineArray<4096, UInt64>(repeating: 0))
    let stop = Atomic(false)
    try withThread {
      while !stop.load(ordering: .relaxed) {
        try? value.withLock { words in
          let next = words[0] + 1
          for index in words.indices { words[index] = next }
        }
      }
    } while: {
      for _ in 0..<200 {
        let words = value.value
        #expect(words[0] == words[4095] && words[0] == words[2047])
      }
      stop.store(true, ordering: .relaxed)
    }
  }

  @Test func anotherTypeIsRefused() throws {
    let value = try Value(Int64(0))
    func code<T: Decodable>(_ type: T.Type) -> IPCError.Code? {
      errorCode { _ = try receive(type, descriptor: duplicate(descriptor(of: value))) }
    }
    #expect(code(Value<Double>.self) == .segmentMismatch)
    #expect(code(Value<Int32>.self) == .segmentMismatch)
    #expect(code(SharedAtomic<Int64>.self) == .segmentMismatch)
    #expect(code(SharedArray<Int64>.self) == .segmentMismatch)
    #expect(code(Value<Int64>.self) == nil)
  }
}
