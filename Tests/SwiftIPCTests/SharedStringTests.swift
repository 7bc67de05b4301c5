// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import SwiftIPC
import Synchronization
import Testing

@Suite struct SharedStringTests {
  struct Mine: Error, Equatable {}

  @Test func aTextIsKeptUpToItsCapacityInBytes() throws {
    let text = try SharedString(capacity: 8)
    #expect(text.value == "" && text.capacity == 8)
    try text.store("åäöü")
    #expect(text.value == "åäöü")
    #expect(errorCode { try text.store("åäöü!") } == .capacityExceeded)
    #expect(text.value == "åäöü")
    try text.store("a\0b")
    #expect(text.value == "a\0b")
    try text.store("")
    #expect(text.value == "")
    #expect(try SharedString("hello", capacity: 5).value == "hello")
    #expect(errorCode { _ = try SharedString("hello!", capacity: 5) } == .capacityExceeded)
    #expect(try SharedString(capacity: 0).value == "")
    let long = String(repeating: "x", count: 100_000)
    #expect(try SharedString(long, capacity: 100_000).value == long)
  }

  @Test func aChangeHappensWholeOrNotAtAll() throws {
    let text = try SharedString("one", capacity: 8)
    #expect(throws: Mine()) {
      try text.withLock {
        $0 = "two"
        throw Mine()
      }
    }
    #expect(errorCode { try text.withLock { $0 = "much too long" } } == .capacityExceeded)
    #expect(text.value == "one")
    let length = try text.withLock { text in
      text += " two"
      return text.count
    }
    #expect(length == 7 && text.value == "one two")
    #expect(try text.withLock { _ in errorCode { try text.store("") } } == .alreadyLocked)
    try unsafe whileAnotherProcessHolds(mutex(of: text)) {
      #expect(errorCode { try text.withLock(timeout: .milliseconds(1)) { $0 = "" } } == .timedOut)
      #expect(text.value == "one two")
    }
    try unsafe killHolder(of: mutex(of: text))
    try text.store("three")
    #expect(text.value == "three")
  }

  @Test func aTextReceivedIsTheSame() throws {
    let text = try SharedString("one", capacity: 8)
    let received = try transfer(text)
    #expect(received.capacity == 8)
    try received.store("two")
    #expect(text.value == "two")
    #expect(
      errorCode { _ = try receive(Value<UInt8>.self, descriptor: duplicate(descriptor(of: text))) }
        == .segmentMismatch)
  }

  @Test func hostileBytesGiveATextAndNoTrap() throws {
    let text = try SharedString("one", capacity: 8)
    let cell = try unsafe cell(of: text)
    let bytes: [UInt8] = [255, 255, 255, 255, 255, 255, 255, 255] + Array("ab\u{0}cdefg".utf8)
    #expect(unsafe cipc_cell_store(cell, bytes, 16, .max) == 0)
    #expect(text.value == "ab\0cdefg")
    let invalid: [UInt8] = [3, 0, 0, 0, 0, 0, 0, 0, 0x61, 0xff, 0xc3, 0, 0, 0, 0, 0]
    #expect(unsafe cipc_cell_store(cell, invalid, 16, .max) == 0)
    #expect(text.value == "a\u{fffd}\u{fffd}")
    try text.withLock { $0 = "ok" }
    #expect(text.value == "ok")
  }

  private final class Flag: Sendable {
    let isSet = Atomic(false)
  }

  /// A process that writes over the text while it is read can spoil it, and not make a String of it
  /// that is not valid UTF-8.
  @Test(.enabled(if: !ChildWork.keepsMemory, "sanitizers report the race, which is the point"))
  func textThatIsWrittenOverMeanwhileIsValid() throws {
    let text = try SharedString(String(repeating: "é", count: 2048), capacity: 4096)
    let cell = try unsafe Int(bitPattern: cell(of: text))
    let over = Flag()
    let scribbler = InThread {
      // Behind the header: both slots, wherever they begin.
      guard let slots = unsafe UnsafeMutablePointer<UInt8>(bitPattern: cell + 256) else { return }
      var byte: UInt8 = 0xc3
      while !over.isSet.load(ordering: .relaxed) {
        for place in stride(from: 0, to: 7000, by: 37) { unsafe slots[place] = byte }
        byte ^= 0xe2
      }
    }
    var invalid = 0
    for _ in 0..<20_000 {
      // What was made valid may be too long to be put back.
      try? text.withLock { text in
        if String(validating: Array(text.utf8), as: UTF8.self) == nil { invalid += 1 }
      }
      if String(validating: Array(text.value.utf8), as: UTF8.self) == nil { invalid += 1 }
    }
    over.isSet.store(true, ordering: .relaxed)
    try scribbler.join()
    #expect(invalid == 0)
  }

  @Test func textsLongerThanTheFirstGuessAreReadWhole() throws {
    let text = try SharedString(capacity: 5000)
    for count in [255, 256, 257, 1000, 5000] {
      try text.store(String(repeating: "y", count: count))
      #expect(text.value == String(repeating: "y", count: count))
    }
  }

  @Test func badCapacitiesAreErrors() {
    #expect(errorCode { _ = try SharedString(capacity: -1) } == .invalidArgument)
    for capacity in [Int.max, .max - 8, .max / 2, 1 << 60, 1 << 46] {
      let code = errorCode { _ = try SharedString(capacity: capacity) }
      #expect(code == .outOfMemory || code == .invalidArgument, "\(capacity)")
    }
  }
}
