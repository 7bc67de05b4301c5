// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

@Suite struct EventTests {
  private func asyncCode(_ body: () async throws -> Void) async -> IPCError.Code? {
    do { try await body() } catch { return (error as? IPCError)?.code }
    return nil
  }

  @Test func setAndClear() throws {
    let event = try Event()
    #expect(!event.isSet)
    for _ in 0..<3 {
      event.set()
      event.set()
      #expect(event.isSet)
      try event.wait()
      try event.wait(timeout: .seconds(-1))
      try event.wait(timeout: .zero)
      #expect(event.isSet)
      event.clear()
      event.clear()
      #expect(!event.isSet)
    }
    #expect(try Event(isSet: true).isSet)
  }

  @Test func waitsEnd() throws {
    let event = try Event()
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20), .milliseconds(250)] {
      let start = SuspendingClock.now
      #expect(errorCode { try event.wait(timeout: timeout) } == .timedOut)
      #expect(SuspendingClock.now - start >= timeout)
    }
    let deadline = SuspendingClock.now + .milliseconds(20)
    #expect(errorCode { try event.wait(timeout: .milliseconds(20)) } == .timedOut)
    #expect(SuspendingClock.now >= deadline)
    #expect(errorCode { try event.wait(timeout: .milliseconds(20)) } == .timedOut)
  }

  @Test func waitsWithoutBlockingEnd() async throws {
    let event = try Event()
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20)] {
      let start = SuspendingClock.now
      #expect(await asyncCode { try await event.wait(timeout: timeout) } == .timedOut)
      #expect(SuspendingClock.now - start >= timeout)
    }
    #expect(await asyncCode { try await event.wait(timeout: .zero) } == .timedOut)
    // Before it waits, while it does, and in between.
    for round in 0..<40 {
      let waiting = Task { try await event.wait() }
      for _ in 0..<round { await Task.yield() }
      waiting.cancel()
      #expect(await asyncCode { try await waiting.value } == .cancelled)
    }
    event.set()
    try await event.wait()
    try await event.wait(timeout: .zero)
    try await event.wait(timeout: .zero)
  }

  @Test func allWaitersAreReleased() async throws {
    let event = try Event()
    let arrived = try SharedSemaphore.Unowned(value: 0)
    let children = try (0..<2).map { _ in
      try ChildProcess.start(event, arrived) { event, arrived in
        try arrived.release()
        try event.wait()
      }
    }
    let threads = (0..<3).map { _ in
      InThread {
        try arrived.release()
        try event.wait()
      }
    }
    let tasks = (0..<20).map { _ in
      Task {
        try arrived.release()
        try await event.wait()
      }
    }
    for _ in 0..<25 { try await arrived.acquire() }
    event.set()
    for child in children { #expect(try await child.join() == .exited(0)) }
    for thread in threads { try thread.join() }
    for task in tasks { try await task.value }
  }

  @Test func waitersOfASetAreReleasedHoweverSoonItIsCleared() async throws {
    let event = try Event()
    let released = try SharedAtomic(0)
    for round in 1...20 {
      let thread = InThread {
        try event.wait()
        released.add(1)
      }
      let task = Task {
        try await event.wait()
        released.add(1)
      }
      // A wait that has begun ends at the next of these, although it is over before it can look.
      while released.load() < 2 * round {
        event.set()
        event.clear()
        await Task.yield()
      }
      try thread.join()
      try await task.value
      #expect(!event.isSet)
    }
  }

  @Test func pingPongBetweenProcesses() async throws {
    let ping = try Event()
    let pong = try Event()
    let child = try ChildProcess.start(ping, pong) { ping, pong in
      for _ in 0..<200 {
        try ping.wait()
        ping.clear()
        pong.set()
      }
    }
    for _ in 0..<200 {
      ping.set()
      try await pong.wait()
      pong.clear()
    }
    #expect(try await child.join() == .exited(0))
  }

  @Test func aKilledWaiterDisturbsNoOther() async throws {
    let event = try Event()
    let arrived = try Event()
    let child = try ChildProcess.start(event, arrived) { event, arrived in
      arrived.set()
      try event.wait()
    }
    try await arrived.wait()
    let waiting = Task { try await event.wait() }
    try child.kill()
    #expect(try await child.join() == .signalled(SIGKILL))
    event.set()
    try await waiting.value
  }

  @Test func eventsAreFoundByName() throws {
    let name = "swift-ipc-test-event-\(getpid())"
    let made = try Event(named: name, .create)
    defer { try? made.unlink() }
    let found = try Event(isSet: true, named: name)
    #expect(made.wasCreated && !found.wasCreated && !found.isSet)
    found.set()
    try made.wait()
  }

  @Test func firstReadyWaitsForEvents() async throws {
    let (one, other) = try (Event(), Event())
    #expect(try await firstReady(one, other, timeout: .zero) == [])
    #expect(try await firstReady(one, other, timeout: .milliseconds(450)) == [])
    other.set()
    #expect(try await firstReady(one, other) == [1])
    one.set()
    #expect(try await firstReady(one, other) == [0, 1])
    for _ in 0..<20 {
      one.clear()
      other.clear()
      let waiting = Task { try await firstReady(one, other) }
      await Task.yield()
      one.set()
      #expect(try await waiting.value == [0])
    }
    one.clear()
    // Set by another process, and waited for on a thread.
    let child = try ChildProcess.start(one) { $0.set() }
    #expect(try InThread { try firstReady(other, one) }.join() == [1])
    #expect(try await child.join() == .exited(0))
    one.clear()
    let waiting = Task { try await firstReady(one, other) }
    await Task.yield()
    waiting.cancel()
    #expect(await asyncCode { _ = try await waiting.value } == .cancelled)
  }

  @Test func anEventTravelsInMessagesAlone() throws {
    let event = try Event()
    let other = try transfer(event)
    other.set()
    #expect(event.isSet)
    #expect(errorCode { try event.encode(to: IndexEncoder(userInfo: [:])) } == .notTransferable)
    #expect(errorCode { _ = try Event(from: IndexDecoder(userInfo: [:])) } == .notTransferable)
    #expect(
      errorCode { _ = try receive(Lock.self, descriptor: duplicate(descriptor(of: event))) }
        == .segmentMismatch)
  }
}
