// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import SwiftIPC
import Testing

@Suite struct SharedAtomicTests {
  private func works<T: FixedWidthInteger & BitwiseCopyable & Sendable>(_ type: T.Type) throws {
    let atomic = try SharedAtomic<T>(.max)
    #expect(atomic.load() == .max)
    #expect(atomic.add(1) == (.max, .min))
    #expect(atomic.subtract(1) == (.min, .max))
    #expect(atomic.exchange(12) == .max)
    #expect(atomic.compareExchange(expected: 13, desired: 1) == (false, 12))
    #expect(atomic.compareExchange(expected: 12, desired: 0b1100) == (true, 12))
    #expect(atomic.bitwiseAnd(0b0110) == (0b1100, 0b0100))
    #expect(atomic.bitwiseOr(0b0011) == (0b0100, 0b0111))
    #expect(atomic.bitwiseXor(0b0101) == (0b0111, 0b0010))
    atomic.store(.min)
    #expect(try transfer(atomic).load() == .min)
    #expect(atomic.compareExchange(expected: .min, desired: .max) == (true, .min))
    #expect(atomic.load() == .max)
  }

  @Test func integersOfEveryWidthWork() throws {
    try works(Int8.self)
    try works(UInt8.self)
    try works(Int16.self)
    try works(UInt16.self)
    try works(Int32.self)
    try works(UInt32.self)
    try works(Int64.self)
    try works(UInt64.self)
    try works(Int.self)
  }

  @Test func aWidthWithoutAnInstructionIsRefused() {
    #expect(errorCode { _ = try SharedAtomic<Int128>(0) } == .unsupported)
  }

  @Test func noAdditionOfAnyProcessIsLost() throws {
    let hits = try SharedAtomic(Int32(0))
    let word = try unsafe payload(of: hits)
    let rounds = 200_000
    let children = (0..<3).map { _ in unsafe test_fork_atomic_increments(word, 4, Int32(rounds)) }
    for _ in 0..<rounds { hits.add(1) }
    for child in children { #expect(test_wait(child) == 0) }
    #expect(hits.load() == Int32(4 * rounds))
  }
}
