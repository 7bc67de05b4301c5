// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

@Suite struct ConditionTests {
  struct Mine: Error, Equatable {}

  private func awaitWaiting(_ condition: Condition, _ count: Int) throws {
    try lookUntil { condition.waitingCount == count }
  }

  private func awaitWaiting(_ condition: Condition, _ count: Int) async throws {
    try await waitUntil { condition.waitingCount == count }
  }

  private func code(_ body: () async throws -> Void) async -> IPCError.Code? {
    do { try await body() } catch { return (error as? IPCError)?.code }
    return nil
  }

  /// Threads that wait once each; what they give is the order in which they came back.
  private func startThreads(
    _ condition: Condition, _ count: Int, _ order: SharedAtomic<Int>
  ) throws -> [InThread<Int>] {
    try (0..<count).map { number in
      let thread = InThread {
        try condition.lock.withLock {
          try condition.wait()
          return order.add(1).oldValue
        }
      }
      try awaitWaiting(condition, number + 1)
      return thread
    }
  }

  @Test func theLongestWaitingAreNotifiedFirst() throws {
    let condition = try Condition()
    let order = try SharedAtomic(0)
    let threads = try startThreads(condition, 4, order)
    for number in 0..<4 {
      #expect(try condition.withLock { try condition.notify() } == 1)
      #expect(try threads[number].join() == number)
      #expect(condition.waitingCount == 3 - number)
    }
    #expect(try condition.withLock { try condition.notify() } == 0)
  }

  @Test func soManyAreNotifiedAndNoMore() throws {
    let condition = try Condition()
    let order = try SharedAtomic(0)
    let threads = try startThreads(condition, 6, order)
    try condition.withLock {
      let counts = try [condition.notify(0), condition.notify(3)]
      #expect(counts == [0, 3])
      #expect(condition.waitingCount == 3)
      #expect(errorCode { try condition.notify(-1) } == .invalidArgument)
    }
    #expect(try Set(threads[..<3].map { try $0.join() }) == [0, 1, 2])
    #expect(order.load() == 3)
    #expect(try condition.withLock { try condition.notify(1000) } == 3)
    for thread in threads[3...] { #expect(try thread.join() >= 3) }
  }

  @Test func allAreNotified() throws {
    let condition = try Condition()
    for _ in 0..<2 {
      let order = try SharedAtomic(0)
      let threads = try startThreads(condition, 6, order)
      #expect(try condition.withLock { try condition.notifyAll() } == 6)
      #expect(try Set(threads.map { try $0.join() }) == Set(0..<6))
    }
  }

  @Test func onlyTheOwnerWaitsAndNotifies() throws {
    let condition = try Condition()
    #expect(errorCode { try condition.wait() } == .notOwner)
    #expect(errorCode { try condition.wait(timeout: .seconds(1)) } == .notOwner)
    #expect(errorCode { try condition.notify() } == .notOwner)
    #expect(errorCode { try condition.notifyAll() } == .notOwner)
    try condition.withLock {
      #expect(errorCode { try condition.withLock(when: { true }) {} } == .alreadyLocked)
    }
    try condition.withLock {}
  }

  @Test func waitsEndInTime() throws {
    let condition = try Condition()
    let clock = SuspendingClock()
    try condition.withLock {
      for timeout in [Duration.zero, .seconds(-1), .nanoseconds(1)] {
        #expect(errorCode { try condition.wait(timeout: timeout) } == .timedOut)
      }
      #expect(errorCode { try condition.wait(timeout: .seconds(-1)) } == .timedOut)
      let start = clock.now
      #expect(errorCode { try condition.wait(timeout: .milliseconds(20)) } == .timedOut)
      #expect(clock.now - start >= .milliseconds(20))
      let deadline = clock.now + .milliseconds(20)
      #expect(errorCode { try condition.wait(timeout: .milliseconds(20)) } == .timedOut)
      #expect(clock.now >= deadline)
      // Still held.
      #expect(errorCode { try condition.withLock {} } == .alreadyLocked)
    }
    #expect(condition.waitingCount == 0)
  }

  @Test func aPredicateIsWaitedFor() throws {
    let condition = try Condition()
    let level = try SharedAtomic(0)
    let thread = InThread {
      try condition.withLock {
        try condition.wait { level.load() == 4 }
        return level.load()
      }
    }
    for _ in 0..<4 {
      try awaitWaiting(condition, 1)
      try condition.withLock {
        level.add(1)
        try condition.notify()
      }
    }
    #expect(try thread.join() == 4)
    try condition.withLock {
      // Holds already: no wait.
      try condition.wait(timeout: .zero) { level.load() == 4 }
      #expect(throws: Mine()) { try condition.wait { throw Mine() } }
    }
  }

  @Test func aPredicateIsLookedAtOnceMoreInTheEnd() throws {
    let condition = try Condition()
    try condition.withLock {
      var looks = 0
      #expect(
        errorCode {
          try condition.wait(timeout: .milliseconds(20)) {
            looks += 1
            return false
          }
        } == .timedOut)
      #expect(looks == 2)
      looks = 0
      try condition.wait(timeout: .zero) {
        looks += 1
        return looks == 2
      }
    }
    #expect(
      errorCode { try condition.withLock(timeout: .milliseconds(20), when: { false }) {} }
        == .timedOut)
    #expect(
      errorCode { try condition.withLock(timeout: .zero, when: { false }) {} }
        == .timedOut)
    var looks = 0
    try condition.withLock(
      timeout: .zero,
      when: {
        looks += 1
        return looks == 2
      }, {})
    #expect(throws: Mine()) { try condition.withLock(when: { throw Mine() }, {}) }
    #expect(throws: Mine()) { try condition.withLock(when: { true }, { throw Mine() }) }
    #expect(try condition.withLock(when: { true }, { 12 }) == 12)
    #expect(condition.waitingCount == 0)
  }

  @Test func twoConditionsShareALock() throws {
    let lock = try Lock()
    let (filled, emptied) = (try Condition(lock), try Condition(lock))
    let items = try SharedAtomic(0)
    let rounds = 2_000
    let consumers = (0..<2).map { _ in
      InThread {
        for _ in 0..<rounds {
          try filled.withLock(when: { items.load() > 0 }) {
            items.subtract(1)
            try emptied.notify()
          }
        }
      }
    }
    for _ in 0..<2 * rounds {
      try lock.withLock {
        try emptied.wait { items.load() < 3 }
        items.add(1)
        try filled.notify()
      }
    }
    for consumer in consumers { try consumer.join() }
    #expect(items.load() == 0)
  }

  @Test func processesWaitForEachOther() async throws {
    let condition = try Condition()
    let turn = try SharedAtomic(0)
    let child = try ChildProcess.start(condition, turn) { condition, turn in
      for _ in 0..<500 {
        try condition.lock.withLock {
          try condition.wait { turn.load() % 2 == 1 }
          turn.add(1)
          try condition.notifyAll()
        }
      }
    }
    for _ in 0..<500 {
      try await condition.withLock(
        when: { turn.load() % 2 == 0 },
        {
          turn.add(1)
          try condition.notifyAll()
        })
    }
    try await condition.withLock(when: { turn.load() == 1000 }, {})
    try await child.value
  }

  @Test func theDeadPassTheirNotificationOn() async throws {
    let condition = try Condition()
    let order = try SharedAtomic(0)
    let victims = try (0..<2).map { _ in
      try ChildProcess.start(condition) { condition in
        try condition.withLock { try condition.wait() }
      }
    }
    try await awaitWaiting(condition, 2)
    let threads = try (0..<2).map { number in
      let thread = InThread {
        try condition.withLock {
          try condition.wait()
          return order.add(1).oldValue
        }
      }
      try awaitWaiting(condition, 3 + number)
      return thread
    }
    // One is killed before it is notified, the other with its notification.
    try victims[0].kill()
    try await victims[0].join()
    try condition.withLock {
      try condition.notify()
      try victims[1].kill()
      try victims[1].join()
    }
    #expect(try threads[0].join() == 0)
    // One notification goes to one.
    #expect(condition.waitingCount == 1)
    #expect(order.load() == 1)
    #expect(try condition.withLock { try condition.notifyAll() } == 1)
    #expect(try threads[1].join() == 1)
  }

  @Test func waitersAreToldOfADeadOwner() async throws {
    let condition = try Condition()
    let thread = InThread {
      errorCode { try condition.withLock { try condition.wait() } }
    }
    try await awaitWaiting(condition, 1)
    let task = Task {
      await code { try await condition.withLock(when: { false }) {} }
    }
    try await awaitWaiting(condition, 2)
    // It dies before it notifies.
    let child = try ChildProcess.start(condition) { condition in
      try condition.withLock { _ = raise(SIGKILL) }
    }
    try await child.join()
    #expect(try thread.join() == .ownerDied)
    #expect(await task.value == .ownerDied)
    #expect(errorCode { try condition.withLock(when: { true }) {} } == .ownerDied)
    #expect(errorCode { try condition.withLock {} } == .ownerDied)
    var order: [String] = []
    try await condition.withLock(
      when: { true }, { order.append("body") }, recovering: { order.append("repair") })
    #expect(order == ["repair", "body"])
    try condition.withLock {}
    #expect(condition.waitingCount == 0)
  }

  @Test func aRepairInTheMiddleOfAWaitGoesOnWaiting() async throws {
    let condition = try Condition()
    let state = try SharedAtomic(0)
    let task = Task {
      var repairs = 0
      try await condition.withLock(when: { state.load() == 1 }) {
      } recovering: {
        repairs += 1
      }
      return repairs
    }
    try await awaitWaiting(condition, 1)
    let child = try ChildProcess.start(condition) { condition in
      try condition.withLock { _ = raise(SIGKILL) }
    }
    try await child.join()
    while errorCode({ try condition.withLock {} }) == .ownerDied { await Task.yield() }
    try condition.withLock {
      state.store(1)
      try condition.notifyAll()
    }
    #expect(try await task.value == 1)
  }

  @Test func thereAreSoManyPlaces() throws {
    let condition = try Condition(waiters: 2)
    #expect(condition.waiterCapacity == 2)
    let threads = try startThreads(condition, 2, SharedAtomic(0))
    #expect(
      errorCode { try condition.withLock { try condition.wait() } } == .capacityExceeded)
    #expect(errorCode { try condition.withLock(when: { false }) {} } == .capacityExceeded)
    _ = try condition.withLock { try condition.notifyAll() }
    for thread in threads { _ = try thread.join() }
    #expect(
      try condition.withLock { errorCode { try condition.wait(timeout: .zero) } } == .timedOut)
    #expect(errorCode { _ = try Condition(waiters: 0) } == .invalidArgument)
    #expect(try Condition().waiterCapacity == Condition.defaultWaiters)
  }

  @Test func tasksWaitWithoutAThread() async throws {
    let condition = try Condition(waiters: 300)
    let sum = try SharedAtomic(0)
    let open = try SharedAtomic(0)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<300 {
        group.addTask {
          try await condition.withLock(when: { open.load() == 1 }) { _ = sum.add(1) }
        }
      }
      try await awaitWaiting(condition, 300)
      let notified = try condition.withLock {
        open.store(1)
        return try condition.notifyAll()
      }
      #expect(notified == 300)
      try await group.waitForAll()
    }
    #expect(sum.load() == 300)
  }

  @Test func aCancelledTaskWaitsNoMore() async throws {
    let condition = try Condition()
    let task = Task { await code { try await condition.withLock(when: { false }) {} } }
    try await awaitWaiting(condition, 1)
    task.cancel()
    #expect(await task.value == .cancelled)
    #expect(condition.waitingCount == 0)
    let late = await code {
      try await condition.withLock(timeout: .milliseconds(20), when: { false }) {}
    }
    #expect(late == .timedOut)
    #expect(
      await code {
        try await condition.withLock(timeout: .zero, when: { false }) {}
      } == .timedOut)
  }

  @Test func aNotificationBeforeTheCancellationCounts() async throws {
    let condition = try Condition()
    let state = try SharedAtomic(0)
    let task = Task {
      try await condition.withLock(when: { state.load() == 1 }) { state.store(2) }
    }
    try await awaitWaiting(condition, 1)
    try condition.withLock {
      state.store(1)
      try condition.notify()
      task.cancel()
    }
    try await task.value
    #expect(state.load() == 2)
  }

  @MainActor @Test func theBodyStaysOnItsActor() async throws {
    let condition = try Condition()
    var looks = 0
    let notifier = InThread {
      while condition.waitingCount < 1 { sched_yield() }
      try condition.withLock { _ = try condition.notifyAll() }
    }
    let result = try await condition.withLock(
      when: {
        MainActor.assertIsolated()
        looks += 1
        return looks == 2
      },
      {
        MainActor.assertIsolated()
        return looks
      })
    #expect(result == 2)
    try notifier.join()
  }

  @Test func aConditionTravelsInMessagesWithItsLock() async throws {
    let condition = try Condition(waiters: 7)
    #expect(errorCode { try condition.encode(to: IndexEncoder(userInfo: [:])) } == .notTransferable)
    #expect(errorCode { _ = try Condition(from: IndexDecoder(userInfo: [:])) } == .notTransferable)
    let (ours, theirs) = try Connection.pair()
    try await ours.send(condition)
    let received = try await theirs.receive(Condition.self)
    #expect(received.waiterCapacity == 7)
    try condition.withLock {
      #expect(errorCode { try received.withLock {} } == .alreadyLocked)
    }
    let thread = InThread { try received.withLock { try received.wait() } }
    try await awaitWaiting(condition, 1)
    #expect(try condition.withLock { try condition.notify() } == 1)
    try thread.join()
    try await ours.send(condition.lock)
    let error = await code { _ = try await theirs.receive(Condition.self) }
    #expect(error != nil)
  }

  @Test func aConditionIsFoundByItsName() throws {
    let name = "swift-ipc-condition-\(getpid())"
    let lock = try Lock()
    let condition = try Condition(lock, named: name, .create)
    defer { try? condition.unlink() }
    #expect(condition.name == name && condition.wasCreated)
    let found = try Condition(lock, named: name)
    #expect(!found.wasCreated)
    let thread = InThread { try found.withLock { try found.wait() } }
    try awaitWaiting(condition, 1)
    #expect(try lock.withLock { try condition.notify() } == 1)
    try thread.join()
    #expect(errorCode { _ = try Barrier(parties: 2, named: name) } == .segmentMismatch)
  }
}
