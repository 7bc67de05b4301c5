// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import MessageCoding
import SwiftIPC
import Testing

@Suite struct SharedArrayTests {
  struct Mine: Error, Equatable {}
  struct Odd: BitwiseCopyable, Sendable, Equatable { var a: UInt16, b: UInt8 }

  @Test func elementsComeFromASequenceOrARepeatedValue() throws {
    #expect(try Array(SharedArray<Int32>(0..<10)) == Array(0..<10))
    #expect(try Array(SharedArray([1.5, 2.5])) == [1.5, 2.5])
    #expect(
      try Array(SharedArray(sequence(first: 1) { $0 < 100 ? $0 * 2 : nil })) == [
        1, 2, 4, 8, 16, 32, 64, 128,
      ])
    #expect(try Array(SharedArray(repeating: UInt8(7), count: 3)) == [7, 7, 7])
    let odd = try SharedArray((0..<5).map { Odd(a: $0, b: UInt8($0)) })
    #expect(odd[4] == Odd(a: 4, b: 4))
    let empty = try SharedArray<Double>([])
    #expect(empty.isEmpty && empty.shape == [0] && Array(empty) == [])
    #expect(try SharedArray(repeating: (), count: 3).count == 3)
  }

  @Test func itIsARandomAccessCollectionWithNonmutatingSetters() throws {
    let numbers = try SharedArray<Int32>(0..<10)
    for i in numbers.indices { numbers[i] = -numbers[i] }
    #expect(numbers.map { $0 } == (0..<10).map { -$0 })
    #expect(numbers.count == 10 && numbers.first == 0 && numbers.last == -9)
    #expect(Array(numbers[2..<4]) == [-2, -3])
    #expect(Array(numbers.reversed().prefix(2)) == [-9, -8])
    #expect(numbers.reduce(0, +) == -45)
    #expect(numbers.firstIndex(of: -4) == 4)
    numbers[3] += 100
    #expect(numbers[3] == 97)
    let contiguous = unsafe numbers.withContiguousStorageIfAvailable { $0.count }
    #expect(contiguous == 10)
  }

  @Test func spansOfRowsAreTheirElements() throws {
    let image = try SharedArray(0..<24, shape: 4, 6)
    #expect(image.withSpan(rows: 1..<3) { list($0) } == Array(6..<18))
    #expect(image.withSpan(rows: 2...) { list($0) } == Array(12..<24))
    #expect(image.withSpan(rows: ...0) { list($0) } == Array(0..<6))
    #expect(image.withSpan(rows: 4..<4) { $0.count } == 0)
    image.withMutableSpan(rows: 1...1) { span in
      for i in span.indices { span[i] = -span[i] }
    }
    #expect(image[1, 0] == -6 && image[1, 5] == -11 && image[0, 5] == 5 && image[2, 0] == 12)
    let cube = try SharedArray(0..<24, shape: 2, 3, 4)
    #expect(cube.withSpan(rows: 1..<2) { list($0) } == Array(12..<24))
    let four = try SharedArray(0..<120, shape: [2, 3, 4, 5])
    #expect(four.withMutableSpan(rows: 1..<2) { $0.count } == 60)
    let six = try SharedArray(0..<64, shape: [2, 2, 2, 2, 2, 2])
    #expect(six.withSpan(rows: 1..<2) { $0[0] } == 32)
    let line = try SharedArray(0..<10)
    #expect(line.withSpan(rows: 3..<7) { list($0) } == [3, 4, 5, 6])
    line.withMutableSpan { span in for i in span.indices { span[i] += 1 } }
    #expect(line.withSpan { list($0) } == Array(1...10))
    let empty = try SharedArray(shape: 0, .max, repeating: 1)
    #expect(empty.withSpan(rows: 0..<0) { $0.count } == 0)
    let flat = try SharedArray(shape: .max, 0, repeating: 1)
    #expect(flat.withMutableSpan(rows: 7..<Int.max) { $0.count } == 0)
    #expect(throws: Mine()) { try image.withMutableSpan(rows: 0..<1) { _ in throw Mine() } }
  }

  @Test func rowsOutOfBoundsTrap() async throws {
    for rows in [-1..<2, 3..<5, 5..<5, 0..<Int.max] {
      let image = try SharedArray(0..<24, shape: 4, 6)
      let child = try ChildProcess.start(
        image, rows.lowerBound, rows.upperBound,
        options: .init(environment: ["SWIFT_BACKTRACE": "enable=no"], standardError: .null)
      ) { image, lower, upper in
        image.withMutableSpan(rows: lower..<upper) { span in
          if !span.isEmpty { span[0] = 1 }
        }
      }
      #expect(try await !child.join().isSuccess, "\(rows)")
    }
  }

  @Test func childrenWorkOnRowsOfTheirOwn() async throws {
    let image = try SharedArray<Int>(shape: 8, 1000, repeating: 0)
    let children = try (0..<4).map { part in
      try ChildProcess.start(image, part) { image, part in
        image.withMutableSpan(rows: 2 * part..<2 * part + 2) { span in
          for i in span.indices { span[i] = 10_000 * part + i }
        }
      }
    }
    for child in children { #expect(try await child.join().isSuccess) }
    for part in 0..<4 {
      #expect(
        image[2 * part, 0] == 10_000 * part && image[2 * part + 1, 999] == 10_000 * part + 1999)
    }
  }

  @Test func shapesOfEveryRankAreRowMajor() throws {
    let image = try SharedArray<Float>(shape: 4, 6, repeating: 0)
    image[1, 2] = 5
    #expect(image.shape == [4, 6] && image.count == 24 && image[8] == 5 && image[1, 2] == 5)
    let cube = try SharedArray(0..<24, shape: 2, 3, 4)
    #expect(cube[1, 2, 3] == 23 && cube[1, 0, 0] == 12 && cube[0, 1, 2] == 6)
    cube[1, 1, 1] = -1
    #expect(cube[17] == -1)
    let four = try SharedArray(0..<120, shape: [2, 3, 4, 5])
    #expect(four[1, 2, 3, 4] == 119 && four[0, 1, 0, 2] == 22)
    four[1, 0, 0, 0] = -1
    #expect(four[60] == -1)
    let many = try SharedArray(shape: [Int](repeating: 1, count: 63) + [2], repeating: 9)
    #expect(many.shape.count == 64 && Array(many) == [9, 9])
    #expect(try transfer(many).shape == many.shape)
    #expect(try SharedArray(shape: 3, 0, repeating: 1).isEmpty)
    #expect(try SharedArray(shape: 0, .max, .max, repeating: 1).isEmpty)
  }

  @Test func badShapesAndSizesAreErrors() {
    func code(_ shape: [Int]) -> IPCError.Code? {
      errorCode { _ = try SharedArray(shape: shape, repeating: 0) }
    }
    #expect(code([]) == .invalidArgument)
    #expect(code([Int](repeating: 1, count: 65)) == .invalidArgument)
    #expect(code([-1]) == .invalidArgument)
    #expect(code([-2, -2]) == .invalidArgument)
    #expect(code([.max, 2]) == .invalidArgument)
    #expect(code([1 << 32, 1 << 32]) == .invalidArgument)
    for count in [Int.max, .max / 8, 1 << 58, 1 << 46] {
      let code = code([count])
      #expect(code == .outOfMemory || code == .invalidArgument, "\(count)")
    }
    #expect(errorCode { _ = try SharedArray(repeating: 0, count: -1) } == .invalidArgument)
    #expect(errorCode { _ = try SharedArray(0..<5, shape: 2, 3) } == .invalidArgument)
  }

  // In children of ours rather than in exit tests: those look for their own child by waiting for
  // any without reaping it, and spin on one that another thread has not reaped yet (Swift 6.3.1,
  // seen).
  @Test func anIndexOutOfBoundsTraps() async throws {
    let row = try SharedArray(0..<3)
    let table = try SharedArray(0..<6, shape: 2, 3)
    let traps = [
      try ChildProcess.start(row) { row in _ = row[3] },
      try ChildProcess.start(row) { row in row[-1] = 0 },
      try ChildProcess.start(table) { table in _ = table[0, 3] },
      try ChildProcess.start(table) { table in _ = table[-1, 2] },
      try ChildProcess.start(table) { table in _ = table[0, 0, 0] },
    ]
    for child in traps {
      let status = try await child.join()
      #expect(status == .signalled(SIGILL) || status == .signalled(SIGTRAP))
    }
    let last = try ChildProcess.start(table) { table in table[1, 2] }
    #expect(try await last.value == 5)
  }

  @Test func spansAreOverTheSharedMemory() throws {
    let numbers = try SharedArray<Int32>(0..<4)
    try numbers.withLock { span in span[0] += 1 }
    #expect(numbers[0] == 1)
    #expect(throws: Mine()) {
      try numbers.withLock { span in
        span[1] = 50
        throw Mine()
      }
    }
    #expect(numbers[1] == 50)
    let sum = numbers.withSpan { span in
      var sum: Int32 = 0
      for i in span.indices { sum += span[i] }
      return sum
    }
    #expect(sum == 1 + 50 + 2 + 3)
    #expect(throws: Mine()) { try numbers.withSpan { _ throws(Mine) in throw Mine() } }
    let count = try numbers.withLockIfAvailable { $0.count }
    #expect(count == 4)
    #expect(
      try numbers.withLock { _ in errorCode { try numbers.withLock { _ in } } } == .alreadyLocked)
    try unsafe whileAnotherProcessHolds(mutex(of: numbers)) {
      let busy: Void? = try numbers.withLockIfAvailable { _ in }
      #expect(busy == nil)
      #expect(errorCode { try numbers.withLock(timeout: .milliseconds(1)) { _ in } } == .timedOut)
      // Element access takes no lock.
      numbers[3] = 7
    }
    #expect(numbers[3] == 7)
  }

  @Test func whatAKilledOwnerLeftIsRepairedUnderTheLock() throws {
    let numbers = try SharedArray<Int32>(0..<4)
    let payload = try unsafe payload(of: numbers)
    let mutex = unsafe payload.assumingMemoryBound(to: cipc_mutex_t.self)
    // Behind the journal, the redo word, the rank and the extent, at the next multiple of 64.
    let elements = unsafe (payload + 128).assumingMemoryBound(to: Int32.self)
    unsafe killHolder(of: mutex, mark: elements)
    #expect(numbers[0] == 13)
    #expect(errorCode { try numbers.withLock { _ in _ = Issue.record("ran") } } == .ownerDied)
    #expect(errorCode { try numbers.withLock(timeout: .seconds(1)) { _ in } } == .ownerDied)
    #expect(errorCode { try numbers.withLockIfAvailable { _ in } } == .ownerDied)
    let first = try numbers.withLock { span in
      span[0]
    } recovering: { span in
      span[0] = 0
    }
    #expect(first == 0)
    try numbers.withLock { _ in }
    unsafe killHolder(of: mutex, mark: elements)
    #expect(try numbers.withLock(timeout: .seconds(1), { $0[0] }, recovering: { $0[0] = 1 }) == 1)
    unsafe killHolder(of: mutex, mark: elements)
    let second = try numbers.withLockIfAvailable({ $0[0] }, recovering: { $0[0] = 2 })
    #expect(second == 2)
  }

  @Test func bulkCopiesMoveAsMuchAsFits() throws {
    let numbers = try SharedArray<Int32>(0..<6)
    #expect(numbers.update(from: [10, 11]) == 2)
    #expect(Array(numbers) == [10, 11, 2, 3, 4, 5])
    #expect(numbers.update(from: 20..<30) == 6)
    #expect(Array(numbers) == [20, 21, 22, 23, 24, 25])
    #expect(numbers.update(from: numbers[2...]) == 4)
    #expect(Array(numbers) == [22, 23, 24, 25, 24, 25])
    #expect(numbers.update(from: []) == 0)
    var target: [Int32] = [0, 0, 0]
    var span = target.mutableSpan
    #expect(numbers.copy(into: &span) == 3)
    #expect(target == [22, 23, 24])
  }

  @Test func anArrayReceivedIsTheSameMemory() throws {
    let image = try SharedArray<Int16>(0..<6, shape: 2, 3)
    let received = try transfer(image)
    #expect(received.shape == [2, 3])
    received[1, 1] = 40
    #expect(image[1, 1] == 40)
    // The memory outlives the handle that made it.
    let kept = try transfer(SharedArray<Int16>(0..<1000))
    #expect(kept.reduce(0) { $0 + Int($1) } == 499_500)
  }

  @Test func elementsAreAligned() throws {
    func isAligned<T: BitwiseCopyable & Sendable>(_ element: T) throws -> Bool {
      let array = try SharedArray(repeating: element, count: 2)
      return unsafe array.withContiguousStorageIfAvailable {
        Int(bitPattern: $0.baseAddress) % max(64, MemoryLayout<T>.alignment) == 0
      } ?? false
    }
    #expect(try isAligned(UInt8(0)))
    #expect(try isAligned(0.0))
    #expect(try isAligned(SIMD64<Double>(repeating: 0)))
  }

  @Test func aHostileShapeIsRefused() throws {
    let array = try SharedArray<Int32>(0..<24, shape: 2, 3, 4)
    let words = try unsafe (payload(of: array) + 104).assumingMemoryBound(to: UInt64.self)
    func message() -> String {
      do {
        _ = try transfer(array)
        return "received"
      } catch {
        return "\(error)"
      }
    }
    let rows: [[UInt64]] = [
      [0, 2, 3, 4], [65, 2, 3, 4], [.max, 2, 3, 4], [1 << 63, 2, 3, 4], [3, 2, 3, 5],
      [3, .max, .max, .max], [3, 1 << 32, 1 << 32, 24], [3, 0, 3, 4], [2, 2, 3, 4],
      [3, 1 << 63, 2, 24],
    ]
    for row in rows {
      for (index, word) in row.enumerated() { unsafe words[index] = word }
      #expect(message().hasPrefix("segmentMismatch: SharedArray<Int32>: segment shape"), "\(row)")
    }
    for (index, word) in [3, 4, 3, 2].enumerated() { unsafe words[index] = UInt64(word) }
    #expect(try transfer(array).shape == [4, 3, 2])
    // The array made before keeps its own copy.
    #expect(array.shape == [2, 3, 4])
  }
}

private func list<T>(_ span: Span<T>) -> [T] { span.indices.map { span[$0] } }
