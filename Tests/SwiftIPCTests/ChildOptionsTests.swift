// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

@Suite struct ChildOptionsTests {
  @Test(arguments: StartMethodTests.fromHere) func settingsAreInForceInTheTask(
    _ method: StartMethod
  ) async throws {
    // A bound on data beyond the shadow memory that sanitizers map.
    let options = ChildProcessOptions(
      method: method, directory: "/usr", processors: [0],
      limits: .init(dataBytes: 1 << 60, cpuSeconds: 60, openFiles: 99), nice: 6,
      newProcessGroup: true)
    let child = try ChildProcess.start(options: options) { settings() }
    #expect(try await child.value == "/usr 1152921504606846976 60 99 1 6 true")
    if !ChildWork.canFork { return }
    // A forked one, in a child with one thread.
    let parent = try ChildProcess.start {
      let options = ChildProcessOptions(
        method: .fork, directory: "/usr", processors: [0],
        limits: .init(dataBytes: 1 << 60, cpuSeconds: 60, openFiles: 99), nice: 6,
        newProcessGroup: true)
      let forked = try ChildProcess.start(options: options) { settings() }
      return try forked.value(timeout: nil)
    }
    #expect(try await parent.value == "/usr 1152921504606846976 60 99 1 6 true")
  }

  @Test(arguments: StartMethodTests.fromHere) func outputsArePipesOrNothing(
    _ method: StartMethod
  ) async throws {
    let both = ChildProcessOptions(
      method: method, standardInput: .null, standardOutput: .pipe, standardError: .pipe)
    let child = try ChildProcess.start(options: both) {
      print("to output", readLine() ?? "nil")
      _ = unsafe write(2, "to error", 8)
    }
    #expect(try await text(child.standardOutput) == "to output nil\n")
    #expect(try await text(child.standardError) == "to error")
    #expect(try await child.join().isSuccess)
    let none = ChildProcessOptions(
      method: method, standardOutput: .null, standardError: .null)
    let quiet = try ChildProcess.start(options: none) { () throws -> Void in
      print("nobody sees this")
      throw ChildWork.Refusal(reason: "nor this")
    }
    #expect(quiet.standardOutput == nil)
    #expect(try await quiet.join() == .exited(1))
  }

  @Test(arguments: ChildWork.methods) func inputIsAPipe(_ method: StartMethod) async throws {
    // In a child with one thread, since one method is fork.
    let parent = try ChildProcess.start(Ordinal(of: method)) { ordinal in
      let options = ChildProcessOptions(
        method: ordinal.method, standardInput: .pipe, standardOutput: .pipe)
      let child = try ChildProcess.start(options: options) {
        while let line = readLine() { print("read", line) }
      }
      // A copy of this process would keep the input open, if it kept what it has.
      let brother = try ordinal.method == .fork ? startWaitingBrother() : nil
      let input = child.standardInput
      try input?.write("one\ntwo")
      try input?.write([0x0a])
      input?.close()
      input?.close()
      var report = [String(decoding: try child.standardOutput?.readToEnd() ?? [], as: UTF8.self)]
      report.append("\(try child.join())")
      do throws(IPCError) { try input?.write("three") } catch { report.append(error.code.rawValue) }
      try brother?.kill()
      return report
    }
    #expect(
      try await parent.value == ["read one\nread two\n", "\(ExitStatus.exited(0))", "closed"])
    let child = try ChildProcess.start {}
    #expect(child.standardInput == nil)
    try await child.join()
  }

  @Test func aLargeInputWaitsForItsReader() async throws {
    let (ours, theirs) = try Connection.pair()
    let options = ChildProcessOptions(standardInput: .pipe)
    let child = try ChildProcess.start(theirs, options: options) { connection in
      _ = try connection.receive(Int.self)
      var sum = 0
      while let line = readLine() { sum += line.utf8.count }
      return sum
    }
    let line = [UInt8](repeating: 0x61, count: 99) + [0x0a]
    let input = try #require(child.standardInput)
    async let written: Void = input.write([UInt8](repeatElement(line, count: 10_000).joined()))
    try await ours.send(1)
    try await written
    input.close()
    #expect(try await child.value == 990_000)
  }

  @Test func theInputOfADroppedChildEnds() async throws {
    let (ours, theirs) = try Connection.pair()
    try ChildProcess.start(theirs, options: .init(standardInput: .pipe)) { connection in
      try connection.send(readLine() == nil)
    }
    #expect(try await ours.receive(Bool.self))
  }

  @Test func writingToAChildThatDoesNotReadAnyMoreIsAnError() async throws {
    let options = ChildProcessOptions(standardInput: .pipe)
    let child = try ChildProcess.start(options: options) { while true { pause() } }
    let input = try #require(child.standardInput)
    // Waits for room until the child has gone.
    let writing = Task { () -> IPCError.Code? in
      do {
        try await input.write([UInt8](repeating: 0, count: 1_000_000))
        return nil
      } catch {
        return (error as? IPCError)?.code
      }
    }
    try child.kill()
    #expect(await writing.value == .peerClosed)
    try await child.join()
    let error = await #expect(throws: IPCError.self) { try await input.write("more") }
    #expect(error?.code == .peerClosed)
    let stuck = try ChildProcess.start(options: options) { while true { pause() } }
    let waiting = Task {
      try await #require(stuck.standardInput).write([UInt8](repeating: 0, count: 1_000_000))
    }
    waiting.cancel()
    let cancelled = await #expect(throws: IPCError.self) { try await waiting.value }
    #expect(cancelled?.code == .cancelled)
    try stuck.kill()
  }

  @Test func outputsAndActiveChildrenAreWaitedForWithOthers() async throws {
    let child = try ChildProcess.start { () throws -> [[Int]] in
      let options = ChildProcessOptions(standardInput: .pipe, standardOutput: .pipe)
      let child = try ChildProcess.start(options: options) { print(readLine() ?? "") }
      guard let input = child.standardInput, let output = child.standardOutput else { return [] }
      let active = CurrentProcess.activeChildren[0]
      var report = [try firstReady(output, active, timeout: .zero)]
      try input.write("a\n")
      report.append(try firstReady(output))
      _ = try output.readToEnd()
      report.append(try firstReady(active))
      report.append(try firstReady(output))
      let descriptor = try active.readinessDescriptor()
      var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      report.append([Int(unsafe poll(&entry, 1, 0))])
      return report
    }
    #expect(try await child.value == [[], [0], [0], [0], [1]])
  }

  @Test func tasksThatReadOneOutputBlockNoThread() async throws {
    let options = ChildProcessOptions(standardInput: .pipe, standardOutput: .pipe)
    let child = try ChildProcess.start(options: options) { echoBytes() }
    let input = try #require(child.standardInput)
    let output = try #require(child.standardOutput)
    // More than there are threads for tasks. The child answers each byte by one byte, which wakes all
    // of the tasks: one takes it, and the next is asked for only if the others block no thread.
    let readers = 4 * CurrentProcess.processorCount + 4
    for _ in 0..<2 {
      try await withThrowingTaskGroup(of: [UInt8].self) { group in
        for _ in 0..<readers { group.addTask { try await output.read() } }
        for _ in 0..<readers {
          try await input.write("a")
          #expect(try await group.next() == [0x61])
        }
      }
    }
    let waiting = Task { try await output.read() }
    waiting.cancel()
    let error = await #expect(throws: IPCError.self) { try await waiting.value }
    #expect(error?.code == .cancelled)
    input.close()
    #expect(try await child.join().isSuccess)
  }

  @Test func readingTakesMemoryForWhatIsThere() async throws {
    let child = try ChildProcess.start(options: .init(standardOutput: .pipe)) {
      // Beyond what a pipe holds unless it is told to hold more.
      _ = fcntl(1, 1031, 1 << 18)  // F_SETPIPE_SZ
      let bytes = [UInt8](repeating: 0x61, count: 200_000)
      return unsafe write(1, bytes, bytes.count)
    }
    let output = try #require(child.standardOutput)
    let written = try await child.value
    #expect(try await output.read(upTo: 0).isEmpty)
    #expect(try await output.read(upTo: Int.min).isEmpty)
    #expect(try await output.read(upTo: 1).count == 1)
    #expect(try await output.read(upTo: Int.max).count == written - 1)
    #expect(try await output.read(upTo: Int.max).isEmpty)
  }

  @Test func aDescriptorIsAStream() async throws {
    let (reader, writer) = makePipe()
    let (inputReader, inputWriter) = makePipe()
    _ = unsafe write(inputWriter, "a line\n", 7)
    close(inputWriter)
    let options = ChildProcessOptions(
      standardInput: .descriptor(inputReader), standardOutput: .descriptor(writer),
      standardError: .descriptor(writer))
    let child = try ChildProcess.start(options: options) { print(readLine() ?? "nil") }
    close(writer)
    close(inputReader)
    #expect(ChildWork.readAll(reader) == "a line\n")
    #expect(try await child.join().isSuccess)
  }

  @Test func theProgramMayHaveAnotherPath() async throws {
    var path = [CChar](repeating: 0, count: 4096)
    _ = unsafe readlink("/proc/self/exe", &path, path.count - 1)
    let own = String(
      decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let link = "/tmp/swift-ipc-\(getpid())-\(UInt32.random(in: .min ... .max))"
    #expect(unsafe symlink(own, link) == 0)
    defer { _ = unsafe unlink(link) }
    let child = try ChildProcess.start(6, options: .init(executable: link)) { $0 * 7 }
    #expect(try await child.value == 42)
  }

  @Test func aLargeOutputIsReadWhileTheChildWrites() async throws {
    let child = try ChildProcess.start(options: .init(standardOutput: .pipe)) {
      for _ in 0..<20_000 { print("0123456789012345678") }
    }
    #expect(try await #require(child.standardOutput).readToEnd().count == 400_000)
    #expect(try await child.join().isSuccess)
  }

  @Test func aLimitOfProcessorTimeEndsTheChild() async throws {
    let child = try ChildProcess.start(options: .init(limits: .init(cpuSeconds: 1))) {
      var number = 1.0
      while number > 0 { number += 1 }
    }
    #expect(try await child.join() == .signalled(SIGXCPU))
  }

  @Test(arguments: StartMethodTests.fromHere) func unavailableResourcesAreAnError(
    _ method: StartMethod
  ) throws {
    func code(_ options: ChildProcessOptions) -> IPCError.Code? {
      var options = options
      options.method = method
      do {
        try ChildProcess.start(options: options) {}
        return nil
      } catch {
        return error.code
      }
    }
    #expect(code(.init(directory: "/nonexistent")) == .invalidArgument)
    #expect(code(.init(processors: [])) == .invalidArgument)
    #expect(code(.init(processors: [-1])) == .invalidArgument)
    #expect(code(.init(limits: .init(openFiles: -1))) == .invalidArgument)
    // Beyond any limit, so that no other test has it open.
    #expect(code(.init(standardOutput: .descriptor(.max))) != nil)
    #expect(code(.init(environment: ["A=B": "c"])) == .invalidArgument)
    if method == .forkServer { #expect(code(.init(executable: "/bin/true")) == .invalidArgument) }
  }
}

private func text(_ reader: OutputReader?) async throws -> String {
  String(decoding: try await #require(reader).readToEnd(), as: UTF8.self)
}

/// Writes each byte that it reads, and gives up where none comes for two minutes: then a test that would
/// wait for ever fails instead.
private func echoBytes() {
  var byte: UInt8 = 0
  var entry = pollfd(fd: 0, events: Int16(POLLIN), revents: 0)
  while unsafe poll(&entry, 1, 900_000) > 0, unsafe read(0, &byte, 1) == 1 {
    _ = unsafe write(1, &byte, 1)
  }
}

func settings() -> String {
  var directory = [CChar](repeating: 0, count: 256)
  _ = unsafe getcwd(&directory, directory.count)
  let path = String(
    decoding: directory.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  var limits: [rlim_t] = []
  for resource in [RLIMIT_DATA, RLIMIT_CPU, RLIMIT_NOFILE].map(\.rawValue) {
    var limit = rlimit()
    _ = unsafe getrlimit(__rlimit_resource_t(resource), &limit)
    limits.append(limit.rlim_cur)
  }
  return """
    \(path) \(limits[0]) \(limits[1]) \(limits[2]) \(CurrentProcess.processorCount) \
    \(getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)) \(getpgrp() == getpid())
    """
}

private func startWaitingBrother() throws -> ChildProcess<Void> {
  try ChildProcess.start(options: .init(method: .fork)) { while true { pause() } }
}
