// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// What is the same with all start methods, and what is theirs alone.
///
/// A test process has many threads, so `fork` is tried in a spawned child, whose closure runs on its
/// only thread.
@Suite struct StartMethodTests {
  static let fromHere: [StartMethod] = [.spawn, .forkServer]

  @Test func aStoppedForkServerHoldsUpNoStart() async throws {
    // In a child, whose fork server is its own.
    let parent = try ChildProcess.start { () throws -> [Bool] in
      let options = ChildProcessOptions(method: .forkServer)
      let server = try ChildProcess.start(options: options) { getppid() }.value(timeout: nil)
      _ = kill(server, SIGSTOP)
      var report: [Bool] = []
      do throws(IPCError) {
        try ChildProcess.start(options: options, timeout: .milliseconds(20)) {}
        report.append(false)
      } catch {
        report.append(error.code == .timedOut)
      }
      let other = try ChildProcess.start(options: options) { getppid() }.value(timeout: nil)
      report.append(other != server)
      _ = kill(other, SIGSTOP)
      // Without a limit: it is replaced.
      let third = try ChildProcess.start(options: options) { getppid() }.value(timeout: nil)
      report.append(third != other)
      return report
    }
    #expect(try await parent.value == [true, true, true])
  }

  @Test(arguments: fromHere) func aStartThatTakesTooLongLeavesNoChild(
    _ method: StartMethod
  ) async throws {
    let options = ChildProcessOptions(
      name: "late-\(method)", method: method, environment: ["SWIFT_BACKTRACE": "enable=no"])
    // More than a socket has room for: the child has to read, and that takes longer than no time.
    let large = [UInt8](repeating: 7, count: 8 << 20)
    let error = #expect(throws: IPCError.self) {
      try ChildProcess.start(large, options: options, timeout: .zero) { $0.count }
    }
    #expect(error?.code == .timedOut)
    #expect(!CurrentProcess.activeChildren.contains { $0.name == options.name })
    let child = try ChildProcess.start(large, options: options, timeout: patience) { $0.count }
    #expect(try await child.value == large.count)
    let square = try ChildProcess.start(
      task: ChildWork.Square(number: 5), options: options, timeout: patience)
    #expect(try await square.value == 25)
  }

  @Test(arguments: fromHere) func valuesErrorsAndEndsArrive(_ method: StartMethod) async throws {
    let options = ChildProcessOptions(method: method)
    let quiet = ChildProcessOptions(method: method, environment: ["SWIFT_BACKTRACE": "enable=no"])
    #expect(try await ChildProcess.start(12, options: options) { $0 * $0 }.value == 144)
    #expect(
      try await ChildProcess.start("a", options: options) { (text: String) async in text + "b" }
        .value == "ab")
    #expect(
      try await ChildProcess.start(task: ChildWork.Square(number: 5), options: options).value == 25)
    let thrown = try ChildProcess.start(options: options) { () -> Int in
      throw ChildWork.Refusal(reason: "no")
    }
    let error = await #expect(throws: RemoteError.self) { try await thrown.value }
    #expect(error?.typeName.hasSuffix("Refusal") == true && error?.worker == thrown.name)
    #expect(error?.trace.isEmpty == false)
    let left = try ChildProcess.start(7, options: options) { ChildWork.leave($0) }
    #expect(try await left.join() == .exited(7))
    let crashed = try ChildProcess.start(options: quiet) { () -> Int in
      let empty: [Int] = []
      return empty[CommandLine.arguments.count]
    }
    #expect(try await crashed.join().isCrash)
    let waiting = try ChildProcess.start(options: options) { while true { pause() } }
    #expect(waiting.isAlive)
    try waiting.kill()
    #expect(try await waiting.join() == .signalled(SIGKILL))
  }

  @Test(arguments: fromHere) func sharedObjectsAndConnectionsTravel(
    _ method: StartMethod
  ) async throws {
    let number = try Value(1)
    let (ours, theirs) = try Connection.pair()
    let child = try ChildProcess.start(number, theirs, options: .init(method: method)) {
      number, connection in
      try number.withLock { $0 += 41 }
      try connection.send([Int](0..<100_000))
      return try connection.receive(Int.self)
    }
    #expect(try await ours.receive([Int].self).count == 100_000)
    #expect(number.value == 42)
    try await ours.send(8)
    #expect(try await child.value == 8)
  }

  @Test(arguments: fromHere) func largeTasksAndValuesArrive(_ method: StartMethod) async throws {
    let many = [Int](0..<300_000)
    let child = try ChildProcess.start(many, options: .init(method: method)) { $0.map { $0 + 1 } }
    #expect(try await child.value == many.map { $0 + 1 })
  }

  @Test func theServerIsTheParentAndTheStarterIsThisProcess() async throws {
    let options = ChildProcessOptions(method: .forkServer)
    let first = try await ChildProcess.start(options: options) {
      [getppid(), CurrentProcess.parent?.pid ?? 0]
    }.value
    #expect(first[0] != getpid())
    #expect(first[1] == getpid())
    let descriptors = try await ChildProcess.start(options: options) {
      ChildWork.descriptorsGiven()
    }.value
    #expect(descriptors == [0, 1, 2, 3])
    let found = try await ChildProcess.start(
      options: .init(method: .forkServer, environment: ["START_TEST": "yes", "HOME": nil])
    ) {
      [
        ChildWork.variable("START_TEST"), ChildWork.variable("HOME"),
        ChildWork.variable("CIPC_BOOTSTRAP"),
      ]
    }.value
    #expect(found == ["yes", nil, nil])
  }

  @Test func whatTheServerDoesForItsChildrenLeavesNothing() async throws {
    // In a child, whose descriptors and threads are its own.
    let child = try ChildProcess.start {
      let before = (ChildWork.openDescriptors(), ChildWork.threadCount())
      for isSpare in [0, 1, 1] as [Int32] { serverWarmUp(isSpare) }
      return before == (ChildWork.openDescriptors(), ChildWork.threadCount())
    }
    #expect(try await child.value)
  }

  @Test func eachChildOfTheServerHasItsOwnNameAndTask() async throws {
    for number in 0..<5 {
      let child = try ChildProcess.start(
        number, options: .init(name: "numbered-\(number)", method: .forkServer)
      ) { "\($0) \(CurrentProcess.name)" }
      #expect(try await child.value == "\(number) numbered-\(number)")
    }
  }

  @Test func aKilledServerIsReplaced() async throws {
    // In a child, whose server is not the other tests'.
    let child = try ChildProcess.start {
      let options = ChildProcessOptions(method: .forkServer)
      let (ours, theirs) = try Connection.pair()
      let running = try ChildProcess.start(theirs, options: options) { connection in
        try connection.receive(Int.self)
      }
      let first = try ChildProcess.start(options: options) { getppid() }.value(timeout: nil)
      kill(first, SIGKILL)
      let second = try ChildProcess.start(options: options) { getppid() }.value(timeout: nil)
      try ours.send(17)
      return [try running.value(timeout: nil), first == second ? 1 : 0]
    }
    #expect(try await child.value == [17, 0])
  }

  @Test func theStandardMethodIsUsedWhereOptionsNameNone() async throws {
    let child = try ChildProcess.start {
      let before = try ChildProcess.start { getppid() == CurrentProcess.parent?.pid }
      StartMethod.standard = .forkServer
      let after = try ChildProcess.start { getppid() == CurrentProcess.parent?.pid }
      return [try before.value(timeout: nil), try after.value(timeout: nil)]
    }
    #expect(try await child.value == [true, false])
    #expect(StartMethod.standard == .spawn)
  }

  // MARK: Fork

  @Test func forkIsRefusedWithMoreThanOneThread() throws {
    let error = #expect(throws: IPCError.self) {
      try ChildProcess.start(options: .init(method: .fork)) {}
    }
    #expect(error?.code == .multipleThreads)
    #expect(throws: IPCError.self) { try ChildProcess.fork() }
  }

  @Test(.enabled(if: ChildWork.canFork)) func aForkedClosureCapturesAnything() async throws {
    let child = try ChildProcess.start {
      struct Local: Codable, Equatable { var text: String }
      let captured = [1, 2, 3]
      let options = ChildProcessOptions(method: .fork)
      let sum = try ChildProcess.start(4, options: options) { captured.reduce($0, +) }
      let local = try ChildProcess.start(Local(text: "a"), options: options) { argument in
        Local(text: argument.text + "\(captured)")
      }
      let thrown = try ChildProcess.start(options: options) { () -> Int in
        throw ChildWork.Refusal(reason: "\(captured)")
      }
      var description = ""
      do { _ = try thrown.value(timeout: nil) } catch { description = "\(error)" }
      let task = try ChildProcess.start(
        task: ChildWork.Square(number: captured.count), options: options)
      return [
        "\(try sum.value(timeout: nil))", try local.value(timeout: nil).text,
        "\(description.contains("[1, 2, 3]"))", "\(try task.value(timeout: nil))",
      ]
    }
    #expect(try await child.value == ["10", "a[1, 2, 3]", "true", "9"])
  }

  @Test(.enabled(if: ChildWork.canFork)) func aForkedChildRunsAsynchronousClosures() async throws {
    let child = try ChildProcess.start {
      let captured = "x"
      let forked = try ChildProcess.start("y", options: .init(method: .fork)) { argument in
        await Task.yield()
        return await ChildWork.onMainActor(captured.utf8.count) == 1 ? captured + argument : ""
      }
      return try forked.value(timeout: nil)
    }
    #expect(try await child.value == "xy")
  }

  @Test(.enabled(if: ChildWork.canFork)) func argumentsOfAForkMeanWhatTheyAlwaysMean() async throws
  {
    let child = try ChildProcess.start {
      let number = try Value(1)
      let (ours, theirs) = try Connection.pair()
      let forked = try ChildProcess.start(number, theirs, options: .init(method: .fork)) {
        argument, connection in
        try argument.withLock { $0 += 1 }
        try number.withLock { $0 += 10 }  // captured: the same object
        try connection.send("moved")
      }
      // Moved: this process has the other end alone, so that the child's end is the stream's.
      var isClosed = false
      do { try theirs.send(1) } catch { isClosed = true }
      let text = try ours.receive(String.self)
      _ = try forked.join()
      return "\(number.value) \(text) \(isClosed)"
    }
    #expect(try await child.value == "12 moved true")
  }

  @Test(.enabled(if: ChildWork.canFork)) func aBareForkReturnsInBoth() async throws {
    let number = try Value(0)
    let child = try ChildProcess.start(number) { number in
      let before = CurrentProcess.name
      switch try ChildProcess.fork(options: .init(name: "copy")) {
      case .child:
        try number.store(CurrentProcess.name == "copy" && before != "copy" ? Int(getppid()) : 1)
        CurrentProcess.leave(3)
      case .parent(let copy):
        let status = try copy.join()
        return [
          status == .exited(3), number.value == Int(getpid()), copy.name == "copy",
          CurrentProcess.name == before,
        ]
      }
    }
    #expect(try await child.value == [true, true, true, true])
  }

  @Test(.enabled(if: ChildWork.canFork))
  func aBareForkThatReturnsFromTheTaskDoesNotAnswerForItsParent() async throws {
    let child = try ChildProcess.start {
      switch try ChildProcess.fork() {
      case .child: return "the child's"
      case .parent(let copy):
        try copy.value(timeout: nil)
        return "the parent's"
      }
    }
    #expect(try await child.value == "the parent's")
  }

  @Test(.enabled(if: ChildWork.canFork)) func whatWasPrintedBeforeAForkIsPrintedOnce() async throws
  {
    let child = try ChildProcess.start(options: .init(standardOutput: .pipe)) {
      print("once", terminator: " ")
      let forked = try ChildProcess.start(options: .init(method: .fork)) {
        print("child", terminator: " ")
      }
      _ = try forked.join()
      print("parent", terminator: "")
    }
    let text = try await #require(child.standardOutput).readToEnd()
    #expect(String(decoding: text, as: UTF8.self) == "once child parent")
    #expect(try await child.join().isSuccess)
  }
}
