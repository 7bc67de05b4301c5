// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import MessageCoding
import SwiftIPC
import Testing

@Suite struct ConnectionAsyncTests {
  @Test func pingPong() async throws {
    let (a, b) = try Connection.pair()
    let echo = Task {
      for try await message in b.messages { try await b.send(message) }
      return "ended"
    }
    for i in 0..<300 {
      try await a.send([.integer(i), nil, "hello"] as MessageValue)
      #expect(try await a.receive() == [.integer(i), nil, "hello"])
    }
    a.close()
    #expect(try await echo.value == "ended")
  }

  @Test(arguments: [0, 1, 16_385, 1 << 20, 20 << 20])
  func allSizes(size: Int) async throws {
    let (reader, writer) = try Connection.pipe()
    let bytes = [UInt8](repeating: 3, count: size)
    let sending = Task {
      try await writer.send(bytes: bytes)
      try await writer.send(bytes: [1, 2, 3][...])
      writer.close()
    }
    #expect(try await same(reader.receiveBytes(), bytes))
    #expect(try await reader.receiveBytes() == [1, 2, 3])
    #expect(await asyncCode { try await reader.receiveBytes() } == .peerClosed)
    try await sending.value
  }

  @Test func timeouts() async throws {
    let (a, b) = try Connection.pair()
    let clock = ContinuousClock()
    for timeout in [Duration.zero, .milliseconds(-1), .milliseconds(20)] {
      let start = clock.now
      #expect(await asyncCode { try await a.receiveBytes(timeout: timeout) } == .timedOut)
      #expect(try await !a.poll(timeout: timeout))
      if timeout > .zero { #expect(clock.now - start >= timeout * 2) }
    }
    let much = [UInt8](repeating: 0, count: 8 << 20)
    #expect(
      await asyncCode { try await a.send(bytes: much, timeout: .milliseconds(10)) } == .timedOut)
    #expect(await asyncCode { try await a.send(bytes: [1]) } == .closed)
    #expect(await asyncCode { try await b.receiveBytes() } == .malformedFrame)
  }

  @Test func cancellation() async throws {
    let (a, b) = try Connection.pair()
    for round in 0..<100 {
      let receiving = Task { await asyncCode { try await a.receiveBytes() } }
      let second = Task { await asyncCode { try await a.receiveBytes() } }
      let polling = Task { await asyncCode { try await a.poll() } }
      for _ in 0..<round % 7 { await Task.yield() }
      receiving.cancel()
      #expect(await receiving.value == .cancelled)
      polling.cancel()
      #expect(await polling.value == .cancelled)
      second.cancel()
      #expect(await second.value == .cancelled)
    }
    // It has lost nothing, and is not confused.
    try await b.send(bytes: [1])
    #expect(try await a.receiveBytes() == [1])
  }

  @Test func cancellationInTheMiddleOfSending() async throws {
    let (a, b) = try Connection.pair()
    try await a.send(bytes: [1])
    let sending = Task {
      await asyncCode { try await a.send(bytes: [UInt8](repeating: 0, count: 8 << 20)) }
    }
    // Some of it is here, so it has begun, and cannot end without a receiver.
    var first: [UInt8] = []
    first = try await b.receiveBytes()
    #expect(first == [1])
    #expect(try await b.poll())
    let queued = Task { await asyncCode { try await a.send(bytes: [2]) } }
    queued.cancel()
    #expect(await queued.value == .cancelled)
    #expect(!a.isClosed)
    sending.cancel()
    #expect(await sending.value == .cancelled)
    #expect(a.isClosed)
    #expect(await asyncCode { try await b.receiveBytes() } == .malformedFrame)
  }

  @Test func closeWakesTasks() async throws {
    for round in 0..<100 {
      let (a, b) = try Connection.pair()
      let tasks = [
        Task { await asyncCode { try await a.receiveBytes() } },
        Task { await asyncCode { try await a.receiveBytes() } },
        Task { await asyncCode { try await a.poll() } },
        Task { await asyncCode { try await a.send(bytes: [UInt8](repeating: 0, count: 4 << 20)) } },
        Task { await asyncCode { try await a.send(bytes: [UInt8](repeating: 0, count: 4 << 20)) } },
      ]
      for _ in 0..<round % 11 { await Task.yield() }
      a.close()
      for task in tasks { #expect(await task.value == .closed) }
      let last = await asyncCode { while true { _ = try await b.receiveBytes() } }
      #expect(last == .peerClosed || last == .malformedFrame)
    }
  }

  @Test func thePeerWakesTasks() async throws {
    for round in 0..<100 {
      let (a, b) = try Connection.pair()
      let receiving = Task { await asyncCode { try await a.receiveBytes() } }
      let polling = Task { try await a.poll() }
      for _ in 0..<round % 5 { await Task.yield() }
      b.close()
      #expect(await receiving.value == .peerClosed)
      #expect(try await polling.value)
    }
  }

  @Test func manyTasksOnOneConnection() async throws {
    let (a, b) = try Connection.pair()
    let total = try await withThrowingTaskGroup(of: Int.self) { group in
      for i in 0..<200 {
        group.addTask {
          try await a.send(bytes: [UInt8](repeating: UInt8(i), count: i * 300 + 1))
          return 0
        }
        group.addTask {
          let bytes = try await b.receiveBytes()
          #expect(bytes.allSatisfy { $0 == bytes[0] } && bytes.count == Int(bytes[0]) * 300 + 1)
          return bytes.count
        }
      }
      return try await group.reduce(0, +)
    }
    #expect(total == (0..<200).reduce(0) { $0 + $1 * 300 + 1 })
  }

  /// Threads and tasks at both ends: none is left asleep when a thread has read ahead what a task
  /// waits for.
  @Test func threadsAndTasksTogether() async throws {
    let (a, b) = try Connection.pair()
    let rounds = 500
    let threads = (0..<2).map { _ in
      InThread {
        var sum = 0
        for _ in 0..<rounds { sum += try b.receiveBytes().count }
        return sum
      }
    }
    let senders = (0..<2).map { _ in
      InThread { for i in 0..<rounds { try a.send(bytes: [UInt8](repeating: 1, count: i * 10)) } }
    }
    let tasks = (0..<2).map { _ in
      Task {
        var sum = 0
        for _ in 0..<rounds { sum += try await b.receiveBytes().count }
        return sum
      }
    }
    let asyncSenders = (0..<2).map { _ in
      Task {
        for i in 0..<rounds { try await a.send(bytes: [UInt8](repeating: 1, count: i * 10)) }
      }
    }
    var total = 0
    for task in tasks { total += try await task.value }
    for task in asyncSenders { try await task.value }
    total += try await joined(threads).reduce(0, +)
    _ = try await joined(senders)
    #expect(total == 4 * (0..<rounds).reduce(0) { $0 + $1 * 10 })
  }

  private func joined<R: Sendable>(_ threads: [InThread<R>]) async throws -> [R] {
    var results: [R] = []
    for thread in threads {
      results.append(
        try await withCheckedThrowingContinuation { continuation in
          DispatchQueue.global().async { continuation.resume(with: Result { try thread.join() }) }
        })
    }
    return results
  }

  @Test func typedMessagesUntilThePeerCloses() async throws {
    let (reader, writer) = try Connection.pipe()
    let sending = Task {
      for i in 0..<50 { try await writer.send(SampleReading(sensor: "\(i)", values: [Double(i)])) }
      try await writer.send("not a reading")
      try await writer.send(SampleReading(sensor: "last", values: []))
      writer.close()
    }
    var count = 0
    do {
      for try await reading in reader.messages(of: SampleReading.self) {
        #expect(reading == SampleReading(sensor: "\(count)", values: [Double(count)]))
        count += 1
      }
      Issue.record("the text was a reading")
    } catch let error as IPCError {
      #expect(error.code == .malformedMessage)
    }
    #expect(count == 50)
    var rest: [SampleReading] = []
    for try await reading in reader.messages(of: SampleReading.self) { rest.append(reading) }
    #expect(rest == [SampleReading(sensor: "last", values: [])])
    try await sending.value
  }

  @Test func resultsGoOnBehindAMessageThatIsNone() async throws {
    let (reader, writer) = try Connection.pipe()
    try await writer.send(SampleReading(sensor: "first", values: [1]))
    try await writer.send("not a reading")
    try await writer.send(bytes: [0xff, 0xfe, 0xfd])
    try await writer.send(SampleReading(sensor: "last", values: [2]))
    writer.close()
    var found: [String] = []
    for try await result in reader.messageResults(of: SampleReading.self) {
      switch result {
      case .success(let reading): found.append(reading.sensor)
      case .failure(let error): found.append((error as? IPCError)?.code.rawValue ?? "other")
      }
    }
    #expect(found == ["first", "malformedMessage", "malformedMessage", "last"])
    // What ends the stream is thrown.
    let (other, cut) = try Connection.pair()
    try await cut.send(1)
    var values: [MessageValue?] = []
    let error = await #expect(throws: IPCError.self) {
      for try await result in other.messageResults {
        values.append(try? result.get())
        other.close()
      }
    }
    #expect(error?.code == .closed)
    #expect(values == [1])
  }

  @Test func aConnectionMoves() async throws {
    let (carrier, receiver) = try Connection.pair()
    let (a, b) = try Connection.pair()
    let waiting = Task { await asyncCode { try await b.receiveBytes() } }
    try await carrier.send(b)
    #expect(await waiting.value == .closed)
    let moved = try await receiver.receive(Connection.self)
    try await moved.send(1)
    #expect(try await a.receive(Int.self) == 1)
  }
}
