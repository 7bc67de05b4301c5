// SPDX-License-Identifier: Apache-2.0
import Glibc
import Testing

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

  @Test func aDescriptorIsAStream() async throws {
    let (reader, writer) = ChildWork.pipe()
    let (inputReader, inputWriter) = ChildWork.pipe()
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

  @Test(arguments: StartMethodTests.fromHere) func whatCannotBeHadIsAnError(
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
