// SPDX-License-Identifier: Apache-2.0
import CIPC
import CTestSupport
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

@Suite struct BarrierTests {
  struct Mine: Error, Equatable {}

  private func awaitWaiting(_ barrier: Barrier, _ count: Int) throws {
    try lookUntil { barrier.waitingCount == count }
  }

  private func awaitWaiting(_ barrier: Barrier, _ count: Int) async throws {
    try await waitUntil { barrier.waitingCount == count }
  }

  private func code(_ body: () async throws -> Void) async -> IPCError.Code? {
    do { try await body() } catch { return (error as? IPCError)?.code }
    return nil
  }

  /// A thread that waits once and stays until it is joined, since its end would break the barrier.
  private func startWaiting(
    _ barrier: Barrier, timeout: Duration = patience
  ) -> InThread<IPCError.Code?> {
    InThread {
      let code = errorCode { try barrier.wait(timeout: timeout) }
      try barrier.leave()
      return code
    }
  }

  private func startWaiting(_ barrier: Barrier, _ count: Int) throws -> [InThread<IPCError.Code?>] {
    let threads = (0..<count).map { _ in startWaiting(barrier) }
    try awaitWaiting(barrier, count)
    return threads
  }

  @Test func onePartyGoesThrough() async throws {
    let barrier = try Barrier(parties: 1)
    #expect(barrier.parties == 1 && barrier.waitingCount == 0 && !barrier.isBroken)
    #expect(try startWaiting(barrier).join() == nil)
    #expect(try await barrier.wait() == 0)
    #expect(try await barrier.wait(timeout: .zero) == 0)
    var ran = 0
    #expect(try await barrier.wait { ran += 1 } == 0)
    #expect(ran == 1)
    #expect(errorCode { _ = try Barrier(parties: 0) } == .invalidArgument)
    #expect(errorCode { _ = try Barrier(parties: -1) } == .invalidArgument)
  }

  @Test func aThousandRoundsOfThreads() throws {
    let barrier = try Barrier(parties: 4)
    let count = try SharedAtomic(0)
    let threads = (0..<4).map { _ in
      InThread {
        var first = 0
        for round in 0..<1000 {
          // No party is in a round before all have been in the round before.
          if count.add(1).oldValue / 4 != round { throw Mine() }
          if try barrier.wait() == 0 { first += 1 }
        }
        try barrier.leave()
        return first
      }
    }
    // Exactly one of them was the first in each round.
    #expect(try threads.map { try $0.join() }.reduce(0, +) == 1000)
    #expect(!barrier.isBroken)
  }

  @Test func aThousandRoundsOfProcesses() async throws {
    let barrier = try Barrier(parties: 3)
    let count = try SharedAtomic(0)
    let children = try (0..<2).map { _ in
      try ChildProcess.start(barrier, count) { barrier, count in
        var indices = 0
        for _ in 0..<1000 {
          count.add(1)
          indices += try barrier.wait()
        }
        return indices
      }
    }
    var indices = 0
    for round in 1...1000 {
      count.add(1)
      indices += try await barrier.wait()
      #expect(count.load() >= 3 * round)
    }
    for child in children { indices += try await child.value }
    #expect(indices == 3000)
  }

  @Test func oneOfThemActsBeforeTheyGoOn() throws {
    let barrier = try Barrier(parties: 3)
    let acted = try SharedAtomic(0)
    let threads = (0..<3).map { _ in
      InThread {
        for round in 1...200 {
          try barrier.wait { acted.add(1) }
          if acted.load() != round { throw Mine() }
          try barrier.wait()
        }
        try barrier.leave()
      }
    }
    for thread in threads { try thread.join() }
    #expect(acted.load() == 200)
  }

  @Test func anActionThatThrowsBreaksTheBarrier() async throws {
    let barrier = try Barrier(parties: 3)
    let threads = try startWaiting(barrier, 2)
    await #expect(throws: Mine()) { try await barrier.wait { throw Mine() } }
    for thread in threads { #expect(try thread.join() == .broken) }
    #expect(barrier.isBroken)
    try barrier.reset()
    let thread = startWaiting(barrier)
    try await awaitWaiting(barrier, 1)
    let other = startWaiting(barrier)
    try await awaitWaiting(barrier, 2)
    #expect(
      try InThread { try? barrier.wait(timeout: patience) { throw Mine() } }.join() == nil)
    #expect(try thread.join() == .broken)
    #expect(try other.join() == .broken)
  }

  @Test func abortBreaksIt() async throws {
    let barrier = try Barrier(parties: 4)
    let threads = try startWaiting(barrier, 2)
    let task = Task { await code { try await barrier.wait() } }
    try await awaitWaiting(barrier, 3)
    try barrier.abort()
    for thread in threads { #expect(try thread.join() == .broken) }
    #expect(await task.value == .broken)
    #expect(barrier.isBroken && barrier.waitingCount == 0)
    #expect(await code { try await barrier.wait() } == .broken)
    #expect(try startWaiting(barrier).join() == .broken)
  }

  @Test func resetSendsWaitersAway() throws {
    let barrier = try Barrier(parties: 3)
    for _ in 0..<3 {
      let threads = try startWaiting(barrier, 2)
      try barrier.reset()
      for thread in threads { #expect(try thread.join() == .broken) }
      #expect(!barrier.isBroken && barrier.waitingCount == 0)
    }
    let threads = (0..<3).map { _ in startWaiting(barrier) }
    for thread in threads { #expect(try thread.join() == nil) }
  }

  @Test func itIsWholeAgainAfterAbortAndReset() throws {
    let barrier = try Barrier(parties: 3)
    for _ in 0..<3 {
      let threads = try startWaiting(barrier, 2)
      try barrier.abort()
      for thread in threads { #expect(try thread.join() == .broken) }
      try barrier.reset()
      #expect(!barrier.isBroken)
      let others = (0..<3).map { _ in startWaiting(barrier) }
      for thread in others { #expect(try thread.join() == nil) }
    }
  }

  @Test func aTimeoutBreaksItAndIsToldApart() async throws {
    let barrier = try Barrier(parties: 3)
    let threads = try startWaiting(barrier, 1)
    let clock = SuspendingClock()
    let start = clock.now
    #expect(try startWaiting(barrier, timeout: .milliseconds(20)).join() == .timedOut)
    #expect(clock.now - start >= .milliseconds(20))
    #expect(try threads[0].join() == .broken)
    #expect(barrier.isBroken)
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(5)] {
      try barrier.reset()
      #expect(await code { try await barrier.wait(timeout: timeout) } == .timedOut)
      #expect(barrier.isBroken)
      try barrier.reset()
      #expect(try startWaiting(barrier, timeout: timeout).join() == .timedOut)
      #expect(barrier.isBroken)
    }
    try barrier.reset()
    #expect(await code { try await barrier.wait(timeout: .zero) } == .timedOut)
    #expect(await code { try await barrier.wait(timeout: .seconds(1)) } == .broken)
  }

  @Test func theDeathOfAPartyBreaksIt() async throws {
    let barrier = try Barrier(parties: 3)
    let victim = try ChildProcess.start(barrier) { barrier in try barrier.wait() }
    let thread = startWaiting(barrier)
    try await awaitWaiting(barrier, 2)
    try victim.kill()
    try await victim.join()
    #expect(try thread.join() == .broken)
    #expect(await code { try await barrier.wait() } == .broken)
  }

  @Test func aReceiverThatDiesBreaksTheBarrier() async throws {
    let barrier = try Barrier(parties: 2)
    let (ours, theirs) = try Connection.pair()
    // It never arrives.
    let victim = try ChildProcess.start(barrier, theirs) { barrier, connection in
      try connection.send(barrier.parties)
      _ = try connection.receiveBytes()
      _ = barrier.isBroken
    }
    #expect(try await ours.receive(Int.self) == 2)
    let task = Task { await code { try await barrier.wait() } }
    try await awaitWaiting(barrier, 1)
    try victim.kill()
    try await victim.join()
    #expect(await task.value == .broken)
  }

  @Test func aProcessWithoutTheBarrierIsNoParty() async throws {
    let barrier = try Barrier(parties: 2)
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs) { connection in
      do { try connection.send(connection.receive(Barrier.self).parties) }
      _ = try connection.receiveBytes()
    }
    try await ours.send(barrier)
    #expect(try await ours.receive(Int.self) == 2)
    try child.kill()
    try await child.join()
    let thread = startWaiting(barrier)
    try await awaitWaiting(barrier, 1)
    #expect(try await barrier.wait() == 1)
    #expect(try thread.join() == nil)
  }

  @Test func aPartyThatHasLeftMayEnd() async throws {
    let barrier = try Barrier(parties: 2)
    for _ in 0..<3 {
      let child = try ChildProcess.start(barrier) { barrier in
        try barrier.wait()
        try barrier.leave()
      }
      try await barrier.wait()
      try await child.value
      #expect(!barrier.isBroken)
    }
    let child = try ChildProcess.start(barrier) { barrier in _ = try barrier.wait() }
    try await barrier.wait()
    try await child.value
    #expect(await code { try await barrier.wait() } == .broken)
  }

  @Test func aThreadThatEndsBreaksIt() throws {
    let barrier = try Barrier(parties: 2)
    let ended = InThread { _ = try barrier.wait() }
    let thread = InThread {
      try barrier.wait()
      return errorCode { try barrier.wait() }
    }
    try ended.join()
    #expect(try thread.join() == .broken)
  }

  @Test func tasksArePartiesToo() async throws {
    let barrier = try Barrier(parties: 40)
    let count = try SharedAtomic(0)
    try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<40 {
        group.addTask {
          for round in 1...20 {
            count.add(1)
            try await barrier.wait()
            if count.load() < 40 * round { throw Mine() }
          }
          return try await barrier.wait()
        }
      }
      var indices: Set<Int> = []
      for try await index in group { indices.insert(index) }
      #expect(indices == Set(0..<40))
    }
  }

  @Test func aCancelledTaskBreaksIt() async throws {
    let barrier = try Barrier(parties: 3)
    let thread = startWaiting(barrier)
    let task = Task { await code { try await barrier.wait() } }
    try await awaitWaiting(barrier, 2)
    task.cancel()
    #expect(await task.value == .cancelled)
    #expect(try thread.join() == .broken)
    #expect(barrier.isBroken)
    // Before it arrives, too: the others count on it.
    try barrier.reset()
    let late = Task {
      while !Task.isCancelled { await Task.yield() }
      return await code { try await barrier.wait { Issue.record("ran") } }
    }
    late.cancel()
    #expect(await late.value == .cancelled)
    #expect(barrier.isBroken)
  }

  @Test func noPartyWaitsForTheActionOfABrokenBarrier() async throws {
    let barrier = try Barrier(parties: 2)
    let (entered, released) = (try SharedAtomic(0), try SharedAtomic(0))
    let thread = startWaiting(barrier)
    try await awaitWaiting(barrier, 1)
    let actor = InThread {
      errorCode {
        try barrier.wait {
          entered.store(1)
          while released.load() == 0 { sched_yield() }
        }
      }
    }
    while entered.load() == 0 { sched_yield() }
    try barrier.abort()
    #expect(try thread.join() == .broken)
    released.store(1)
    #expect(try actor.join() == .broken)
  }

  @Test func aBarrierTravelsInMessagesAlone() throws {
    let barrier = try Barrier(parties: 3)
    #expect(errorCode { try barrier.encode(to: IndexEncoder(userInfo: [:])) } == .notTransferable)
    #expect(errorCode { _ = try Barrier(from: IndexDecoder(userInfo: [:])) } == .notTransferable)
    #expect(try transfer(barrier).parties == 3)
    #expect(
      errorCode {
        _ = try receive(Lock.self, descriptor: duplicate(descriptor(of: barrier)))
      } == .segmentMismatch)
  }

  @Test func aBarrierIsFoundByItsName() async throws {
    let name = "swift-ipc-barrier-\(getpid())"
    let barrier = try Barrier(parties: 2, named: name, .create)
    defer { try? barrier.unlink() }
    #expect(barrier.wasCreated)
    #expect(errorCode { _ = try Barrier(parties: 3, named: name) } == .segmentMismatch)
    let found = try Barrier(parties: 2, named: name)
    let thread = startWaiting(found)
    #expect(try await barrier.wait() >= 0)
    #expect(try thread.join() == nil)
  }
}
