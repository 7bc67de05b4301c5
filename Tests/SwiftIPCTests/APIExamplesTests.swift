// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Testing

/// What a user writes, as it stands in the description of the API and in README: it compiles, and
/// it does what the comments beside it say.
@Suite struct APIExamplesTests {
  @Test func aChild() async throws {
    let child = try ChildProcess.start("bob") { name in print("hello \(name)") }
    try await child.join()
    #expect(try await child.join(timeout: .seconds(1)) == .exited(0))
    let square = try ChildProcess.start(12) { $0 * $0 }
    #expect(try await square.value == 144)
    let greeter = try ChildProcess.start(
      task: ExampleGreet(name: "bob"), options: .init(name: "greeter"))
    #expect(greeter.name == "greeter")
    #expect(try await greeter.join() == .exited(0))
    try ChildProcess.start(task: ExampleGreet(name: "nobody"))
  }

  @Test func memoryWithAName() throws {
    let name = nameOfTest()
    let frame = try SharedMemory(creating: name, size: 480 * 640 * 4)
    defer { try? frame.unlink() }
    try frame.withMutableSpan(of: Float.self) { pixels in pixels[0] = 0.5 }
    let same = try SharedMemory(attachingTo: name)
    #expect(try same.withSpan(of: Float.self) { $0[0] } == 0.5)
    let total = try Value(0.0, named: name + "-total")
    defer { if total.wasCreated { try? total.unlink() } }
    try Value<Double>(named: name + "-total").withLock { $0 += 1 }
    #expect(total.value == 1)
  }

  @Test func sharedState() async throws {
    let number = try Value(0.0)
    let numbers = try SharedArray<Int32>(0..<10)
    try await ChildProcess.start(number, numbers) { number, numbers in
      try number.store(3.1415927)
      for i in numbers.indices { numbers[i] = -numbers[i] }
    }.join()
    #expect(number.value == 3.1415927)
    try number.withLock { $0 += 1 }
    #expect(number.value == 4.1415927)
    #expect(Array(numbers) == (0..<10).map { -$0 })
    try numbers.withLock { span in span[0] += 1 }
    #expect(numbers[0] == 1)
    let image = try SharedArray<Float>(shape: 480, 640, repeating: 0)
    image[12, 34] = 1
    #expect(image[12 * 640 + 34] == 1 && image.shape == [480, 640])
    let hits = try SharedAtomic(0)
    hits.add(1)
    #expect(hits.load() == 1)
  }

  @Test func locks() throws {
    func critical() {}
    func repair() {}
    func work() -> Int { 7 }
    let lock = try Lock()
    try lock.withLock { critical() }
    try lock.withLock {
      critical()
    } recovering: {
      repair()
    }
    if let r = try lock.withLockIfAvailable({ work() }) { #expect(r == 7) }
    try lock.withLock(timeout: .milliseconds(50)) { critical() }
  }

  @Test func messages() async throws {
    let (ours, theirs) = try Connection.pair()
    try ChildProcess.start(theirs) { connection in
      try connection.send([42, nil, "hello"] as MessageValue)
      try connection.send(ExampleReading(sensor: "a", values: [1, 2, 3]))
      try connection.send(bytes: [1, 2, 3])
      for number in 0..<3 {
        try connection.send(ExampleReading(sensor: "b", values: [Double(number)]))
      }
    }
    #expect(theirs.isClosed)
    #expect(try await ours.receive() == [42, nil, "hello"])
    let reading = try await ours.receive(ExampleReading.self)
    #expect(reading == ExampleReading(sensor: "a", values: [1, 2, 3]))
    #expect(try await ours.receiveBytes() == [1, 2, 3])
    var shown: [ExampleReading] = []
    for try await message in ours.messages(of: ExampleReading.self) { shown.append(message) }
    #expect(shown.map(\.values) == [[0], [1], [2]])
  }

  @Test func queues() async throws {
    let queue = try Queue<String>()
    try ChildProcess.start(queue) { queue in
      for letter in ["A", "B", "C", "D"] { try queue.put(letter) }
      queue.finish()
    }
    var letters = ""
    for try await letter in queue { letters += letter }
    #expect(letters == "ABCD")
    let (ours, _peer) = try Connection.pair()
    let child = try ChildProcess.start(queue) { _ in }
    let ready = try await firstReady(child, ours, queue, timeout: .seconds(5))
    #expect(ready.contains(2) && !ready.contains(1))
    _peer.close()
    _ = try Queue<ExampleReading>(capacity: .elements(64))
    _ = try Queue<[UInt8]>(capacity: .bytes(1 << 20))
  }

  @Test func queuesWithTasksAndLeases() async throws {
    let jobs = try Queue<String>(delivery: .tracked)
    let worker = try ChildProcess.start(jobs) { jobs in
      while (try jobs.next()) != nil { try jobs.taskDone() }
    }
    for job in ["a", "b"] { try await jobs.put(job) }
    try await jobs.join()
    jobs.finish()
    #expect(try await worker.join() == .exited(0))
    let leased = try Queue<String>(delivery: .leased)
    try await leased.put("a")
    let lease = try await leased.lease()
    #expect(lease.element == "a")
    try lease.acknowledge()
    let frames = try Queue<[Float]>(capacity: .elements(8))
    try await frames.put(upTo: 480 * 640) { pixels in
      for i in 0..<480 * 640 { pixels.append(Float(i % 7)) }
    }
    let brightest = try await frames.withElement { pixels in
      var brightest: Float = 0
      for i in pixels.indices { brightest = max(brightest, pixels[i]) }
      return brightest
    }
    #expect(brightest == 6)
  }

  /// Shared objects go to a child that runs already.
  @Test func aValueOverAConnectionThatIsThereAlready() async throws {
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(theirs) { connection in
      let number = try connection.receive(Value<Double>.self)
      try number.withLock { $0 += 1 }
      try connection.send(number)
    }
    let number = try Value(1.5)
    try await ours.send(number)
    let returned = try await ours.receive(Value<Double>.self)
    #expect(number.value == 2.5)
    try returned.store(4)
    #expect(number.value == 4)
    #expect(try await child.join() == .exited(0))
  }

  /// The same names without `await`.
  @Test func synchronousCode() throws {
    let (ours, theirs) = try Connection.pair()
    let kept = try theirs.duplicate()
    let child = try ChildProcess.start(theirs) { connection in
      try connection.send(connection.receive())
    }
    try ours.send(["a": 1] as MessageValue)
    #expect(try ours.poll(timeout: patience))
    #expect(try ours.receive() == ["a": 1])
    #expect(try child.join() == .exited(0))
    try kept.send(2)
    #expect(try ours.receive(Int.self) == 2)
    kept.close()
    #expect(errorCode { _ = try ours.receive() } == .peerClosed)
  }

  @Test func pools() async throws {
    func show(_ page: String) { shown.append(page) }
    var shown: [String] = []
    let names = ["a", "b", "c"]
    let pool = try ProcessPool(workers: 4)
    #expect(try await pool.map(0..<10) { $0 * $0 } == [0, 1, 4, 9, 16, 25, 36, 49, 64, 81])
    let result = try pool.submit(10) { $0 * $0 }
    #expect(try await result.get(timeout: patience) == 100)
    for try await page in pool.imap(names, { try exampleRead($0) }) { show(page) }
    #expect(shown == ["page a", "page b", "page c"])
    await pool.terminate()
    let squares = try await withProcessPool(workers: 2) { pool in
      try await pool.map(0..<10) { $0 * $0 }
    }
    #expect(squares.last == 81)
  }

  @Test func readme() async throws {
    let numbers = try SharedArray<Int32>(0..<10)
    let lock = try Lock()
    let child = try ChildProcess.start(numbers, lock) { numbers, lock in
      try lock.withLock { for i in numbers.indices { numbers[i] = -numbers[i] } }
    }
    try await child.join()
    #expect(Array(numbers) == [0, -1, -2, -3, -4, -5, -6, -7, -8, -9])
  }

  /// The statements of README's first example stand above, word for word.
  @Test func readmeSaysWhatIsTried() throws {
    let folders = #filePath.split(separator: "/")
    let readme = try text(of: "/" + folders.dropLast(3).joined(separator: "/") + "/README.md")
    let own = try text(of: #filePath)
    let example = try #require(readme.split(separator: "```swift").dropFirst().first)
      .split(separator: "```")[0]
    let statements = example.split(separator: "\n").map { $0.drop { $0 == " " } }
      .filter { $0.hasPrefix("let ") || $0.hasPrefix("try ") }
    #expect(statements.count == 5)
    for statement in statements { #expect(own.contains(statement)) }
  }

  private func text(of path: String) throws -> String {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    try #require(file >= 0, "\(path)")
    defer { close(file) }
    let size = Int(lseek(file, 0, SEEK_END))
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      unsafe count = pread(file, buffer.baseAddress, size, 0)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

private func exampleRead(_ name: String) throws -> String { "page \(name)" }

private struct ExampleGreet: ProcessTask {
  var name: String
  func run() async throws { print("hello \(name)") }
}

private struct ExampleReading: Codable, Equatable {
  var sensor: String
  var values: [Double]
}
