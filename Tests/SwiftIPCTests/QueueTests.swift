// SPDX-License-Identifier: Apache-2.0
import CIPC
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// What a queue does in one process: putting, taking, waiting and the end.
@Suite struct QueueTests {
  struct Mine: Error, Equatable {}

  private func asyncCode(_ body: () async throws -> Void) async -> IPCError.Code? {
    do { try await body() } catch { return (error as? IPCError)?.code }
    return nil
  }

  // MARK: Putting and taking

  @Test func elementsComeInTheOrderInWhichTheyWerePut() throws {
    let queue = try Queue<Int>()
    #expect(queue.isEmpty && queue.count == 0 && !queue.isFull)
    for number in 0..<1000 { try queue.put(number) }
    #expect(queue.count == 1000 && queue.unfinishedCount == 1000 && !queue.isEmpty)
    for number in 0..<1000 { #expect(try queue.get() == number) }
    #expect(queue.isEmpty)
    #expect(queue.delivery == .atMostOnce && queue.capacity == .bytes(1 << 30))
  }

  @Test func theSameWithoutBlocking() async throws {
    let queue = try Queue<String>()
    for text in ["a", "", "ü", String(repeating: "x", count: 100_000)] {
      try await queue.put(text)
      #expect(try await queue.get() == text)
      try await queue.put(text, timeout: .zero)
      #expect(try await queue.get(timeout: .zero) == text)
      try await queue.put(text, timeout: .seconds(1))
      #expect(try await queue.get(timeout: .seconds(1)) == text)
    }
  }

  /// More than a small ring takes, so that the queue grows, and is as before when it is drained.
  @Test func manyElementsWaitWithoutAReader() throws {
    let queue = try Queue<[UInt8]>()
    let elements = (0..<300).map { [UInt8](repeating: UInt8($0 % 251), count: 10_000 + $0) }
    for _ in 0..<2 {
      try queue.putMany(elements)
      #expect(queue.count == 300)
      for element in elements { #expect(try queue.get() == element) }
      #expect(queue.isEmpty)
    }
  }

  @Test func severalAtOnce() throws {
    let queue = try Queue<Int>()
    try queue.putMany(0..<5000)
    #expect(try queue.getMany(upTo: 10) == Array(0..<10))
    #expect(try queue.getMany(upTo: 0) == [])
    #expect(try queue.getMany(upTo: 100_000) == Array(10..<5000))
    #expect(errorCode { _ = try queue.getMany(upTo: 1, timeout: .zero) } == .timedOut)
    let wide = try Queue<SIMD8<Double>>()
    try wide.putMany((0..<10).map { SIMD8(repeating: Double($0)) })
    #expect(try wide.getMany(upTo: 10).map { $0[7] } == (0..<10).map { Double($0) })
    #expect(errorCode { _ = try wide.getMany(upTo: 1, timeout: .zero) } == .timedOut)
    let texts = try Queue<MessageValue>()
    try texts.putMany([1, nil, "three"])
    #expect(try texts.getMany(upTo: 2, timeout: .seconds(1)) == [1, nil])
    #expect(try texts.getMany(upTo: 2) == ["three"])
    try texts.putMany([])
    #expect(texts.isEmpty)
  }

  @Test func severalAtOnceWithoutBlocking() async throws {
    let queue = try Queue<Int>()
    try await queue.putMany(0..<5000)
    #expect(try await queue.getMany(upTo: 10) == Array(0..<10))
    #expect(try await queue.getMany(upTo: 100_000, timeout: .zero) == Array(10..<5000))
    #expect(
      await asyncCode { _ = try await queue.getMany(upTo: 1, timeout: .zero) } == .timedOut)
  }

  @Test func asManyAsThereIsRoomFor() async throws {
    let queue = try Queue<Int>(capacity: .elements(3))
    #expect(try await queue.putMany(0..<10, timeout: .zero) == 3)
    #expect(try await queue.putMany(0..<10, timeout: .milliseconds(20)) == 0)
    #expect(try await queue.getMany(upTo: 10) == [0, 1, 2])
    let putting = Task { try await queue.putMany(0..<10) }
    for number in 0..<10 { #expect(try await queue.get() == number) }
    #expect(try await putting.value == 10)
    try InThread {
      let count = try queue.putMany(0..<10, timeout: .milliseconds(20))
      #expect(count == 3)
      queue.finish()
      #expect(errorCode { try queue.putMany([1]) } == .finished)
    }.join()
  }

  @Test func whatCannotBeEncodedEndsTheBatch() throws {
    let queue = try Queue<Awkward>()
    do {
      try queue.putMany([Awkward(isBad: false), Awkward(isBad: true), Awkward(isBad: false)])
      Issue.record("put")
    } catch {
      #expect(error is Mine)
    }
    #expect(queue.count == 1)
  }

  struct Awkward: Codable {
    var isBad: Bool
    init(isBad: Bool) { self.isBad = isBad }
    func encode(to encoder: any Encoder) throws {
      if isBad { throw Mine() }
      var container = encoder.singleValueContainer()
      try container.encode(isBad)
    }
    init(from decoder: any Decoder) throws {
      isBad = try decoder.singleValueContainer().decode(Bool.self)
    }
  }

  // MARK: Full and empty

  @Test(arguments: [QueueDelivery.atMostOnce, .tracked, .leased])
  func aFullQueueAndAnEmptyOne(_ delivery: QueueDelivery) throws {
    let queue = try Queue<String>(capacity: .elements(2), delivery: delivery)
    #expect(queue.capacity == .elements(2) && queue.delivery == delivery)
    #expect(try queue.getIfAvailable() == nil)
    #expect(errorCode { _ = try queue.get(timeout: .milliseconds(20)) } == .timedOut)
    #expect(errorCode { _ = try queue.get(timeout: .zero) } == .timedOut)
    #expect(try queue.putIfRoom("a"))
    #expect(!queue.isFull)
    try queue.put("b", timeout: .zero)
    #expect(queue.isFull && queue.count == 2)
    #expect(try !queue.putIfRoom("c"))
    #expect(errorCode { try queue.put("c", timeout: .milliseconds(20)) } == .timedOut)
    #expect(errorCode { try queue.put("c", timeout: .zero) } == .timedOut)
    #expect(try queue.get() == "a")
    if delivery == .tracked {
      // Being worked on, it takes up its room.
      #expect(queue.isFull && queue.count == 1 && queue.unfinishedCount == 2)
      try queue.taskDone()
    }
    #expect(try queue.putIfRoom("c"))
    #expect(try queue.getIfAvailable() == "b")
    #expect(try queue.get() == "c")
    #expect(queue.isEmpty)
  }

  @Test func bytesAreABound() throws {
    let queue = try Queue<[UInt8]>(capacity: .bytes(1 << 12))
    #expect(queue.capacity == .bytes(1 << 12))
    #expect(queue.maximumElementSize == 4096 - 8)
    try queue.put([UInt8](repeating: 1, count: 4096 - 8))
    #expect(queue.isFull)
    #expect(try !queue.putIfRoom([]))
    _ = try queue.get()
    for _ in 0..<4 { try queue.put([UInt8](repeating: 1, count: 1000)) }
    #expect(try !queue.putIfRoom([UInt8](repeating: 1, count: 1000)))
  }

  @Test func anElementBeyondTheCapacityIsAnErrorAtOnce() async throws {
    let queue = try Queue<[UInt8]>(capacity: .bytes(1 << 12))
    let large = [UInt8](repeating: 1, count: 4096 - 7)
    try InThread {
      #expect(errorCode { try queue.put(large) } == .capacityExceeded)
      #expect(errorCode { _ = try queue.putIfRoom(large) } == .capacityExceeded)
      #expect(errorCode { try queue.putMany([large]) } == .capacityExceeded)
      #expect(errorCode { try queue.put(upTo: 4096) { _ in } } == .capacityExceeded)
    }.join()
    #expect(await asyncCode { try await queue.put(large) } == .capacityExceeded)
    #expect(queue.isEmpty)
  }

  @Test func capacitiesThatCannotBe() throws {
    let impossible: [QueueCapacity] = [
      .bytes(63), .bytes(0), .bytes(-1), .bytes(1 << 34 + 1), .bytes(.max), .elements(0),
      .elements(-1), .elements(1 << 28), .elements(.min),
    ]
    for capacity in impossible {
      #expect(errorCode { _ = try Queue<Int>(capacity: capacity) } == .invalidArgument)
    }
    #expect(try Queue<Int>(capacity: .bytes(64)).putIfRoom(1))
  }

  // MARK: Waiting

  @Test func waitsEnd() throws {
    let queue = try Queue<Int>(capacity: .elements(1))
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20), .milliseconds(250)] {
      let start = SuspendingClock.now
      #expect(errorCode { _ = try queue.get(timeout: timeout) } == .timedOut)
      #expect(SuspendingClock.now - start >= timeout)
    }
    try queue.put(1)
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20), .milliseconds(250)] {
      let start = SuspendingClock.now
      #expect(errorCode { try queue.put(2, timeout: timeout) } == .timedOut)
      #expect(SuspendingClock.now - start >= timeout)
    }
    #expect(try queue.get(timeout: .seconds(-1)) == 1)
  }

  @Test func waitsWithoutBlockingEnd() async throws {
    let queue = try Queue<Int>(capacity: .elements(1))
    for timeout in [Duration.zero, .milliseconds(20)] {
      let start = SuspendingClock.now
      #expect(await asyncCode { _ = try await queue.get(timeout: timeout) } == .timedOut)
      #expect(await asyncCode { _ = try await queue.get(timeout: timeout) } == .timedOut)
      #expect(SuspendingClock.now - start >= timeout)
    }
    try await queue.put(1)
    #expect(await asyncCode { try await queue.put(2, timeout: .milliseconds(20)) } == .timedOut)
    #expect(await asyncCode { try await queue.put(2, timeout: .zero) } == .timedOut)
    #expect(try await queue.get() == 1)
  }

  @Test func waitersAreWoken() async throws {
    let queue = try Queue<Int>(capacity: .elements(1))
    for number in 0..<200 {
      let blocked = InThread { try queue.get() }
      let suspended = Task { try await queue.get() }
      if number % 3 == 0 { await Task.yield() }
      try await queue.put(number)
      try await queue.put(number)
      #expect(try await suspended.value == number)
      #expect(try blocked.join() == number)
    }
    for number in 0..<200 {
      try await queue.put(number)
      let blocked = InThread { try queue.put(number) }
      let suspended = Task { try await queue.put(number) }
      if number % 3 == 0 { await Task.yield() }
      for _ in 0..<3 { #expect(try await queue.get() == number) }
      try await suspended.value
      try blocked.join()
    }
  }

  @Test func aCancelledTaskWaitsNoMore() async throws {
    let queue = try Queue<Int>(capacity: .elements(1))
    for round in 0..<40 {
      let taking = Task { try await queue.get() }
      for _ in 0..<round { await Task.yield() }
      taking.cancel()
      #expect(await asyncCode { _ = try await taking.value } == .cancelled)
    }
    try await queue.put(1)
    for round in 0..<40 {
      let putting = Task { try await queue.put(2) }
      for _ in 0..<round { await Task.yield() }
      putting.cancel()
      #expect(await asyncCode { try await putting.value } == .cancelled)
    }
    let loop = Task { for try await _ in queue {} }
    while !queue.isEmpty { await Task.yield() }
    loop.cancel()
    #expect(await asyncCode { try await loop.value } == .cancelled)
    #expect(queue.isEmpty)
  }

  @Test func aWaitThatIsGivenUpTakesNothingFromOthers() async throws {
    let queue = try Queue<Int>()
    for number in 0..<50 {
      let givenUp = Task { try await queue.get() }
      let patient = Task { try await queue.get() }
      await Task.yield()
      givenUp.cancel()
      try await queue.put(number)
      // Where it came too late, it took the element.
      if case .success = await givenUp.result { try await queue.put(number) }
      #expect(try await patient.value == number)
      #expect(queue.isEmpty)
    }
  }

  /// More tasks than threads of the pool: none of them is blocked.
  @Test func tasksThatWaitBlockNoThread() async throws {
    let queue = try Queue<Int>()
    let sum = try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<100 { group.addTask { try await queue.get() } }
      for number in 0..<100 { try await queue.put(number) }
      return try await group.reduce(0, +)
    }
    #expect(sum == 4950)
  }

  // MARK: The end

  @Test func theEndComesBehindWhatIsThere() async throws {
    let queue = try Queue<Int>()
    try await queue.putMany(0..<3)
    #expect(!queue.isFinished)
    queue.finish()
    queue.finish()
    #expect(queue.isFinished && queue.count == 3)
    #expect(await asyncCode { try await queue.putMany([4]) } == .finished)
    #expect(await asyncCode { try await queue.put(3) } == .finished)
    #expect(errorCode { _ = try queue.putIfRoom(3) } == .finished)
    var taken: [Int] = []
    for try await number in queue { taken.append(number) }
    #expect(taken == [0, 1, 2])
    #expect(await asyncCode { _ = try await queue.get() } == .finished)
    #expect(errorCode { _ = try queue.getIfAvailable() } == .finished)
    #expect(await asyncCode { _ = try await queue.getMany(upTo: 2) } == .finished)
    for try await _ in queue { Issue.record("an element behind the end") }
  }

  @Test func loopsOfSynchronousCodeEnd() throws {
    let queue = try Queue<String>()
    try queue.putMany(["a", "b", "c"])
    queue.finish()
    #expect(try queue.next() == "a")
    let rest = queue.elements
    #expect(Array(rest) == ["b", "c"])
    #expect(rest.error == nil)
    #expect(try queue.next() == nil)
    queue.close()
    let none = queue.elements
    #expect(Array(none) == [])
    #expect((none.error as? IPCError)?.code == .closed)
    #expect(errorCode { _ = try queue.next() } == .closed)
  }

  struct Even: Codable, Sendable, Equatable {
    struct Odd: Error {}
    var number: Int
    /// A type of numbers alone would go through the queue as its bytes.
    var note = ""

    init(_ number: Int) { self.number = number }

    init(from decoder: any Decoder) throws {
      number = try decoder.singleValueContainer().decode(Int.self)
      if number % 2 != 0 { throw Odd() }
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      try container.encode(number)
    }
  }

  @Test(arguments: [QueueDelivery.atMostOnce, .tracked, .leased])
  func resultsGoOnBehindAnElementThatIsNone(_ delivery: QueueDelivery) async throws {
    let queue = try Queue<Even>(delivery: delivery)
    for number in 0..<5 { try await queue.put(Even(number)) }
    queue.finish()
    var found: [Int?] = []
    for try await result in queue.results {
      switch result {
      case .success(let element): found.append(element.number)
      case .failure(let error):
        #expect(error is Even.Odd)
        found.append(nil)
      }
    }
    #expect(found == [0, nil, 2, nil, 4])
    // A loop over the elements ends at the first that is none.
    let other = try Queue<Even>(delivery: delivery)
    for number in 1..<3 { try await other.put(Even(number)) }
    other.finish()
    await #expect(throws: Even.Odd.self) { for try await _ in other {} }
  }

  @Test func theEndWakesWaiters() async throws {
    let queue = try Queue<Int>()
    let blocked = InThread { try queue.next() }
    let suspended = Task { try await queue.get() }
    await Task.yield()
    queue.finish()
    #expect(try blocked.join() == nil)
    #expect(await asyncCode { _ = try await suspended.value } == .finished)
    let full = try Queue<Int>(capacity: .elements(1))
    try await full.put(1)
    let putting = InThread { errorCode { try full.put(2) } }
    let suspendedPut = Task { try await full.put(3) }
    await Task.yield()
    full.finish()
    #expect(try putting.join() == .finished)
    #expect(await asyncCode { try await suspendedPut.value } == .finished)
    #expect(try await full.get() == 1)
  }

  @Test func closingWakesWaiters() async throws {
    let queue = try Queue<Int>(capacity: .elements(1))
    let blocked = InThread { errorCode { _ = try queue.get() } }
    let suspended = Task { try await queue.get() }
    await Task.yield()
    queue.close()
    queue.close()
    #expect(try blocked.join() == .closed)
    #expect(await asyncCode { _ = try await suspended.value } == .closed)
    #expect(await asyncCode { try await queue.put(1) } == .closed)
    #expect(errorCode { _ = try queue.putIfRoom(1) } == .closed)
    #expect(errorCode { _ = try descriptor(of: queue) } == .closed)
    queue.finish()
  }

  /// No other process was ever there: one may come yet.
  @Test func aProcessThatIsAloneFromTheBeginningWaits() throws {
    let queue = try Queue<Int>()
    #expect(errorCode { _ = try queue.get(timeout: .milliseconds(500)) } == .timedOut)
  }

  // MARK: Tasks

  @Test func joinWaitsForWhatIsNotDone() async throws {
    let queue = try Queue<Int>(delivery: .tracked)
    try await queue.join()
    try await queue.putMany(0..<3)
    #expect(await asyncCode { try await queue.join(timeout: .milliseconds(20)) } == .timedOut)
    for number in 0..<3 { #expect(try await queue.get() == number) }
    #expect(queue.isEmpty && queue.unfinishedCount == 3)
    let blocked = InThread { try queue.join() }
    let suspended = Task { try await queue.join() }
    for _ in 0..<2 { try queue.taskDone() }
    #expect(await asyncCode { try await queue.join(timeout: .zero) } == .timedOut)
    try queue.taskDone()
    try blocked.join()
    try await suspended.value
    #expect(errorCode { try queue.taskDone() } == .notOwner)
    #expect(queue.unfinishedCount == 0)
  }

  @Test func tasksAreForTrackedQueues() async throws {
    let queue = try Queue<Int>()
    #expect(errorCode { try queue.taskDone() } == .unsupported)
    #expect(await asyncCode { try await queue.join() } == .unsupported)
    #expect(try InThread { errorCode { try queue.join() } }.join() == .unsupported)
    let leased = try Queue<Int>(delivery: .leased)
    #expect(errorCode { try leased.taskDone() } == .unsupported)
  }

  // MARK: Leases

  @Test func leasesGoBackUnlessAcknowledged() async throws {
    let queue = try Queue<String>(delivery: .leased)
    try await queue.putMany(["a", "b"])
    let first = try await queue.lease()
    #expect(first.element == "a" && first.deliveries == 1 && first.isHeld)
    try first.giveBack()
    #expect(!first.isHeld && queue.count == 2)
    #expect(errorCode { try first.acknowledge() } == .notOwner)
    #expect(errorCode { try first.giveBack() } == .notOwner)
    // Ahead of what was not taken yet, and again when the last reference goes.
    for deliveries in 2..<4 {
      let again = try await queue.lease(timeout: .zero)
      #expect(again.element == "a" && again.deliveries == deliveries)
    }
    let last = try #require(try queue.leaseIfAvailable())
    #expect(last.element == "a")
    try last.acknowledge()
    #expect(errorCode { try last.giveBack() } == .notOwner)
    #expect(try await queue.get() == "b")
    #expect(try queue.leaseIfAvailable() == nil)
    try await queue.join()
    #expect(await asyncCode { _ = try await queue.lease(timeout: .milliseconds(20)) } == .timedOut)
    let other = try Queue<String>()
    #expect(await asyncCode { _ = try await other.lease() } == .unsupported)
    #expect(errorCode { _ = try other.leaseIfAvailable() } == .unsupported)
  }

  @Test func theEndWaitsForLeases() async throws {
    let queue = try Queue<Int>(delivery: .leased)
    try await queue.put(1)
    queue.finish()
    let lease = try await queue.lease()
    // It may come back yet.
    #expect(await asyncCode { _ = try await queue.lease(timeout: .milliseconds(20)) } == .timedOut)
    let waiting = Task { try await queue.lease() }
    await Task.yield()
    try lease.acknowledge()
    #expect(await asyncCode { _ = try await waiting.value } == .finished)
  }

  // MARK: In place

  @Test func arraysAreReadAndWrittenInPlace() throws {
    let queue = try Queue<[Float]>(capacity: .bytes(1 << 16))
    let written = try queue.put(upTo: 100) { output in
      for number in 0..<10 { output.append(Float(number)) }
      return output.count
    }
    #expect(written == 10)
    #expect(errorCode { try queue.put(upTo: -1) { _ in } } == .invalidArgument)
    let sum = try queue.withElement { numbers in
      var sum: Float = 0
      for i in numbers.indices { sum += numbers[i] }
      return sum
    }
    #expect(sum == 45)
    #expect(queue.isEmpty)
    try queue.put([1, 2])
    try queue.put(upTo: 3) { $0.append(7) }
    #expect(throws: Mine()) { try queue.put(upTo: 3) { _ in throw Mine() } }
    #expect(throws: Mine()) { try queue.withElement { _ in throw Mine() } }
    #expect(try queue.get() == [1, 2])
    #expect(try queue.get() == [7])
    #expect(
      errorCode { try queue.withElement(timeout: .zero) { _ in _ = Issue.record("ran") } }
        == .timedOut)
    #expect(try queue.withElementBytesIfAvailable { _ in 1 } == nil)
  }

  @Test func whatIsInPlaceIsNotTakenMeanwhile() async throws {
    let queue = try Queue<[Int]>()
    try await queue.put([1])
    try await queue.withElement { numbers in
      #expect(numbers[0] == 1)
      #expect(errorCode { _ = try queue.getIfAvailable() } == .alreadyLocked)
      let hasRoom = try queue.putIfRoom([5])
      #expect(hasRoom)
    }
    try await queue.put(upTo: 4) { output in
      output.append(2)
      let taken = try queue.getIfAvailable()
      #expect(taken == [5])
      #expect(errorCode { _ = try queue.putIfRoom([3]) } == .alreadyLocked)
    }
    try InThread {
      try queue.put(upTo: 1) { _ in
        #expect(errorCode { try queue.putMany([[3]]) } == .alreadyLocked)
        #expect(errorCode { try queue.put(upTo: 1) { _ in } } == .alreadyLocked)
      }
    }.join()
    #expect(try await queue.withElementBytes { $0.byteCount } == 8)
    #expect(try await queue.get() == [])
  }

  @Test func elementsThatDoNotLieInPlace() async throws {
    let queue = try Queue<[Bool]>()
    try await queue.put([true])
    #expect(await asyncCode { try await queue.withElement { _ in } } == .unsupported)
    #expect(await asyncCode { try await queue.put(upTo: 1) { _ in } } == .unsupported)
    #expect(try await queue.withElementBytes { $0.byteCount } > 1)
    let leased = try Queue<[Int]>(delivery: .leased)
    #expect(await asyncCode { try await leased.withElement { _ in } } == .unsupported)
    #expect(
      try InThread { errorCode { try leased.withElementBytes { _ in } } }.join() == .unsupported)
    #expect(errorCode { try leased.withElementBytesIfAvailable { _ in } } == .unsupported)
  }

  // MARK: Names

  @Test func queuesAreFoundByName() throws {
    let name = nameOfTest()
    #expect(errorCode { _ = try Queue<Int>(named: name, .open) } == .nameNotFound)
    let made = try Queue<Int>(named: name, .create, capacity: .elements(2))
    defer { try? made.unlink() }
    let found = try Queue<Int>(named: "/" + name)
    #expect(made.wasCreated && !found.wasCreated && found.name == name)
    #expect(found.capacity == .elements(2))
    try made.put(7)
    #expect(try found.get() == 7)
    #expect(errorCode { _ = try Queue<Int>(named: name, .create) } == .nameExists)
    #expect(errorCode { _ = try Queue<UInt>(named: name) } == .segmentMismatch)
    #expect(errorCode { _ = try Queue<Int>(named: name, delivery: .leased) } == .segmentMismatch)
    #expect(errorCode { _ = try Value(0, named: name) } == .segmentMismatch)
    #expect(errorCode { try found.unlink() } == .notOwner)
    #expect(errorCode { _ = try Queue<Int>(named: "a/b") } == .invalidArgument)
    // A process that only asked, and did not get it, was never there.
    #expect(errorCode { _ = try made.get(timeout: .milliseconds(300)) } == .timedOut)
  }
}
