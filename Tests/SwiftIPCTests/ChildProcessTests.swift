// SPDX-License-Identifier: Apache-2.0
import Glibc
import MessageCoding
import SwiftIPC
import Synchronization
import Testing

/// Children that are this test bundle, started again.
@Suite struct ChildProcessTests {
  // MARK: Arguments and values

  @Test func bootstrapAgainChangesNothing() async throws {
    bootstrap()
    let child = try ChildProcess.start(6) { number in
      // In a child, which is at its task already.
      bootstrap()
      return number * 7
    }
    #expect(try await child.value == 42)
  }

  // MARK: Tests in children

  @Test func aRequirementThatFailsInAChildFailsInItsParent() async throws {
    let child = try ChildProcess.start("one two") { text in
      let words = text.split(separator: " ")
      try #require(words.first == "one")
      return words.count
    }
    #expect(try await child.value == 2)
    let failing = try ChildProcess.start("one two") { text in
      try #require(text == "three")
      return text
    }
    let error = await #expect(throws: (any Error).self) { try await failing.value }
    #expect(String(describing: error).contains("ExpectationFailedError"))
  }

  /// What the documentation of `start` warns of.
  @Test func anExpectationThatFailsInAChildIsNotSeen() async throws {
    let child = try ChildProcess.start(1) { number in
      #expect(number == 2)
      return number
    }
    #expect(try await child.value == 1)
  }

  @Test func aClosureRunsInAnotherProcess() async throws {
    let child = try ChildProcess.start { getpid() }
    let pid = try await child.value
    #expect(pid == child.pid)
    #expect(pid != getpid())
    #expect(try await child.join() == .exited(0))
    #expect(!child.isAlive)
    #expect(child.exitStatus == .exited(0))
  }

  @Test func argumentsArriveWhateverTheirTypes() async throws {
    let none = try ChildProcess.start { "none" }
    #expect(try await none.value == "none")
    let one = try ChildProcess.start(12) { $0 * $0 }
    #expect(try await one.value == 144)
    let two = try ChildProcess.start("bob", 2.5) { name, number in "\(name) \(number)" }
    #expect(try await two.value == "bob 2.5")
    let reading = Measurement(sensor: "a", values: [1, .infinity, -0.5], note: nil)
    let three = try ChildProcess.start(reading, [1: "x", 2: "y"], Int?.none) {
      reading, names, none in
      var copy = reading
      copy.note = "\(names[2] ?? "?") \(none == nil)"
      return copy
    }
    #expect(
      try await three.value
        == Measurement(sensor: "a", values: [1, .infinity, -0.5], note: "y true"))
    let six = try ChildProcess.start(1, 2 as UInt8, 3 as Float, "4", [5], true) {
      "\($0) \($1) \($2) \($3) \($4) \($5)"
    }
    #expect(try await six.value == "1 2 3.0 4 [5] true")
  }

  @Test func anOptionalValueMayBeNil() async throws {
    #expect(try await ChildProcess.start { Int?.none }.value == nil)
    #expect(try await ChildProcess.start { Int?.some(3) }.value == 3)
    #expect(try await ChildProcess.start(task: ChildNothingFound()).value == nil)
  }

  @Test func asynchronousClosuresRunToo() async throws {
    let action = try ChildProcess.start(2) { number in
      await Task.yield()
      if number != 2 { throw ChildWork.Refusal(reason: "number") }
    }
    #expect(try await action.join() == .exited(0))
    let value = try ChildProcess.start(3) { number in
      await withTaskGroup(of: Int.self) { group in
        for i in 0..<number { group.addTask { i } }
        return await group.reduce(0, +)
      }
    }
    #expect(try await value.value == 3)
    let onMain = try ChildProcess.start { await ChildWork.onMainActor(42) }
    #expect(try await onMain.value == 42)
  }

  @Test func aBlockingClosureRunsOnTheMainThread() async throws {
    let child = try ChildProcess.start { isOnMainThread() }
    #expect(try await child.value)
  }

  @Test func theArgumentsOfAChildMayBeLarge() async throws {
    let large = (0..<1_000_000).map { Double($0) }  // 9 MB as a message
    let child = try ChildProcess.start(large) { $0.reduce(0, +) }
    #expect(try await child.value == large.reduce(0, +))
  }

  @Test func aLargeValueIsReadByTheJoiningCaller() async throws {
    let child = try ChildProcess.start(1_000_000) { Array(repeating: 1.5, count: $0) }
    #expect(try await child.join() == .exited(0))
    #expect(try await child.value.count == 1_000_000)
  }

  // MARK: Tasks

  @Test func tasksAreFoundByTheirTypes() async throws {
    #expect(try await ChildProcess.start(task: ChildWork.Square(number: 12)).value == 144)
    #expect(try await ChildProcess.start(task: PrivateSquare(number: 12)).value == 144)
    #expect(try await ChildProcess.start(task: Nested.Square(number: 12)).value == 144)
    #expect(try await ChildProcess.start(task: ChildDoubled(value: "ab")).value == ["ab", "ab"])
    #expect(try await ChildProcess.start(task: ChildClassTask(number: 7)).value == 7)
    #expect(try await ChildProcess.start(task: Choice.second(5)).value == 5)
    struct Local: ProcessTask {
      var number: Int
      func run() async -> Int { number + 1 }
    }
    #expect(try await ChildProcess.start(task: Local(number: 1)).value == 2)
    #expect(try await ChildProcess.start(task: Greet(name: "bob")).join() == .exited(0))
  }

  @Test func argumentsMayHavePrivateTypes() async throws {
    let child = try ChildProcess.start(PrivateNumber(number: 3)) {
      PrivateNumber(number: $0.number + 1)
    }
    #expect(try await child.value.number == 4)
  }

  @Test func aPrivateTypeInsideAGenericOneIsRefusedByName() {
    let error = #expect(throws: IPCError.self) {
      try ChildProcess.start(task: ChildDoubled(value: PrivateNumber(number: 1)))
    }
    #expect(error?.code == .notTransferable)
    #expect(error?.context.contains("ChildDoubled<") == true)
    #expect(error?.context.contains("PrivateNumber") == true)
  }

  // MARK: Refused

  @Test func aClosureThatCapturesMoreThanNumbersIsRefused() {
    let text = "\(getpid())"
    let error = #expect(throws: IPCError.self) {
      try ChildProcess.start { text }
    }
    #expect(error?.code == .notTransferable)
    #expect(error?.context.contains("captures a value of type Swift.String") == true)
    #expect(error?.context.contains("start(x) { x in … }") == true)
    let list = [getpid()]
    let object = #expect(throws: IPCError.self) { try ChildProcess.start { list.count } }
    #expect(object?.code == .notTransferable)
    #expect(object?.context.contains("captures something") == true)
  }

  @Test func aClosureMayCaptureNumbersAndFunctions() async throws {
    let number = getpid()
    let half = 0.5
    let triple: @Sendable (Int32) -> Int32 = { $0 * 3 }
    let child = try ChildProcess.start { Double(triple(number)) * half }
    #expect(try await child.value == Double(number * 3) * 0.5)
  }

  @Test func aFunctionIsSentByItsName() async throws {
    #expect(try await ChildProcess.start(12, body: square).value == 144)
    #expect(try await ChildProcess.start(12) { square($0) }.value == 144)
  }

  @Test func aClosureInAGenericFunctionIsSent() async throws {
    func pair<A: Codable & Sendable>(_ value: A) async throws -> [A] {
      try await ChildProcess.start(value) { [$0, $0] }.value
    }
    #expect(try await pair(1) == [1, 1])
    #expect(try await pair([["a"]]) == [[["a"]], [["a"]]])
  }

  @Test func anArgumentThatCannotBeEncodedIsRefused() {
    let error = #expect(throws: IPCError.self) { try ChildProcess.start(Unsendable()) { _ in } }
    #expect(error?.code == .notTransferable)
    #expect(error?.context.contains("not today") == true)
  }

  // MARK: Ends

  @Test func aThrownErrorArrivesWithItsTypeAndDescription() async throws {
    let child = try ChildProcess.start(1) { number -> Int in
      throw ChildWork.Refusal(reason: "no \(number)")
    }
    let error = await #expect(throws: RemoteError.self) { try await child.value }
    #expect(error?.typeName == "SwiftIPCTests.ChildWork.Refusal")
    #expect(error?.message == "Refusal(reason: \"no 1\")")
    #expect(error?.worker == child.name)
    #expect(
      "\(try #require(error))"
        == "SwiftIPCTests.ChildWork.Refusal: Refusal(reason: \"no 1\") (thrown in \(child.name))")
    #expect(try await child.join() == .exited(1))
  }

  @Test func aThrownErrorOfAChildWithoutValueIsToldAndPrinted() async throws {
    let outer = try ChildProcess.start {
      var found = ""
      let printed = try captured(2) {
        let child = try ChildProcess.start(options: .init(name: "thrower")) {
          throw ChildWork.Refusal(reason: "printed")
        }
        do {
          try child.value(timeout: nil)
        } catch {
          found = "\(error) \(try child.join())"
        }
        found = found.replacing("\(child.pid)", with: "PID")
      }
      return [found, printed.replacing(digits, with: "PID")]
    }
    let description = "SwiftIPCTests.ChildWork.Refusal: Refusal(reason: \"printed\")"
    #expect(
      try await outer.value == [
        "\(description) (thrown in thrower) exited with code 1",
        "thrower (process PID) threw \(description)\n",
      ])
  }

  @Test func aThrownErrorOfAChildWithAValueIsNotPrinted() async throws {
    let outer = try ChildProcess.start {
      try captured(2) {
        _ = try ChildProcess.start { () -> Int in throw ChildWork.Refusal(reason: "printed") }
          .join()
      }
    }
    #expect(try await outer.value == "")
  }

  @Test func aCrashIsToldWithItsSignal() async throws {
    let child = try ChildProcess.start(options: quiet) { () -> Int in fatalError("on purpose") }
    let error = await #expect(throws: IPCError.self) { try await child.value }
    #expect(error?.code == .childDied)
    #expect(error?.context.contains("was killed by signal") == true)
    guard case .signalled(let signal) = try await child.join() else {
      Issue.record("not signalled: \(child)")
      return
    }
    #expect([SIGILL, SIGTRAP].contains(signal))
    #expect(error?.exitStatus == .signalled(signal))
  }

  @Test func anExitCodeIsToldAsItIs() async throws {
    let child = try ChildProcess.start(3) { code -> Int in ChildWork.leave(Int32(code)) }
    #expect(try await child.join() == .exited(3))
    let error = await #expect(throws: IPCError.self) { try await child.value }
    #expect(error?.code == .childDied)
    #expect(error?.context.contains("exited with code 3 and left no value") == true)
    let action = try ChildProcess.start { () -> Void in exit(0) }
    try await action.value
  }

  @Test func killAndTerminateEndAChild() async throws {
    let killed = try ChildProcess.start { while true { pause() } }
    #expect(killed.isAlive)
    #expect(killed.exitStatus == nil)
    try killed.kill()
    #expect(try await killed.join() == .signalled(SIGKILL))
    try killed.kill()
    try killed.terminate()
    let terminated = try ChildProcess.start { () -> Int in while true { pause() } }
    try terminated.terminate()
    #expect(try await terminated.join() == .signalled(SIGTERM))
    await #expect(throws: IPCError.self) { try await terminated.value }
  }

  @Test func aChildThatEndsBeforeItTookItsTaskIsToldApart() async throws {
    // Told by start already, where the child is gone by the time its task is sent.
    for _ in 0..<5 {
      let error = await #expect(throws: IPCError.self) {
        try await ChildProcess.start(1, options: .init(executable: "/bin/true")) { $0 }.value
      }
      #expect(error?.code == .bootstrapFailed)
      #expect(error?.context.contains("exited with code 0 before it took its task") == true)
    }
    let error = await #expect(throws: IPCError.self) {
      try await ChildProcess.start(options: .init(executable: "/bin/true")) {}.value
    }
    #expect(error?.code == .bootstrapFailed)
  }

  @Test func aLargeTaskForAChildThatDiesIsAnError() {
    let large = Array(repeating: 1.5, count: 1_000_000)
    let error = #expect(throws: IPCError.self) {
      try ChildProcess.start(large, options: .init(executable: "/bin/true")) { $0.count }
    }
    #expect(error?.code == .bootstrapFailed)
  }

  @Test func aProgramThatDoesNotExistIsAnError() {
    let error = #expect(throws: IPCError.self) {
      try ChildProcess.start(options: .init(executable: "/nonexistent")) {}
    }
    #expect(error?.errno == ENOENT)
  }

  @Test func whatWasPrintedIsWrittenOut() async throws {
    let outer = try ChildProcess.start {
      try captured(1) {
        try ChildProcess.start { print("from a blocking child") }.join()
        let child = try ChildProcess.start {
          await Task.yield()
          print("from an asynchronous child")
        }
        try child.join()
      }
    }
    #expect(try await outer.value == "from a blocking child\nfrom an asynchronous child\n")
  }

  // MARK: Waiting

  @Test func aJoinEndsAtItsTimeout() async throws {
    let child = try ChildProcess.start { while true { pause() } }
    let clock = ContinuousClock()
    let started = clock.now
    #expect(try await child.join(timeout: .milliseconds(30)) == nil)
    #expect(clock.now - started >= .milliseconds(30))
    #expect(try await child.join(timeout: .zero) == nil)
    let error = await #expect(throws: IPCError.self) {
      try await child.value(timeout: .milliseconds(1))
    }
    #expect(error?.code == .timedOut)
    try child.kill()
    #expect(try await child.join(timeout: patience) == .signalled(SIGKILL))
  }

  @Test func theBlockingFormsDoTheSame() throws {
    let child = try ChildProcess.start { () -> Int in while true { pause() } }
    #expect(try child.join(timeout: .milliseconds(20)) == nil)
    let error = #expect(throws: IPCError.self) { try child.value(timeout: .milliseconds(1)) }
    #expect(error?.code == .timedOut)
    try child.kill()
    #expect(try child.join() == .signalled(SIGKILL))
    let square = try ChildProcess.start(12) { $0 * $0 }
    #expect(try square.value(timeout: nil) == 144)
    #expect(try square.join() == .exited(0))
    let large = try ChildProcess.start(1_000_000) { Array(repeating: 1.5, count: $0) }
    #expect(try large.join() == .exited(0))
    #expect(try large.value(timeout: nil).count == 1_000_000)
  }

  @Test func aCancelledWaitSaysSo() async throws {
    let child = try ChildProcess.start { () -> Int in while true { pause() } }
    let joining = Task { try await child.join() }
    let reading = Task { try await child.value }
    await Task.yield()
    joining.cancel()
    reading.cancel()
    for result in [await joining.result.map { _ in }, await reading.result.map { _ in }] {
      let error = #expect(throws: IPCError.self) { try result.get() }
      #expect(error?.code == .cancelled)
    }
    #expect(child.isAlive)
    try child.kill()
    try await child.join()
  }

  @Test func manyTasksWaitForTheSameChild() async throws {
    let child = try ChildProcess.start(5) { $0 }
    try await withThrowingTaskGroup(of: Int.self) { group in
      for index in 0..<20 {
        group.addTask {
          if index.isMultiple(of: 2) { return try await child.join() == .exited(0) ? 5 : 0 }
          return try await child.value
        }
      }
      for try await value in group { #expect(value == 5) }
    }
  }

  // MARK: Surroundings

  @Test func namesAreGivenOrCounted() throws {
    let named = try ChildProcess.start(options: .init(name: "greeter")) {}
    #expect(named.name == "greeter")
    let counted = try ChildProcess.start {}
    #expect(counted.name.hasPrefix("ChildProcess-"))
    #expect(counted.description == "\(counted.name) (process \(counted.pid))")
    #expect(try named.join().isSuccess)
    #expect(try counted.join().isSuccess)
  }

  @Test func theEnvironmentIsTheParentsWithChanges() async throws {
    let options = ChildProcessOptions(environment: ["CHILD_TEST": "yes = yes", "HOME": nil])
    let child = try ChildProcess.start(options: options) {
      [
        ChildWork.variable("CHILD_TEST"), ChildWork.variable("HOME"), ChildWork.variable("PATH"),
        ChildWork.variable("CIPC_BOOTSTRAP"),
      ]
    }
    let value = try await child.value
    #expect(value == ["yes = yes", nil, ChildWork.variable("PATH"), nil])
    #expect(throws: IPCError.self) {
      try ChildProcess.start(options: .init(environment: ["A=B": "c"])) {}
    }
  }

  @Test func nothingOfTheStartIsSeenByTheChildOrByWhatItExecutes() async throws {
    let child = try ChildProcess.start {
      ChildWork.readAll(unsafe open("/proc/self/environ", O_RDONLY | O_CLOEXEC)).contains(
        "CIPC_BOOTSTRAP")
        || shell("env").contains("CIPC_BOOTSTRAP")
    }
    #expect(try await child.value == false)
  }

  @Test func aChildHasNoDescriptorThatItWasNotGiven() async throws {
    let stray = unsafe open("/dev/null", O_RDONLY)  // not close-on-exec, on purpose
    defer { close(stray) }
    let child = try ChildProcess.start { ChildWork.descriptorsGiven() }
    #expect(try await child.value == [0, 1, 2, 3])
  }

  @Test func nothingIsLeftOpenInTheParent() async throws {
    // In children, where no other test opens anything meanwhile.
    let blocking = try ChildProcess.start {
      let before = ChildWork.openDescriptors()
      for _ in 0..<20 {
        let child = try ChildProcess.start([1, 2]) { $0 }
        _ = try child.value(timeout: nil)
        try child.join()
        _ = try? ChildProcess.start(options: .init(executable: "/nonexistent")) {}
      }
      return [before, ChildWork.openDescriptors()]
    }
    let found = try await blocking.value
    #expect(found[0] == found[1])
    let asynchronous = try ChildProcess.start {
      // Once before: the poller's thread keeps descriptors of its own.
      try await ChildProcess.start { 1 }.join()
      let before = ChildWork.openDescriptors()
      for _ in 0..<20 {
        let child = try ChildProcess.start([1, 2]) { $0 }
        _ = try await child.value
        try await child.join()
      }
      return [before, ChildWork.openDescriptors()]
    }
    let foundToo = try await asynchronous.value
    #expect(foundToo[0] == foundToo[1])
  }

  @Test func childrenWithoutAHandleLeaveNoZombies() async throws {
    let child = try ChildProcess.start {
      for _ in 0..<10 { try ChildProcess.start {} }
      // Reaped by later starts, however many it takes until the last of them has ended.
      for rounds in 1...1000 {
        try ChildProcess.start {}.join()
        var info = unsafe siginfo_t()
        let found = unsafe waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)
        if found < 0 && errno == ECHILD { return rounds }
      }
      return 0
    }
    #expect(try await child.value > 0)
  }

  @Test func childrenHaveChildren() async throws {
    let child = try ChildProcess.start(3) { number in
      let grandchild = try ChildProcess.start(number) { ($0 * 2, getppid()).0 }
      return try grandchild.value(timeout: nil)
    }
    #expect(try await child.value == 6)
    let asynchronous = try ChildProcess.start(3) { number in
      try await ChildProcess.start(number) { $0 * 3 }.value
    }
    #expect(try await asynchronous.value == 9)
  }

  @Test func staticsHaveTheirInitialValuesInAChild() async throws {
    Statics.counter.withLock { $0 = 10 }
    let child = try ChildProcess.start {
      Statics.counter.withLock { counter in
        counter += 1
        return counter
      }
    }
    #expect(try await child.value == 1)
    Statics.counter.withLock { $0 = 0 }
  }

  @Test func sharedObjectsAreTheSameInBoth() async throws {
    let number = try Value(0.0)
    let numbers = try SharedArray<Int32>(0..<10)
    let lock = try Lock()
    try await ChildProcess.start(number, numbers, lock) { number, numbers, lock in
      try lock.withLock { try number.store(3.1415927) }
      for i in numbers.indices { numbers[i] = -numbers[i] }
    }.join()
    #expect(number.value == 3.1415927)
    #expect(Array(numbers) == (0..<10).map { -$0 })
  }

  @Test func aSharedObjectComesBackAsAValue() async throws {
    let child = try ChildProcess.start(7) { try Value($0) }
    #expect(try await child.value.value == 7)
  }
}

// MARK: - What the children use

struct Measurement: Codable, Equatable {
  var sensor: String
  var values: [Double]
  var note: String?
}

private struct Unsendable: Codable {
  init() {}
  init(from decoder: any Decoder) throws {}
  func encode(to encoder: any Encoder) throws { throw ChildWork.Refusal(reason: "not today") }
}

private enum Statics { static let counter = Mutex(0) }

private struct Greet: ProcessTask {
  var name: String
  func run() async throws { if name != "bob" { throw ChildWork.Refusal(reason: name) } }
}

private struct PrivateSquare: ProcessTask {
  var number: Int
  func run() -> Int { number * number }
}

private struct PrivateNumber: Codable { var number: Int }

private enum Nested {
  struct Square: ProcessTask {
    var number: Int
    func run() async throws -> Int { number * number }
  }
}

struct ChildDoubled<T: Codable & Sendable>: ProcessTask {
  var value: T
  func run() async -> [T] { [value, value] }
}

struct ChildNothingFound: ProcessTask {
  func run() -> Int? { nil }
}

final class ChildClassTask: ProcessTask {
  let number: Int
  init(number: Int) { self.number = number }
  func run() async -> Int { number }
}

private enum Choice: ProcessTask {
  case first
  case second(Int)
  func run() async -> Int {
    if case .second(let number) = self { number } else { 0 }
  }
}

@Sendable private func square(_ number: Int) -> Int { number * number }

/// Digits, to be taken out of texts that hold numbers of processes.
private var digits: Regex<Substring> { /[0-9]+/ }

/// For children that crash on purpose.
private let quiet = ChildProcessOptions(environment: ["SWIFT_BACKTRACE": "enable=no"])

private func isOnMainThread() -> Bool {
  var target = [CChar](repeating: 0, count: 64)
  let count = unsafe readlink("/proc/thread-self", &target, target.count)
  let text = String(decoding: target[..<max(count, 0)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  return text == "\(getpid())/task/\(getpid())"
}

private func shell(_ command: String) -> String {
  guard let file = unsafe popen(command, "r") else { return "" }
  let text = ChildWork.readAll(unsafe dup(fileno(file)))
  unsafe pclose(file)
  return text
}

/// What the standard stream of this process gets while the body runs. For children alone: others
/// write to the streams of the test process at any time.
private func captured(_ stream: Int32, _ body: () throws -> Void) throws -> String {
  let (reader, writer) = makePipe()
  dup2(writer, stream)
  close(writer)
  defer { dup2(unsafe open("/dev/null", O_WRONLY), stream) }
  try body()
  dup2(unsafe open("/dev/null", O_WRONLY), stream)
  return ChildWork.readAll(reader)
}
