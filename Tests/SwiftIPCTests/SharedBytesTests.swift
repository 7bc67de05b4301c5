// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import SwiftIPC
import Testing

@Suite struct SharedBytesTests {
  struct Mine: Error, Equatable {}

  @Test func bytesAreKeptUpToTheirCapacity() throws {
    let bytes = try SharedBytes(capacity: 8)
    #expect(bytes.value == [] && bytes.count == 0 && bytes.capacity == 8)
    try bytes.store([0, 255, 0])
    #expect(bytes.value == [0, 255, 0] && bytes.count == 3)
    try bytes.store(1...8)
    #expect(bytes.value == Array(1...8))
    #expect(errorCode { try bytes.store(1...9) } == .capacityExceeded)
    #expect(bytes.value == Array(1...8))
    try bytes.store([] as [UInt8])
    #expect(bytes.value == [])
    let array: [UInt8] = [7, 8, 9]
    try unsafe bytes.store(array.span.bytes)
    #expect(bytes.value == array)
    let tooLong = [UInt8](1...9)
    #expect(errorCode { try unsafe bytes.store(tooLong.span.bytes) } == .capacityExceeded)
    #expect(try SharedBytes([1, 2], capacity: 2).value == [1, 2])
    #expect(errorCode { _ = try SharedBytes([1, 2, 3], capacity: 2) } == .capacityExceeded)
    #expect(try SharedBytes(capacity: 0).value == [])
    let long = [UInt8](repeating: 5, count: 100_000)
    #expect(try SharedBytes(long, capacity: 100_000).value == long)
    #expect(
      try SharedBytes(long[10...].lazy.map { $0 + 1 }, capacity: 100_000).value.count == 99_990)
  }

  @Test func aSpanOverACopyIsGiven() throws {
    let bytes = try SharedBytes([1, 2, 3], capacity: 8)
    let sum = try bytes.withBytes { span throws in
      try bytes.store([9])
      var sum = 0
      for i in 0..<span.byteCount {
        sum += unsafe Int(span.unsafeLoad(fromByteOffset: i, as: UInt8.self))
      }
      return sum
    }
    #expect(sum == 6 && bytes.value == [9])
    #expect(throws: Mine()) { try bytes.withBytes { _ throws(Mine) in throw Mine() } }
  }

  @Test func aChangeHappensWholeOrNotAtAll() throws {
    let bytes = try SharedBytes([1], capacity: 4)
    #expect(throws: Mine()) {
      try bytes.update {
        $0 = [2]
        throw Mine()
      }
    }
    #expect(
      errorCode { try bytes.update { $0 += [2, 3, 4, 5] } } == .capacityExceeded)
    #expect(bytes.value == [1])
    let count = try bytes.update { bytes in
      bytes += [2, 3]
      return bytes.count
    }
    #expect(count == 3 && bytes.value == [1, 2, 3])
    #expect(try bytes.update { _ in errorCode { try bytes.store([]) } } == .alreadyLocked)
    try unsafe whileAnotherProcessHolds(mutex(of: bytes)) {
      #expect(errorCode { try bytes.update(timeout: .milliseconds(1)) { _ in } } == .timedOut)
      #expect(bytes.value == [1, 2, 3] && bytes.count == 3)
    }
    #expect(try bytes.update(timeout: .seconds(5)) { $0.removeFirst() } == 1)
    #expect(bytes.value == [2, 3])
  }

  @Test func aProcessKilledInAChangeHasChangedNothing() async throws {
    let bytes = try SharedBytes([1, 2], capacity: 8)
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(bytes, theirs) { bytes, connection in
      try bytes.update { bytes in
        bytes = [9, 9, 9]
        try connection.send(bytes: [1])
        _ = try connection.receiveBytes()
      }
    }
    #expect(try await ours.receiveBytes() == [1])
    try child.kill()
    #expect(try await child.join() == .signalled(SIGKILL))
    #expect(bytes.value == [1, 2])
    try bytes.update { $0.append(3) }
    #expect(bytes.value == [1, 2, 3])
  }

  @Test func readersNeverSeeAPartOfAChange() async throws {
    let bytes = try SharedBytes([0], capacity: 3000)
    let stop = try SharedAtomic(0)
    let writer = try ChildProcess.start(bytes, stop) { bytes, stop in
      var count = 1
      while stop.load() == 0 {
        try bytes.store([UInt8](repeating: UInt8(count % 251), count: count))
        count = count % 3000 + 1
      }
    }
    while bytes.value == [0] {}
    for _ in 0..<5000 {
      let seen = bytes.value
      #expect(seen.allSatisfy { $0 == UInt8(seen.count % 251) })
    }
    stop.store(1)
    #expect(try await writer.join() == .exited(0))
  }

  @Test func bytesReceivedAreTheSame() throws {
    let bytes = try SharedBytes([1], capacity: 8)
    let received = try transfer(bytes)
    #expect(received.capacity == 8)
    try received.store([2, 3])
    #expect(bytes.value == [2, 3])
    let other = try duplicate(descriptor(of: bytes))
    #expect(errorCode { _ = try receive(SharedString.self, descriptor: other) } == .segmentMismatch)
  }

  @Test func aClaimedLengthIsBounded() throws {
    let bytes = try SharedBytes([1, 2, 3, 4, 5, 6, 7, 8], capacity: 8)
    let cell = try unsafe cell(of: bytes)
    var claim: [UInt64] = [.max, 0x0101_0101_0101_0101]
    #expect(unsafe cipc_cell_store(cell, &claim, 16, .max) == 0)
    #expect(bytes.count == 8 && bytes.value == [UInt8](repeating: 1, count: 8))
    try bytes.update { #expect($0.count == 8) }
  }

  @Test func badCapacitiesAreErrors() {
    #expect(errorCode { _ = try SharedBytes(capacity: -1) } == .invalidArgument)
    for capacity in [Int.max, .max - 8, .max / 2, 1 << 60, 1 << 46] {
      let code = errorCode { _ = try SharedBytes(capacity: capacity) }
      #expect(code == .outOfMemory || code == .invalidArgument, "\(capacity)")
    }
  }
}
