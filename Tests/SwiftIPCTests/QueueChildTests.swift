// SPDX-License-Identifier: Apache-2.0
import CIPC
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// Queues between processes, some of which are killed.
@Suite struct QueueChildTests {
  private func asyncCode(_ body: () async throws -> Void) async -> IPCError.Code? {
    do { try await body() } catch { return (error as? IPCError)?.code }
    return nil
  }

  // MARK: Travelling

  @Test(arguments: ChildWork.methods) func aQueueTravelsInsideAnything(
    _ method: StartMethod
  ) async throws {
    // In a child with one thread, since one method is fork.
    let parent = try ChildProcess.start(Ordinal(of: method)) { ordinal in
      let requests = try Queue<Int>(capacity: .elements(2))
      let answers = try Queue<MessageValue>(delivery: .tracked)
      let options = ChildProcessOptions(method: ordinal.method)
      let child = try ChildProcess.start(["a": requests], [answers, nil], options: options) {
        requests, answers in
        while let number = try requests["a"]?.next() {
          try answers[0]?.put([.integer(number * 2), nil, "hello"])
        }
        return requests["a"]?.capacity == .elements(2) ? answers[0] : nil
      }
      for number in 0..<10 { try requests.put(number) }
      requests.finish()
      // And back again, as the value.
      let back = try child.value(timeout: nil)
      var sum = 0
      for _ in 0..<10 {
        guard case .integer(let number)? = try back?.get()[0] else { return -1 }
        sum += Int(number)
        try back?.taskDone()
      }
      try answers.join(timeout: .zero)
      return sum
    }
    #expect(try await parent.value == 90)
  }

  @Test func aQueueTravelsToAProcessThatRuns() async throws {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs, options: .init(method: .forkServer)) { connection in
      let queue = try connection.receive(Queue<String>.self)
      try queue.put("over a connection")
      try connection.send(queue)
    }
    let queue = try Queue<String>()
    try await ours.send(queue)
    #expect(try await queue.get() == "over a connection")
    let back = try await ours.receive(Queue<String>.self)
    try await back.put("and back")
    #expect(try await queue.get() == "and back")
    #expect(try await child.join() == .exited(0))
  }

  @Test(.enabled(if: ChildWork.canFork)) func aForkedChildHasWhatItsParentHad() async throws {
    let parent = try ChildProcess.start {
      let queue = try Queue<Int>(whenAlone: .fail)
      let child = try ChildProcess.start(options: .init(method: .fork)) {
        try queue.put(5)
        while true { pause() }
      }
      let number = try queue.get()
      // Longer than a look at the participants takes.
      let inBetween = errorCode { _ = try queue.get(timeout: .milliseconds(500)) }
      try child.kill()
      let code = errorCode { _ = try queue.get() }
      return "\(number) \(inBetween?.rawValue ?? "-") \(code?.rawValue ?? "-")"
    }
    #expect(try await parent.value == "5 timedOut peersGone")
  }

  // MARK: Many

  /// What CPython's documentation warns of: there the child never ends.
  @Test func aChildThatPutsAMillionCharactersIsJoinedBeforeAnyoneReads() async throws {
    let queue = try Queue<String>()
    let child = try ChildProcess.start(queue) { queue in
      try queue.put(String(repeating: "X", count: 1_000_000))
      for _ in 0..<1000 { try queue.put(String(repeating: "Y", count: 1000)) }
    }
    #expect(try await child.join() == .exited(0))
    #expect(queue.count == 1001)
    #expect(try await queue.get() == String(repeating: "X", count: 1_000_000))
    for _ in 0..<1000 { #expect(try await queue.get().count == 1000) }
    #expect(queue.isEmpty)
  }

  @Test(arguments: [QueueCapacity.standard, .elements(3)])
  func eachProducersElementsComeInOrderAndOnce(_ capacity: QueueCapacity) async throws {
    let queue = try Queue<[Int32]>(capacity: capacity)
    let results = try Queue<[Int32]>()
    let options = ChildProcessOptions(method: .forkServer)
    let producers = try (0..<3).map { producer in
      try ChildProcess.start(queue, Int32(producer), options: options) { queue, producer in
        for number in 0..<500 { try queue.put([producer, Int32(number)]) }
      }
    }
    let consumers = try (0..<2).map { _ in
      try ChildProcess.start(queue, results, options: options) { queue, results in
        var last: [Int32: Int32] = [:]
        while let element = try queue.next() {
          // Of each producer, each consumer sees them in order.
          if let before = last[element[0]], before >= element[1] { exit(3) }
          last[element[0]] = element[1]
          try results.put(element)
        }
      }
    }
    for producer in producers { #expect(try await producer.join() == .exited(0)) }
    queue.finish()
    for consumer in consumers { #expect(try await consumer.join() == .exited(0)) }
    results.finish()
    var seen: [Int32: Set<Int32>] = [:]
    var count = 0
    for try await element in results {
      seen[element[0], default: []].insert(element[1])
      count += 1
    }
    #expect(count == 1500)
    #expect(seen.values.allSatisfy { $0.count == 500 })
  }

  // MARK: Death

  @Test func othersGoOnWhenProducersAndConsumersAreKilled() async throws {
    let queue = try Queue<Int>(capacity: .elements(50), whenAlone: .fail)
    let options = ChildProcessOptions(method: .forkServer)
    // A process that could always do something.
    let keeper = try ChildProcess.start(queue, options: options) { _ in while true { pause() } }
    for round in 0..<6 {
      let ready = try Event()
      let producer = try ChildProcess.start(queue, ready, options: options) { queue, ready in
        for number in 0... {
          try queue.put(number)
          if number == 10 { ready.set() }
        }
      }
      let consumer = try ChildProcess.start(queue, options: options) { queue in
        while true { _ = try queue.get() }
      }
      try await ready.wait()
      for _ in 0..<100 * round { _ = try await queue.get() }
      try producer.kill()
      try consumer.kill()
      _ = try await (producer.join(), consumer.join())
      while try queue.putIfRoom(-1) {}
      while try queue.getIfAvailable() != nil {}
      try await queue.put(-2)
      #expect(try await queue.get() == -2)
    }
    try keeper.kill()
    #expect(await asyncCode { _ = try await queue.get() } == .peersGone)
  }

  @Test func recordsTakenByAKilledWorkerCountAsDone() async throws {
    let queue = try Queue<Int>(delivery: .tracked)
    let ready = try Event()
    try await queue.putMany(0..<3)
    let child = try ChildProcess.start(queue, ready) { queue, ready in
      _ = try queue.getMany(upTo: 2)
      ready.set()
      while true { pause() }
    }
    try await ready.wait()
    #expect(try await queue.get() == 2)
    try queue.taskDone()
    #expect(await asyncCode { try await queue.join(timeout: .milliseconds(300)) } == .timedOut)
    let joining = Task { try await queue.join() }
    let blocked = InThread { try queue.join() }
    try child.kill()
    try await joining.value
    try blocked.join()
    #expect(queue.unfinishedCount == 0)
  }

  @Test func recordsLeasedByAKilledWorkerGoToAnother() async throws {
    let queue = try Queue<String>(delivery: .leased)
    let ready = try Event()
    try await queue.putMany(["a", "b"])
    let child = try ChildProcess.start(queue, ready) { queue, ready in
      let lease = try queue.lease()
      ready.set()
      while true { pause() }
      withExtendedLifetime(lease) {}
    }
    try await ready.wait()
    // A slow one keeps it.
    try child.signal(SIGSTOP)
    let second = try await queue.lease()
    #expect(second.element == "b" && second.deliveries == 1)
    try second.acknowledge()
    #expect(await asyncCode { _ = try await queue.lease(timeout: .milliseconds(500)) } == .timedOut)
    let waiting = Task { try await queue.lease() }
    try child.kill()
    let again = try await waiting.value
    #expect(again.element == "a" && again.deliveries == 2)
    try again.acknowledge()
    try await queue.join()
  }

  @Test func anEndingChildGivesBackItsLeases() async throws {
    let queue = try Queue<Int>(delivery: .leased)
    try await queue.putMany(0..<4)
    let child = try ChildProcess.start(queue) { queue in
      try queue.lease().acknowledge()
      let kept = try (0..<2).map { _ in try queue.lease() }
      queue.close()
      #expect(errorCode { try kept[0].acknowledge() } != nil)
    }
    #expect(try await child.join() == .exited(0))
    var deliveries: [Int: Int] = [:]
    for _ in 0..<3 {
      let lease = try await queue.lease()
      deliveries[lease.element] = lease.deliveries
      try lease.acknowledge()
    }
    #expect(deliveries == [1: 2, 2: 2, 3: 1])
  }

  // MARK: No participant left

  enum Leaving: String, CaseIterable, Codable { case closes, ends, isKilled }

  @Test(arguments: Leaving.allCases) func waitersAreToldThatAllOthersAreGone(
    _ leaving: Leaving
  ) async throws {
    let empty = try Queue<Int>(whenAlone: .fail)
    let full = try Queue<Int>(capacity: .elements(1), whenAlone: .fail)
    let undone = try Queue<Int>(delivery: .tracked, whenAlone: .fail)
    try await full.put(1)
    try await undone.put(1)
    let (ready, go) = (try Event(), try Event())
    let child = try ChildProcess.start(empty, full, undone, ready, go, leaving) {
      empty, full, undone, ready, go, leaving in
      ready.set()
      try go.wait()
      if leaving == .ends { return }
      if leaving == .isKilled { kill(getpid(), SIGKILL) }
      empty.close()
      full.close()
      undone.close()
      while true { pause() }
    }
    try await ready.wait()
    // While it is there, it could do something.
    #expect(errorCode { _ = try empty.getIfAvailable() } == nil)
    let blocked = [
      InThread { errorCode { _ = try empty.get() } }, InThread { errorCode { try full.put(2) } },
      InThread { errorCode { try undone.join() } },
    ]
    let tasks = [
      Task { _ = try await empty.get() }, Task { try await full.put(2) },
      Task { try await undone.join() },
      Task { for try await _ in empty {} },
    ]
    for _ in 0..<10 { await Task.yield() }
    go.set()
    for thread in blocked { #expect(try thread.join() == .peersGone) }
    for task in tasks { #expect(await asyncCode { try await task.value } == .peersGone) }
    #expect(try await full.get() == 1)
    let ready2 = try await firstReady(empty)
    #expect(ready2 == [0])
    if leaving == .closes { try child.kill() }
    _ = try await child.join()
  }

  @Test func aParentReplacesItsOnlyWorker() async throws {
    let (jobs, results) = (try Queue<Int>(delivery: .leased), try Queue<Int>())
    func startWorker() throws -> ChildProcess<Void> {
      try ChildProcess.start(jobs, results) { jobs, results in
        while true {
          let lease = try jobs.lease()
          if lease.deliveries == 1 { kill(getpid(), SIGKILL) }
          try results.put(lease.element * 2)
          try lease.acknowledge()
        }
      }
    }
    try await jobs.put(21)
    let first = try startWorker()
    let blocked = InThread { try results.get() }
    let suspended = Task { try await results.get() }
    let iterating = Task {
      for try await result in results { return result }
      return -1
    }
    let joining = Task { try await jobs.join() }
    #expect(try await first.join() == .signalled(SIGKILL))
    // Longer than it takes to see that no participant is left.
    #expect(await asyncCode { _ = try await results.get(timeout: .milliseconds(500)) } == .timedOut)
    #expect(try await firstReady(results, timeout: .milliseconds(300)) == [])
    // A child that another test has forked off this process has the queue, too, until it ends.
    try await waitUntil { results.isAlone }
    let second = try startWorker()
    try await joining.value
    try await results.putMany([42, 42])
    #expect(try blocked.join() == 42)
    #expect(try await suspended.value == 42)
    #expect(try await iterating.value == 42)
    try second.kill()
    _ = try await second.join()
  }

  @Test func anotherThreadHereMayBeAboutToPut() async throws {
    let queue = try Queue<Int>(capacity: .elements(1))
    try await ChildProcess.start(queue) { try $0.put(1) }.join()
    let putting = InThread { try queue.put(2) }
    #expect(await asyncCode { try await queue.put(3, timeout: .milliseconds(500)) } == .timedOut)
    #expect(try await queue.get() == 1)
    try putting.join()
    #expect(try await queue.get() == 2)
    let getting = InThread { try queue.get() }
    #expect(await asyncCode { _ = try await queue.get(timeout: .milliseconds(500)) } == .timedOut)
    try await queue.put(4)
    #expect(try getting.join() == 4)
  }

  @Test func aServerOnANamedQueueOutlivesItsClients() async throws {
    let name = "swift-ipc-lone-server-\(getpid())"
    let requests = try Queue<Int>(named: name)
    defer { try? SharedMemory.removeName(name) }
    let answers = try Queue<Int>()
    // A server that found the queue, and only takes from it.
    let server = try ChildProcess.start(name, answers) { name, answers in
      let requests = try Queue<Int>(named: name, .open)
      while let number = try requests.next() { try answers.put(number * 2) }
    }
    for number in 1...2 {
      let client = try ChildProcess.start(name, number) { name, number in
        try Queue<Int>(named: name, .open).put(number)
      }
      #expect(try await client.join() == .exited(0))
      #expect(try await answers.get() == number * 2)
      // No other process has it now, for longer than it takes to see that.
      requests.close()
      #expect(
        await asyncCode { _ = try await answers.get(timeout: .milliseconds(500)) } == .timedOut)
    }
    try Queue<Int>(named: name, .open).finish()
    #expect(try await server.join() == .exited(0))
  }

  @Test(arguments: StartMethodTests.fromHere) func aWorkerWhoseParentWasKilledIsTold(
    _ method: StartMethod
  ) async throws {
    let report = try Queue<String>()
    let parent = try ChildProcess.start(report, Ordinal(of: method)) { report, ordinal in
      let (jobs, full) = (try Queue<Int>(), try Queue<Int>(capacity: .elements(1)))
      let options = ChildProcessOptions(method: ordinal.method)
      try full.put(1)
      let workers = [
        try ChildProcess.start(jobs, report, options: options) { jobs, report in
          try report.put("\(jobs.get())")
          try report.put("\(errorCode { _ = try jobs.get() }?.rawValue ?? "-")")
        },
        try ChildProcess.start(full, report, options: options) { full, report in
          try report.put("0")
          try report.put("\(errorCode { try full.put(2) }?.rawValue ?? "-")")
        },
      ]
      try jobs.put(0)
      while true { pause() }
      withExtendedLifetime(workers) {}
    }
    #expect(try await report.get() == "0")
    #expect(try await report.get() == "0")
    try parent.kill()
    _ = try await parent.join()
    #expect(try await report.get() == "peersGone")
    #expect(try await report.get() == "peersGone")
  }

  @Test func withoutWaitingAnEmptyQueueIsEmpty() async throws {
    let empty = try Queue<Int>(whenAlone: .fail)
    let full = try Queue<Int>(capacity: .elements(1), whenAlone: .fail)
    let undone = try Queue<Int>(delivery: .tracked, whenAlone: .fail)
    try await full.put(1)
    try await undone.put(1)
    try await ChildProcess.start(empty, full, undone) { _, _, _ in }.join()
    // A process that another test is just starting may have copies of descriptors for a moment.
    while !(empty.isAlone && full.isAlone && undone.isAlone) { await Task.yield() }
    // For longer than two looks at the participants take.
    let end = SuspendingClock.now + .milliseconds(500)
    while SuspendingClock.now < end {
      #expect(try empty.getIfAvailable() == nil)
      #expect(try !full.putIfRoom(2))
      #expect(await asyncCode { _ = try await empty.get(timeout: .zero) } == .timedOut)
      #expect(errorCode { _ = try empty.get(timeout: .zero) } == .timedOut)
      #expect(await asyncCode { try await full.put(2, timeout: .zero) } == .timedOut)
      #expect(errorCode { try full.put(2, timeout: .zero) } == .timedOut)
      #expect(await asyncCode { try await undone.join(timeout: .zero) } == .timedOut)
      #expect(errorCode { try undone.join(timeout: .zero) } == .timedOut)
    }
    #expect(try await firstReady(empty) == [0])
    #expect(await asyncCode { _ = try await empty.get() } == .peersGone)
  }

  @Test func whatToDoWhenAloneTravelsAlong() async throws {
    let queue = try Queue<Int>(whenAlone: .fail)
    #expect(queue.whenAlone == .fail)
    let child = try ChildProcess.start(queue) { queue in
      defer { queue.whenAlone = .wait }
      return [queue.whenAlone.rawValue]
    }
    #expect(try await child.value == [QueueWhenAlone.fail.rawValue])
    #expect(queue.whenAlone == .fail)
    queue.whenAlone = .standard
    #expect(await asyncCode { _ = try await queue.get(timeout: .milliseconds(500)) } == .timedOut)
  }

  /// An argument that is decoded before the queue that comes behind it: not before it may.
  struct Gate: Codable, Sendable {
    var reached: Event
    var isOpen: Event

    init() throws { (reached, isOpen) = (try Event(), try Event()) }

    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: CodingKeys.self)
      reached = try container.decode(Event.self, forKey: .reached)
      isOpen = try container.decode(Event.self, forKey: .isOpen)
      reached.set()
      try isOpen.wait()
    }
  }

  @Test(arguments: StartMethodTests.fromHere) func aChildIsWaitedForUntilItHasOpenedItsQueue(
    _ method: StartMethod
  ) async throws {
    let queue = try Queue<Int>(whenAlone: .fail)
    // A process that was there and went.
    try await ChildProcess.start(queue) { $0.close() }.join()
    let gate = try Gate()
    let child = try ChildProcess.start(gate, queue, options: .init(method: method)) { _, queue in
      try queue.put(5)
    }
    try await gate.reached.wait()
    #expect(await asyncCode { _ = try await queue.get(timeout: .milliseconds(600)) } == .timedOut)
    gate.isOpen.set()
    #expect(try await queue.get() == 5)
    #expect(await asyncCode { _ = try await queue.get() } == .peersGone)
    _ = try await child.join()
  }

  @Test(arguments: StartMethodTests.fromHere) func aChildThatIsKilledBeforeItOpensItsQueueIsGone(
    _ method: StartMethod
  ) async throws {
    let queue = try Queue<Int>(whenAlone: .fail)
    let gate = try Gate()
    let child = try ChildProcess.start(gate, queue, options: .init(method: method)) { _, queue in
      try queue.put(5)
    }
    try await gate.reached.wait()
    let blocked = InThread { errorCode { _ = try queue.get() } }
    let suspended = Task { try await queue.get() }
    #expect(await asyncCode { _ = try await queue.get(timeout: .milliseconds(300)) } == .timedOut)
    try child.kill()
    #expect(try blocked.join() == .peersGone)
    #expect(await asyncCode { _ = try await suspended.value } == .peersGone)
    _ = try await child.join()
  }

  @Test func anUnreadHandleCountsAsAParticipantToCome() async throws {
    let queue = try Queue<Int>(whenAlone: .fail)
    let (ours, theirs) = try Connection.pair()
    try await ours.send(queue)
    #expect(await asyncCode { _ = try await queue.get(timeout: .milliseconds(600)) } == .timedOut)
    let blocked = InThread { errorCode { _ = try queue.get() } }
    let suspended = Task { try await queue.get() }
    await Task.yield()
    // It will not be read any more.
    theirs.close()
    #expect(try blocked.join() == .peersGone)
    #expect(await asyncCode { _ = try await suspended.value } == .peersGone)
  }

  @Test func aHandleOnItsWayOutlivesItsSender() async throws {
    let (ours, theirs) = try Connection.pair()
    let (queue, second) = (try Queue<Int>(whenAlone: .fail), try Queue<Int>(whenAlone: .fail))
    let child = try ChildProcess.start(theirs) { connection in
      let queue = try connection.receive(Queue<Int>.self)
      let second = try connection.receive([Queue<Int>].self)[0]
      try queue.put(1)
      try second.put(2)
      _ = try connection.receiveBytes()
    }
    try await ours.send(queue)
    try await ours.send([second, queue])
    #expect(try await queue.get() == 1)
    #expect(try await second.get() == 2)
    // The other end of the pipe that went along is closed: that was settled before.
    #expect(await asyncCode { _ = try await queue.get(timeout: .milliseconds(500)) } == .timedOut)
    try child.kill()
    #expect(await asyncCode { _ = try await queue.get() } == .peersGone)
    #expect(await asyncCode { _ = try await second.get() } == .peersGone)
    _ = try await child.join()
  }

  @Test func whatWasNotSentIsNotWaitedFor() async throws {
    let queue = try Queue<Int>(whenAlone: .fail)
    try await ChildProcess.start(queue) { $0.close() }.join()
    let (ours, theirs) = try Connection.pair()
    theirs.close()
    #expect(await asyncCode { try await ours.send(queue) } == .peerClosed)
    #expect(await asyncCode { try await ours.send(ClosedPart(queue: queue)) } == .invalidArgument)
    #expect(await asyncCode { _ = try await queue.get() } == .peersGone)
  }

  /// Fails when the queue in it is encoded.
  private struct ClosedPart: Encodable {
    var queue: Queue<Int>
    func encode(to encoder: any Encoder) throws {
      try queue.encode(to: encoder)
      throw IPCError(.invalidArgument)
    }
  }

  @Test func offersLeaveNoDescriptors() async throws {
    let child = try ChildProcess.start(options: .init(method: .forkServer)) {
      let queue = try Queue<Int>()
      let before = ChildWork.openDescriptors()
      for _ in 0..<20 {
        let (ours, theirs) = try Connection.pair()
        try ours.send([queue, queue])
        let received = try theirs.receive([Queue<Int>].self)
        try received[1].put(1)
        guard try queue.get() == 1 else { return false }
      }
      // The next look finds that the other ends are closed.
      _ = try? queue.get(timeout: .milliseconds(500))
      return ChildWork.openDescriptors() == before
    }
    #expect(try await child.value)
  }

  // MARK: Readiness

  @Test func theFirstThatIsReady() async throws {
    let (first, second) = (try Queue<Int>(), try Queue<String>(delivery: .leased))
    #expect(try await firstReady(first, second, timeout: .milliseconds(300)) == [])
    let waiting = Task { try await firstReady(first, second) }
    await Task.yield()
    try await second.put("a")
    #expect(try await waiting.value == [1])
    try await first.put(1)
    #expect(try await firstReady(first, second) == [0, 1])
    #expect(try await second.get() == "a")
    #expect(try await firstReady(first, second, timeout: .zero) == [0])
    #expect(try await first.get() == 1)
    let child = try ChildProcess.start(first) { first in try first.put(7) }
    #expect(try await firstReady(first, second) == [0])
    #expect(try InThread { try firstReady(first, second) }.join() == [0])
    #expect(try await child.join() == .exited(0))
    #expect(try await first.get() == 7)
    second.finish()
    #expect(try await firstReady(second) == [0])
    first.close()
    #expect(try await firstReady(first) == [0])
  }

  @Test func aDescriptorForAnotherLoop() throws {
    let queue = try Queue<Int>()
    let descriptor = try queue.readinessDescriptor()
    defer { close(descriptor) }
    func isReadable(_ milliseconds: Int32) -> Bool {
      var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      return unsafe poll(&entry, 1, milliseconds) == 1
    }
    #expect(isReadable(0))
    #expect(try queue.getIfAvailable() == nil)
    for number in 0..<50 {
      let putting = InThread { try queue.put(number) }
      var taken: Int?
      while taken == nil {
        // At most every 200 ms for nothing.
        #expect(isReadable(10_000))
        taken = try queue.getIfAvailable()
      }
      #expect(taken == number)
      try putting.join()
    }
    #expect(try queue.getIfAvailable() == nil)
    // One at a time, as a level-triggered loop does: it stays readable.
    try queue.putMany(0..<3)
    for number in 0..<3 {
      #expect(isReadable(10_000))
      #expect(try queue.getIfAvailable() == number)
    }
    let again = try queue.readinessDescriptor()
    close(again)
    queue.finish()
    #expect(isReadable(10_000))
    #expect(errorCode { _ = try queue.getIfAvailable() } == .finished)
    #expect(isReadable(0))
  }
}
