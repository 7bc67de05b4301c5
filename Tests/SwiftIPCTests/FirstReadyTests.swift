// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// Waiting for the first of many, by tasks and by threads.
@Suite struct FirstReadyTests {
  /// A child that ends when the connection given says so.
  private func child(_ method: StartMethod = .forkServer) throws -> (
    child: ChildProcess<Void>, end: Connection
  ) {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs, options: .init(method: method)) { connection in
      _ = try connection.receiveBytes()
    }
    return (child, ours)
  }

  private func inThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) throws -> R {
    try InThread(body).join()
  }

  // MARK: - Children

  @Test(arguments: StartMethodTests.fromHere)
  func childrenThatEndInAnotherOrder(_ method: StartMethod) async throws {
    let started = try (0..<4).map { _ in try child(method) }
    let children = started.map(\.child)
    #expect(try await firstReady(children, timeout: .zero) == [])
    try await started[2].end.send(bytes: [])
    #expect(try await firstReady(children) == [2])
    #expect(children[2].exitStatus == .exited(0))
    try await started[0].end.send(bytes: [])
    #expect(try await firstReady([children[0], children[1], children[3]]) == [0])
    #expect(try await firstReady(children, timeout: .zero) == [0, 2])
    try children[3].kill()
    #expect(try await firstReady([children[1], children[3]]) == [1])
    #expect(try await children[3].join() == .signalled(SIGKILL))
    #expect(try await firstReady(children) == [0, 2, 3])
    try await started[1].end.send(bytes: [])
    #expect(try inThread { try firstReady([children[1]]) } == [0])
    #expect(try inThread { try firstReady(children) } == [0, 1, 2, 3])
  }

  /// It ends only when its value is read, which no one else does here.
  @Test(arguments: [true, false]) func aChildWithALargeValueEnds(_ isAsync: Bool) async throws {
    let child = try ChildProcess.start(options: .init(method: .forkServer)) {
      [Int](0..<500_000)
    }
    let (silent, _peer) = try Connection.pair()
    let ready =
      if isAsync { try await firstReady(silent, child) } else {
        try inThread { try firstReady(silent, child) }
      }
    #expect(ready == [1])
    #expect(try await child.value.count == 500_000)
    _peer.close()
  }

  @Test(.enabled(if: Self.hasDescriptors, "the hard limit of open files (ulimit -Hn) is too low"))
  func twoHundredChildren() async throws {
    var started = try (0..<200).map { _ in try child() }
    // The last ones first, a few at a time.
    var ended = 0
    while !started.isEmpty {
      let few = started.suffix(7)
      for one in few { try await one.end.send(bytes: []) }
      var left = few.count
      while left > 0 {
        let ready = try await firstReady(started.map(\.child))
        #expect(ready == ready.sorted() && !ready.isEmpty)
        #expect(ready.allSatisfy { $0 >= started.count - left })
        for place in ready.reversed() {
          #expect(try await started[place].child.join() == .exited(0))
          started.remove(at: place)
        }
        left -= ready.count
        ended += ready.count
      }
    }
    #expect(ended == 200)
  }

  @Test func aPidDescriptorTellsTheEnd() async throws {
    for method in StartMethodTests.fromHere {
      let (child, end) = try child(method)
      let descriptor = try child.readinessDescriptor()
      defer { close(descriptor) }
      #expect(fcntl(descriptor, F_GETFD) == FD_CLOEXEC)
      #expect(!isReadable(descriptor))
      try await end.send(bytes: [])
      #expect(isReadable(descriptor, timeout: -1))
      #expect(try await child.join() == .exited(0))
      #expect(isReadable(descriptor))
    }
  }

  // MARK: - Connections

  @Test func messagesPeersAndPlaces() async throws {
    let pairs = try (0..<4).map { _ in try Connection.pair() }
    let ours = pairs.map(\.0)
    #expect(try await firstReady(ours, timeout: .milliseconds(2)) == [])
    try await pairs[3].1.send(bytes: [1])
    pairs[1].1.close()
    // A child that another test is starting has a copy of that end until it executes.
    #expect(try await firstReady(ours[1]) == [0])
    #expect(try await firstReady(ours) == [1, 3])
    #expect(try await firstReady(ours[3], ours[0], ours[3], ours[1]) == [0, 2, 3])
    #expect(try inThread { try firstReady(ours[3], ours[0], ours[3], ours[1]) } == [0, 2, 3])
    #expect(try await ours[3].receiveBytes() == [1])
    #expect(try await firstReady(ours[3], ours[0], timeout: .zero) == [])
    // Ready still means that it says at once that the peer is gone.
    #expect(await asyncCode { try await ours[1].receiveBytes() } == .peerClosed)
    #expect(try await firstReady(ours) == [1])
    ours[0].close()
    #expect(try await firstReady(ours) == [0, 1])
  }

  @Test(arguments: [true, false]) func whatWasReadAheadIsReady(_ isAsync: Bool) async throws {
    let (reader, writer) = try Connection.pipe()
    try await writer.send(bytes: [1])
    try await writer.send(bytes: [2])
    #expect(try await reader.receiveBytes() == [1])
    #expect(!isReadable(try rawDescriptor(reader)))
    let ready =
      if isAsync { try await firstReady(reader) } else { try inThread { try firstReady(reader) } }
    #expect(ready == [0])
    #expect(try await reader.receiveBytes() == [2])
    #expect(try await firstReady(reader, timeout: .zero) == [])
  }

  /// A thread receives one of two messages and leaves the other where the socket does not show it.
  @Test func aThreadReadsAheadWhileOthersWait() async throws {
    for round in 0..<200 {
      let (a, b) = try Connection.pair()
      let other = try Connection.pair()
      let waiting = Task { try await firstReady(other.0, b) }
      let thread = InThread { try firstReady(other.0, b) }
      let receiving = InThread { try b.receiveBytes() }
      for _ in 0..<round % 5 { await Task.yield() }
      try await a.send(bytes: [1])
      try await a.send(bytes: [2])
      #expect(try await waiting.value == [1])
      #expect(try thread.join() == [1])
      #expect(try receiving.join() == [1])
      #expect(try await firstReady(other.0, b) == [1])
      #expect(try await b.receiveBytes() == [2])
    }
  }

  @Test func closingHereEndsTheWait() async throws {
    for round in 0..<200 {
      let (a, _peer) = try Connection.pair()
      let other = try Connection.pair()
      let waiting = Task { try await firstReady(other.0, a) }
      let thread = InThread { try firstReady(other.0, a) }
      for _ in 0..<round % 7 { await Task.yield() }
      a.close()
      // The numbers that become free are taken again, so a mix-up would show.
      let more = try Connection.pair()
      #expect(try await waiting.value == [1])
      #expect(try thread.join() == [1])
      more.0.close()
      _peer.close()
    }
  }

  @Test func anEndThatOnlySendsIsRefused() async throws {
    let (reader, writer) = try Connection.pipe()
    #expect(await asyncCode { try await firstReady(reader, writer) } == .notReadable)
    #expect(code { try writer.readinessDescriptor() } == .notReadable)
    reader.close()
    #expect(code { try reader.readinessDescriptor() } == .closed)
  }

  @Test func manyConnectionsAreServedAlike() async throws {
    let pairs = try (0..<200).map { _ in try Connection.pipe() }
    for (place, pair) in pairs.enumerated() where place % 3 == 0 {
      try await pair.writer.send(place)
      try await pair.writer.send(place + 1000)
    }
    // One message from each that is ready: all come to their second after the first of all.
    var order: [Int] = []
    while case let ready = try await firstReady(pairs.map(\.reader), timeout: .zero), !ready.isEmpty
    {
      for place in ready { order.append(try await pairs[place].reader.receive(Int.self)) }
    }
    let first = Array(stride(from: 0, to: 200, by: 3))
    #expect(order == first + first.map { $0 + 1000 })
    let waiting = Task { try await firstReady(pairs.map(\.reader)) }
    try await pairs[150].writer.send(1)
    #expect(try await waiting.value == [150])
    let again = try inThread { try firstReady(pairs.map(\.reader)) }
    #expect(again == [150])
  }

  /// The epoll set is right for a loop that is level-triggered, whatever was read ahead.
  @Test func aDescriptorForOtherLoops() async throws {
    let (ours, peer) = try Connection.pair()
    let descriptor = try ours.readinessDescriptor()
    defer { close(descriptor) }
    #expect(fcntl(descriptor, F_GETFD) == FD_CLOEXEC)
    #expect(!isReadable(descriptor))
    for _ in 0..<3 { try await peer.send(bytes: [7]) }
    for _ in 0..<3 {
      #expect(isReadable(descriptor))
      #expect(try await ours.receiveBytes(timeout: .zero) == [7])
    }
    #expect(!isReadable(descriptor))
    let thread = InThread { self.isReadable(descriptor, timeout: -1) }
    ours.close()
    #expect(try thread.join())
    #expect(isReadable(descriptor))
  }

  // MARK: - Waits

  @Test func nothingGivenAndNoTime() async throws {
    #expect(try await firstReady() == [])
    #expect(try await firstReady([], timeout: .seconds(1000)) == [])
    #expect(try inThread { try firstReady([]) } == [])
    let (a, b) = try Connection.pair()
    let clock = ContinuousClock()
    for timeout in [Duration.zero, .seconds(-1), .milliseconds(20)] {
      let start = clock.now
      #expect(try await firstReady(a, timeout: timeout) == [])
      #expect(try inThread { try firstReady(a, timeout: timeout) } == [])
      if timeout > .zero { #expect(clock.now - start >= timeout * 2) }
    }
    try await b.send(bytes: [1])
    #expect(try await firstReady(a, timeout: .seconds(-1)) == [0])
    #expect(try inThread { try firstReady(a, timeout: .zero) } == [0])
  }

  @Test func cancellation() async throws {
    let (child, end) = try child()
    let (a, b) = try Connection.pair()
    for round in 0..<200 {
      let waiting = Task { await asyncCode { try await firstReady(child, a) } }
      for _ in 0..<round % 7 { await Task.yield() }
      waiting.cancel()
      #expect(await waiting.value == .cancelled)
    }
    try await b.send(bytes: [1])
    #expect(try await firstReady(child, a) == [1])
    try await end.send(bytes: [])
    #expect(try await child.join() == .exited(0))
  }

  /// As workers wait for a sign to stop. Beyond 500 the kernel refuses, and says so.
  @Test(.enabled(if: Self.hasDescriptors, "the hard limit of open files (ulimit -Hn) is too low"))
  func manyWaitForTheSame() async throws {
    let (a, b) = try Connection.pair()
    let (child, end) = try child()
    try await withThrowingTaskGroup(of: [Int].self) { group in
      for _ in 0..<400 { group.addTask { try await firstReady(child, a) } }
      for _ in 0..<50 { await Task.yield() }
      try await b.send(bytes: [1])
      for try await ready in group { #expect(ready == [1]) }
    }
    _ = try await a.receiveBytes()
    let tooMany = (0..<600).map { _ in Task { await asyncCode { try await firstReady(child, a) } } }
    // They were refused, with the others waiting: nothing else ends one.
    for _ in 0..<tooMany.count { await Task.yield() }
    try await b.send(bytes: [1])
    var refused = 0
    for task in tooMany {
      let code = await task.value
      #expect(code == nil || code == .resourceLimit)
      if code != nil { refused += 1 }
    }
    #expect(refused <= 100)
    // A child alone has no such limit.
    let joining = (0..<600).map { _ in Task { try await child.join() } }
    for _ in 0..<joining.count { await Task.yield() }
    end.close()
    for task in joining { #expect(try await task.value == .exited(1)) }
  }

  /// In a process of its own, where nothing else opens descriptors.
  @Test func nothingIsLeftOpen() async throws {
    let child = try ChildProcess.start { () async throws -> [Int] in
      let (a, b) = try Connection.pair()
      let (c, _) = try Connection.pair()
      let child = try ChildProcess.start(options: .init(method: .forkServer)) {
        while true { pause() }
      }
      var counts: [Int] = []
      for round in 0..<300 {
        let waiting = Task { try? await firstReady(child, c, a) }
        for _ in 0..<round % 4 { await Task.yield() }
        if round % 2 == 0 { waiting.cancel() }
        try await b.send(bytes: [1])
        _ = await waiting.value
        _ = try await a.receiveBytes()
        _ = try await firstReady(child, a, timeout: .microseconds(50))
        counts.append(openDescriptors())
      }
      try child.kill()
      return [counts[20], counts[299]]
    }
    let counts = try await child.value
    #expect(counts[0] == counts[1])
  }

  @Test func aTypeOfOnesOwn() async throws {
    struct Input: Waitable {
      let descriptor: Int32
      func readiness() -> Readiness {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        let isReady = unsafe poll(&entry, 1, 0) > 0 && entry.revents & Int16(POLLNVAL) == 0
        return isReady ? .ready : .pending([.readable(descriptor)])
      }
    }
    let ends = makePipe()
    let (a, _peer) = try Connection.pair()
    let input = Input(descriptor: ends.read)
    let waiting = Task { try await firstReady(a, input) }
    close(ends.write)
    #expect(try await waiting.value == [1])
    close(ends.read)
    // One that names what is not open is a mistake, and told.
    let error = await #expect(throws: IPCError.self) {
      try await firstReady(Input(descriptor: 1_000_000))
    }
    #expect(error?.errno == EBADF)
    #expect(throws: IPCError.self) {
      try inThread { try firstReady(a, Input(descriptor: 1_000_000)) }
    }
    _peer.close()
  }

  // MARK: - The documentation

  @Test func theExamples() async throws {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs) { connection in try connection.send("hello") }
    var text = ""
    var places: Set<Int> = []
    while places.count < 2 {
      for place in try await firstReady(child, ours, timeout: patience) {
        switch place {
        case 0: #expect(try await child.join() == .exited(0))
        default: if text.isEmpty { text = try await ours.receive(String.self) }
        }
        places.insert(place)
      }
    }
    #expect(text == "hello")

    var children = try (0..<3).map { number in
      try ChildProcess.start(number, options: .init(method: .forkServer)) { $0 * $0 }
    }
    var squares: [Int] = []
    while !children.isEmpty {
      for place in try await firstReady(children).reversed() {
        squares.append(try await children.remove(at: place).value)
      }
    }
    #expect(squares.sorted() == [0, 1, 4])
  }

  @Test func dispatchSources() async throws {
    let (child, end) = try child()
    let (ours, peer) = try Connection.pair()
    let (shown, show) = AsyncStream<String>.makeStream()
    let descriptor = try ours.readinessDescriptor()
    let source = DispatchSource.makeReadSource(fileDescriptor: descriptor)
    source.setEventHandler {
      if let bytes = try? ours.receiveBytes(timeout: .zero) { show.yield("\(bytes)") }
    }
    source.setCancelHandler { close(descriptor) }
    source.activate()
    let childs = try child.readinessDescriptor()
    let ending = DispatchSource.makeReadSource(fileDescriptor: childs)
    ending.setEventHandler {
      if let status = try? child.join() { show.yield("\(status)") }
      ending.cancel()
    }
    ending.setCancelHandler { close(childs) }
    ending.activate()

    var seen = shown.makeAsyncIterator()
    for _ in 0..<2 { try await peer.send(bytes: [1, 2]) }
    #expect(await seen.next() == "[1, 2]")
    #expect(await seen.next() == "[1, 2]")
    try await end.send(bytes: [])
    #expect(await seen.next() == "\(ExitStatus.exited(0))")
    source.cancel()
  }

  // MARK: - Helpers

  /// Whether there can be 3000 open files; raises the soft limit to that.
  private static let hasDescriptors: Bool = {
    var limit = rlimit()
    guard unsafe getrlimit(.init(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_max >= 3000
    else { return false }
    limit.rlim_cur = max(limit.rlim_cur, 3000)
    return unsafe setrlimit(.init(RLIMIT_NOFILE.rawValue), &limit) == 0
  }()

  private func isReadable(_ descriptor: Int32, timeout: Int32 = 0) -> Bool {
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&entry, 1, timeout) == 1 && entry.revents & Int16(POLLIN) != 0
  }

  /// The socket itself, borrowed.
  private func rawDescriptor(_ connection: Connection) throws -> Int32 {
    guard case .readable(let descriptor)? = try connection.signals()?.first else { return -1 }
    return descriptor
  }
}

private func openDescriptors() -> Int {
  guard let directory = unsafe opendir("/proc/self/fd") else { return -1 }
  defer { unsafe closedir(directory) }
  var count = 0
  while unsafe readdir(directory) != nil { count += 1 }
  return count
}
