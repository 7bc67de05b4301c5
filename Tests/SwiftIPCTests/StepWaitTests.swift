// SPDX-License-Identifier: Apache-2.0
import CIPC
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// A word, as a primitive would have it: 0 as long as what is waited for is not there.
@safe private final class Word: @unchecked Sendable {
  let pointer = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)
  let steps = Atomic(0)
  let looks = Atomic(0)

  init() { unsafe pointer.initialize(to: 0) }

  deinit { unsafe pointer.deallocate() }

  func set() {
    unsafe cipc_atomic_store(pointer, 4, 1)
    var wait = unsafe cipc_wait_t(word: pointer, expected: 0)
    unsafe cipc_wait_pass(&wait)
  }

  @safe func step(_ look: Bool, _ wait: inout cipc_wait_t) -> Int32 {
    steps.add(1, ordering: .sequentiallyConsistent)
    if look { looks.add(1, ordering: .sequentiallyConsistent) }
    if unsafe cipc_atomic_load(pointer, 4) != 0 { return 7 }
    unsafe wait = unsafe cipc_wait_t(word: pointer, expected: 0)
    return CIPC_EAGAIN.rawValue
  }

  func wait(until deadline: Int64) throws -> Int32 {
    try waitForStep(until: deadline, subject: "word") { step($0, &$1) }
  }

  func suspend(until deadline: Int64) async throws -> Int32 {
    try await waitForStep(until: deadline, subject: "word") { step($0, &$1) }
  }
}

@Suite struct StepWaitTests {
  private func code(_ body: () async throws -> Int32) async -> IPCError.Code? {
    do {
      _ = try await body()
      return nil
    } catch {
      return (error as? IPCError)?.code
    }
  }

  private func blockingCode(_ body: () throws -> Int32) -> IPCError.Code? {
    errorCode { _ = try body() }
  }

  @Test func whatIsThereNeedsNoWait() async throws {
    let word = Word()
    word.set()
    #expect(try word.wait(until: 0) == 7)
    #expect(try await word.suspend(until: 0) == 7)
    #expect(word.steps.load(ordering: .relaxed) == 2)
  }

  @Test func aBlockedThreadGoesOnWhenTheWordChanges() throws {
    let word = Word()
    let waiting = InThread { try word.wait(until: .max) }
    while word.steps.load(ordering: .sequentiallyConsistent) == 0 { sched_yield() }
    word.set()
    #expect(try waiting.join() == 7)
  }

  @Test func aSuspendedTaskGoesOnWhenTheWordChanges() async throws {
    let word = Word()
    let waiting = Task { try await word.suspend(until: .max) }
    while word.steps.load(ordering: .sequentiallyConsistent) == 0 { await Task.yield() }
    word.set()
    #expect(try await waiting.value == 7)
  }

  @Test func aThousandTasksWaitWithoutThreads() async throws {
    let words = (0..<200).map { _ in Word() }
    try await withThrowingTaskGroup(of: Int32.self) { group in
      for index in 0..<1000 {
        group.addTask { try await words[index % 200].suspend(until: .max) }
      }
      for word in words { word.set() }
      for try await result in group { #expect(result == 7) }
    }
  }

  @Test func aDeadlineEndsTheWaitAfterALook() async throws {
    let word = Word()
    let deadline = Deadline.after(.milliseconds(20))
    #expect(await code { try await word.suspend(until: deadline) } == .timedOut)
    #expect(cipc_clock_now() >= deadline)
    #expect(word.looks.load(ordering: .relaxed) >= 1)
    #expect(await code { try await word.suspend(until: 0) } == .timedOut)
    let other = Word()
    #expect(blockingCode { try other.wait(until: Deadline.after(.milliseconds(1))) } == .timedOut)
    #expect(other.looks.load(ordering: .relaxed) >= 1)
    #expect(blockingCode { try other.wait(until: 0) } == .timedOut)
  }

  @Test func slicesEndWithALook() async throws {
    let word = Word()
    let result = try await waitForStep(until: .max) { look, wait in
      word.looks.load(ordering: .relaxed) == 2 ? 9 : word.step(look, &wait)
    }
    #expect(result == 9)
  }

  @Test func cancellationEndsTheWait() async throws {
    let word = Word()
    let waiting = Task { try await word.suspend(until: .max) }
    while word.steps.load(ordering: .sequentiallyConsistent) == 0 { await Task.yield() }
    waiting.cancel()
    #expect(await code { try await waiting.value } == .cancelled)
    let late = Task {
      while !Task.isCancelled { await Task.yield() }
      return try await word.suspend(until: .max)
    }
    late.cancel()
    #expect(await code { try await late.value } == .cancelled)
  }

  @Test func failuresOfTheStepAreThrown() async throws {
    #expect(
      await code { try await waitForStep(until: .max) { _, _ in CIPC_EBROKEN.rawValue } } == .broken
    )
    #expect(
      blockingCode { try waitForStep(until: .max) { _, _ in CIPC_EBROKEN.rawValue } } == .broken)
  }

  @Test func deadlinesOfTheClock() {
    let before = cipc_clock_now()
    let deadline = Deadline.after(.seconds(10))
    #expect(deadline >= before + 10_000_000_000)
    #expect(deadline <= cipc_clock_now() + 10_000_000_000)
    #expect(Deadline.after(.seconds(-1)) == 0)
    #expect(Deadline.after(nil) == .max)
  }
}
