// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

@Suite struct SharedSemaphoreTests {
  struct Mine: Error, Equatable {}
  struct Ticket: ~Copyable { var number: Int }

  private func asyncCode(_ body: () async throws -> Void) async -> IPCError.Code? {
    do { try await body() } catch { return (error as? IPCError)?.code }
    return nil
  }

  // MARK: Permits

  @Test func theResultAndTheErrorOfTheBodyComeThrough() throws {
    let semaphore = try SharedSemaphore(value: 1)
    #expect(try semaphore.withPermit { 12 } == 12)
    #expect(throws: Mine()) { try semaphore.withPermit { throw Mine() } }
    #expect(try semaphore.withPermitIfAvailable { 13 } == 13)
    #expect(throws: Mine()) { try semaphore.withPermitIfAvailable { throw Mine() } }
    #expect(try semaphore.withPermit(timeout: .milliseconds(1)) { 14 } == 14)
    #expect(try semaphore.withPermit(timeout: .seconds(1)) { 15 } == 15)
    #expect(try semaphore.withPermit { Ticket(number: 16) }.number == 16)
    #expect(semaphore.value == 1)
  }

  @Test func theSameWithoutBlocking() async throws {
    let semaphore = try SharedSemaphore(value: 1)
    #expect(try await semaphore.withPermit { 12 } == 12)
    let thrown = await #expect(throws: Mine.self) {
      try await semaphore.withPermit { throw Mine() }
    }
    #expect(thrown == Mine())
    #expect(try await semaphore.withPermit(timeout: .milliseconds(1)) { 14 } == 14)
    #expect(try await semaphore.withPermit(timeout: .seconds(1)) { 15 } == 15)
    #expect(try await semaphore.withPermit(timeout: .zero) { Ticket(number: 16) }.number == 16)
    #expect(semaphore.value == 1)
  }

  @Test func valuesThatCannotBe() throws {
    for value in [0, -1, 65_537, .max, .min] {
      #expect(errorCode { _ = try SharedSemaphore(value: value) } == .invalidArgument)
    }
    #expect(try SharedSemaphore(value: 65_536).value == 65_536)
  }

  @Test func asManyAsThereArePermits() throws {
    let semaphore = try SharedSemaphore(value: 3)
    #expect(semaphore.capacity == 3)
    var permits: [Permit] = []
    for left in [2, 1, 0] {
      permits.append(try semaphore.acquire())
      #expect(semaphore.value == left)
    }
    #expect(try semaphore.acquireIfAvailable() == nil)
    #expect(try semaphore.withPermitIfAvailable { 1 } == nil)
    #expect(permits.allSatisfy { $0.isHeld })
    try permits[1].release()
    #expect(!permits[1].isHeld)
    #expect(semaphore.value == 1)
    let again = try #require(try semaphore.acquireIfAvailable())
    #expect(semaphore.value == 0)
    permits = []
    #expect(semaphore.value == 2)
    try again.release()
    #expect(semaphore.value == 3)
  }

  @Test func aPermitIsReleasedOnce() throws {
    let semaphore = try SharedSemaphore(value: 2)
    let permit = try semaphore.acquire(timeout: .seconds(1))
    let other = try semaphore.acquire(timeout: .zero)
    try permit.release()
    #expect(errorCode { try permit.release() } == .notOwner)
    #expect(semaphore.value == 1)
    #expect(other.semaphore === semaphore)
    withExtendedLifetime(other) {}
  }

  @Test func anotherThreadMayReleaseAPermit() throws {
    let semaphore = try SharedSemaphore(value: 1)
    // The thread that took it has ended by the time that it is given back.
    let permit = try InThread { try semaphore.acquire() }.join()
    #expect(errorCode { _ = try semaphore.acquire(timeout: .milliseconds(250)) } == .timedOut)
    try permit.release()
    #expect(semaphore.value == 1)
  }

  // MARK: Time

  @Test func waitsEnd() throws {
    let semaphore = try SharedSemaphore(value: 1)
    let permit = try semaphore.acquire()
    for timeout in [Duration.zero, .seconds(-1), .nanoseconds(-1), .seconds(Int64.min)] {
      #expect(errorCode { _ = try semaphore.acquire(timeout: timeout) } == .timedOut)
      #expect(errorCode { try semaphore.withPermit(timeout: timeout) {} } == .timedOut)
    }
    #expect(errorCode { _ = try semaphore.acquire(timeout: .seconds(-1)) } == .timedOut)
    #expect(errorCode { try semaphore.withPermit(timeout: .seconds(-1)) {} } == .timedOut)
    for timeout in [Duration.milliseconds(20), .milliseconds(250)] {
      let start = SuspendingClock.now
      #expect(errorCode { try semaphore.withPermit(timeout: timeout) {} } == .timedOut)
      #expect(SuspendingClock.now - start >= timeout)
      let deadline = SuspendingClock.now + timeout
      #expect(errorCode { _ = try semaphore.acquire(timeout: timeout) } == .timedOut)
      #expect(SuspendingClock.now >= deadline)
    }
    try permit.release()
    #expect(try semaphore.withPermit(timeout: .seconds(-1)) { 1 } == 1)
    #expect(try semaphore.withPermit(timeout: .seconds(-1)) { 2 } == 2)
  }

  @Test func waitsWithoutBlockingEnd() async throws {
    let semaphore = try SharedSemaphore(value: 1)
    let permit = try await semaphore.acquire()
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20)] {
      let start = SuspendingClock.now
      #expect(await asyncCode { _ = try await semaphore.acquire(timeout: timeout) } == .timedOut)
      #expect(
        await asyncCode { try await semaphore.withPermit(timeout: timeout) {} } == .timedOut)
      #expect(SuspendingClock.now - start >= timeout)
    }
    let deadline = SuspendingClock.now + .milliseconds(20)
    #expect(
      await asyncCode { _ = try await semaphore.acquire(timeout: .milliseconds(20)) } == .timedOut)
    #expect(SuspendingClock.now >= deadline)
    #expect(
      await asyncCode { try await semaphore.withPermit(timeout: .zero) {} } == .timedOut)
    try permit.release()
    #expect(try await semaphore.acquire(timeout: .seconds(-1)).isHeld)
    #expect(semaphore.value == 1)
  }

  @Test func aCancelledTaskWaitsNoMore() async throws {
    let semaphore = try SharedSemaphore(value: 1)
    let permit = try await semaphore.acquire()
    // Before they wait, while they do, and in between.
    for round in 0..<40 {
      let keeping = Task { try await semaphore.acquire() }
      let scoped = Task { try await semaphore.withPermit { _ = Issue.record("ran") } }
      for _ in 0..<round { await Task.yield() }
      keeping.cancel()
      scoped.cancel()
      #expect(await asyncCode { _ = try await keeping.value } == .cancelled)
      #expect(await asyncCode { try await scoped.value } == .cancelled)
    }
    try permit.release()
    #expect(semaphore.value == 1)
    let before = Task {
      unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
      _ = try await semaphore.acquire()
    }
    #expect(await asyncCode { try await before.value } == .cancelled)
    #expect(semaphore.value == 1)
  }

  @Test func aWaitThatIsGivenUpTakesNothingFromOthers() async throws {
    let semaphore = try SharedSemaphore(value: 1)
    for _ in 0..<50 {
      let permit = try await semaphore.acquire()
      let givenUp = Task { _ = try await semaphore.acquire() }
      let patient = Task { try await semaphore.withPermit { 1 } }
      await Task.yield()
      givenUp.cancel()
      try permit.release()
      #expect(try await patient.value == 1)
      _ = await givenUp.result
      #expect(semaphore.value == 1)
    }
  }

  // MARK: Many

  @Test func tasksAndThreadsAndProcessesShareThePermits() async throws {
    let semaphore = try SharedSemaphore(value: 2)
    let inside = try SharedAtomic(0)
    let worst = try SharedAtomic(0)
    let children = try (0..<2).map { _ in
      try ChildProcess.start(semaphore, inside, worst) { semaphore, inside, worst in
        for _ in 0..<500 {
          try semaphore.withPermit { SharedSemaphoreTests.visit(inside, worst) }
        }
      }
    }
    let threads = (0..<2).map { _ in
      InThread {
        for _ in 0..<500 { try semaphore.withPermit { SharedSemaphoreTests.visit(inside, worst) } }
      }
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<4 {
        group.addTask {
          for _ in 0..<200 {
            try await semaphore.withPermit {
              SharedSemaphoreTests.visit(inside, worst)
              await Task.yield()
            }
          }
        }
      }
      try await group.waitForAll()
    }
    for thread in threads { try thread.join() }
    for child in children { #expect(try await child.join() == .exited(0)) }
    #expect((1...2).contains(worst.load()))
    #expect(semaphore.value == 2)
  }

  private static func visit(_ inside: SharedAtomic<Int>, _ worst: SharedAtomic<Int>) {
    let now = inside.add(1).newValue
    if now > worst.load() { worst.store(now) }
    sched_yield()
    inside.add(-1)
  }

  // MARK: Death

  @Test func thePermitsOfAKilledProcessComeBack() async throws {
    for count in [1, 5] {
      let semaphore = try SharedSemaphore(value: count)
      let ready = try Event()
      let child = try ChildProcess.start(semaphore, ready) { semaphore, ready in
        let kept = try (1..<semaphore.capacity).map { _ in try semaphore.acquire() }
        try semaphore.withPermit {
          ready.set()
          while true { pause() }
        }
        withExtendedLifetime(kept) {}
      }
      try await ready.wait()
      #expect(semaphore.value == 0)
      #expect(try semaphore.acquireIfAvailable() == nil)
      let waiting = Task { try await semaphore.acquire() }
      let blocked = InThread { try semaphore.withPermit { 1 } }
      try child.kill()
      #expect(try await child.join() == .signalled(SIGKILL))
      let first = try await waiting.value
      if count > 1 { #expect(try blocked.join() == 1) }
      let rest = try (1..<count).map { _ in try semaphore.acquireIfAvailable() }
      #expect(rest.allSatisfy { $0?.isHeld == true })
      try first.release()
      if count == 1 { #expect(try blocked.join() == 1) }
    }
  }

  @Test func thePermitOfAThreadThatEndsComesBack() throws {
    let semaphore = try SharedSemaphore(value: 1)
    try InThread {
      let owner = cipc_participant_this_thread()
      let permit = unsafe cipc_semaphore_try(semaphore.pointer, semaphore.width, owner)
      #expect(permit == 0)
    }.join()
    #expect(try semaphore.withPermit { 1 } == 1)
  }

  @Test func aStoppedProcessKeepsItsPermit() async throws {
    let semaphore = try SharedSemaphore(value: 1)
    let ready = try Event()
    let child = try ChildProcess.start(semaphore, ready) { semaphore, ready in
      try semaphore.withPermit {
        ready.set()
        while true { pause() }
      }
    }
    try await ready.wait()
    try child.signal(SIGSTOP)
    #expect(
      await asyncCode { _ = try await semaphore.acquire(timeout: .milliseconds(500)) } == .timedOut)
    #expect(try semaphore.acquireIfAvailable() == nil)
    try child.kill()
    _ = try await semaphore.acquire()
  }

  // MARK: Travelling

  @Test func aSemaphoreTravelsInMessagesAlone() throws {
    let semaphore = try SharedSemaphore(value: 2)
    let other = try transfer(semaphore)
    let permit = try other.acquire()
    #expect(semaphore.value == 1 && other.capacity == 2)
    try permit.release()
    #expect(errorCode { try semaphore.encode(to: IndexEncoder(userInfo: [:])) } == .notTransferable)
    #expect(
      errorCode { _ = try SharedSemaphore(from: IndexDecoder(userInfo: [:])) } == .notTransferable)
    #expect(
      errorCode {
        _ = try receive(
          SharedSemaphore.Unowned.self, descriptor: duplicate(descriptor(of: semaphore)))
      } == .segmentMismatch)
    let unowned = try SharedSemaphore.Unowned(value: 0)
    #expect(
      errorCode {
        _ = try receive(SharedSemaphore.self, descriptor: duplicate(descriptor(of: unowned)))
      } == .segmentMismatch)
    #expect(errorCode { try permit.encode(to: IndexEncoder(userInfo: [:])) } == .notTransferable)
    #expect(errorCode { _ = try Permit(from: IndexDecoder(userInfo: [:])) } == .notTransferable)
  }

  @Test func semaphoresAreFoundByName() throws {
    let name = "swift-ipc-test-semaphore-\(getpid())"
    let made = try SharedSemaphore(value: 2, named: name, .create)
    defer { try? made.unlink() }
    let found = try SharedSemaphore(value: 2, named: name)
    #expect(made.wasCreated && !found.wasCreated && found.name == name)
    #expect(try made.withPermit { found.value } == 1)
    #expect(errorCode { _ = try SharedSemaphore(value: 3, named: name) } == .segmentMismatch)
    #expect(
      errorCode { _ = try SharedSemaphore.Unowned(value: 3, named: name) } == .segmentMismatch)
    let unowned = "\(name)-unowned"
    let signals = try SharedSemaphore.Unowned(value: 1, bound: 4, named: unowned, .create)
    defer { try? signals.unlink() }
    #expect(try SharedSemaphore.Unowned(value: 0, bound: 4, named: unowned).value == 1)
    #expect(
      errorCode { _ = try SharedSemaphore.Unowned(value: 0, bound: 5, named: unowned) }
        == .segmentMismatch)
  }

  @Test func aSemaphoreOfAnotherSizeIsRefused() throws {
    // A header that promises more permits than there are words behind the semaphore's own.
    let type = cipc_segment_type_t(
      kind: UInt32(CIPC_KIND_SEMAPHORE), version: 1, element_size: 8, stride: 8, alignment: 8,
      count: 8, fingerprint: 1)
    let segment = try unsafe Segment.make(type, size: 64, subject: "crafted") { _ in 0 }
    #expect(
      errorCode { _ = try receive(SharedSemaphore.self, descriptor: dup(segment.descriptor)) }
        == .segmentMismatch)
  }

  @Test func aPermitIsHandedToAChild() async throws {
    let semaphore = try SharedSemaphore(value: 1)
    let permit = try await semaphore.acquire()
    let go = try Event()
    let child = try ChildProcess.start(permit, go) { permit, go in
      guard permit.isHeld, permit.semaphore.value == 0 else { exit(1) }
      try go.wait()
      try permit.release()
    }
    #expect(!permit.isHeld)
    #expect(errorCode { try permit.release() } == .notOwner)
    #expect(try semaphore.acquireIfAvailable() == nil)
    go.set()
    #expect(try await child.join() == .exited(0))
    #expect(semaphore.value == 1)
  }

  @Test func aPermitThatWasHandedOnComesBackFromAKilledReceiver() async throws {
    let semaphore = try SharedSemaphore(value: 1)
    let ready = try Event()
    let child = try ChildProcess.start(try await semaphore.acquire(), ready) { permit, ready in
      ready.set()
      while permit.isHeld { pause() }
    }
    try await ready.wait()
    #expect(semaphore.value == 0)
    try child.kill()
    try await semaphore.withPermit {}
  }

  @Test func aPermitComesBackFromAChild() async throws {
    let semaphore = try SharedSemaphore(value: 1)
    let (ours, theirs) = try Connection.pair()
    let done = try Event()
    let child = try ChildProcess.start(semaphore, theirs, done) { semaphore, theirs, done in
      try theirs.send(semaphore.acquire())
      // Until it has arrived it is this process's.
      try done.wait()
    }
    let permit = try await ours.receive(Permit.self)
    done.set()
    #expect(try await child.join() == .exited(0))
    #expect(permit.isHeld && permit.semaphore.value == 0)
    #expect(
      await asyncCode { _ = try await semaphore.acquire(timeout: .milliseconds(250)) } == .timedOut)
    try permit.release()
    #expect(semaphore.value == 1)
  }

  @Test func aPermitWhoseSenderDiedIsAnErrorToTheReceiver() async throws {
    let semaphore = try SharedSemaphore(value: 1)
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(semaphore, theirs) { semaphore, theirs in
      try theirs.send(semaphore.acquire())
    }
    #expect(try await child.join() == .exited(0))
    // A waiter frees it before it was received.
    let permit = try await semaphore.acquire()
    let pid = child.pid
    let error = await #expect(throws: IPCError.self) { _ = try await ours.receive(Permit.self) }
    #expect(error?.code == .ownerDied)
    #expect(error?.context.contains("process \(pid),") == true, "\(String(describing: error))")
    #expect(permit.isHeld)
  }

  @Test func aPermitTravelsOnceAndStaysWhereItsMessageFails() throws {
    let semaphore = try SharedSemaphore(value: 1)
    let permit = try semaphore.acquire()
    let (ours, theirs) = try Connection.pair()
    #expect(errorCode { try ours.send([permit, permit]) } == .notTransferable)
    #expect(permit.isHeld)
    theirs.close()
    #expect(errorCode { try ours.send(permit) } != nil)
    #expect(permit.isHeld)
    try permit.release()
    let (here, there) = try Connection.pair()
    #expect(errorCode { try here.send(permit) } == .notOwner)
    // Within one process it moves from one object to another.
    let next = try semaphore.acquire()
    try here.send(next)
    let moved = try there.receive(Permit.self)
    #expect(!next.isHeld && moved.isHeld)
    try moved.release()
    #expect(semaphore.value == 1)
  }

  @Test func aForkedChildHoldsNothing() throws {
    let semaphore = try SharedSemaphore(value: 1)
    let permit = try semaphore.acquire()
    let memory = try unsafe payload(of: semaphore).assumingMemoryBound(to: cipc_semaphore_t.self)
    // In C, since a process with threads cannot be forked into Swift.
    #expect(test_wait(unsafe test_fork_release(memory, 1, 0)) == 1)
    #expect(permit.isHeld && semaphore.value == 0)
  }

  // MARK: Unowned

  @Test func signalsGoFromOneProcessToAnother() async throws {
    let asked = try SharedSemaphore.Unowned(value: 0)
    let answered = try SharedSemaphore.Unowned(value: 0, bound: 3)
    #expect(asked.bound == Int(Int32.max) && answered.bound == 3)
    let child = try ChildProcess.start(asked, answered) { asked, answered in
      for _ in 0..<3 {
        try asked.acquire()
        try answered.release()
      }
    }
    #expect(!answered.acquireIfAvailable())
    try asked.release(2)
    try await answered.acquire()
    try asked.release()
    try await answered.acquire(timeout: patience)
    try await answered.acquire(timeout: patience)
    #expect(try await child.join() == .exited(0))
    #expect(asked.value == 0 && answered.value == 0)
  }

  @Test func noMoreSignalsThanTheBound() throws {
    let semaphore = try SharedSemaphore.Unowned(value: 1, bound: 3)
    #expect(errorCode { try semaphore.release(3) } == .capacityExceeded)
    #expect(errorCode { try semaphore.release(.max) } == .capacityExceeded)
    #expect(errorCode { try semaphore.release(-1) } == .invalidArgument)
    #expect(semaphore.value == 1)
    try semaphore.release(0)
    try semaphore.release(2)
    #expect(errorCode { try semaphore.release() } == .capacityExceeded)
    for left in [2, 1, 0] {
      #expect(semaphore.acquireIfAvailable())
      #expect(semaphore.value == left)
    }
    #expect(!semaphore.acquireIfAvailable())
    for numbers in [(-1, 3), (0, 0), (0, -1), (0, .max)] {
      #expect(
        errorCode { _ = try SharedSemaphore.Unowned(value: numbers.0, bound: numbers.1) }
          == .invalidArgument)
    }
    #expect(errorCode { _ = try SharedSemaphore.Unowned(value: 4, bound: 3) } == .capacityExceeded)
  }

  @Test func waitsForSignalsEnd() throws {
    let semaphore = try transfer(SharedSemaphore.Unowned(value: 0))
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20)] {
      let start = SuspendingClock.now
      #expect(errorCode { try semaphore.acquire(timeout: timeout) } == .timedOut)
      #expect(SuspendingClock.now - start >= timeout)
    }
    #expect(errorCode { try semaphore.acquire(timeout: .zero) } == .timedOut)
    try semaphore.release(2)
    try semaphore.acquire(timeout: .seconds(-1))
    try semaphore.acquire()
  }

  @Test func waitsForSignalsWithoutBlockingEnd() async throws {
    let semaphore = try SharedSemaphore.Unowned(value: 0)
    #expect(await asyncCode { try await semaphore.acquire(timeout: .milliseconds(5)) } == .timedOut)
    #expect(await asyncCode { try await semaphore.acquire(timeout: .zero) } == .timedOut)
    for round in 0..<40 {
      let waiting = Task { try await semaphore.acquire() }
      for _ in 0..<round { await Task.yield() }
      waiting.cancel()
      #expect(await asyncCode { try await waiting.value } == .cancelled)
    }
    let many = (0..<20).map { _ in Task { try await semaphore.acquire() } }
    try semaphore.release(20)
    for one in many { try await one.value }
    #expect(semaphore.value == 0)
  }

  @Test func permitsTakenByAKilledProcessAreGone() async throws {
    let semaphore = try SharedSemaphore.Unowned(value: 2)
    let child = try ChildProcess.start(semaphore) { semaphore in
      try semaphore.acquire()
      raise(SIGKILL)
    }
    #expect(try await child.join() == .signalled(SIGKILL))
    #expect(semaphore.value == 1)
  }
}
