// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// What errors say about children and workers that died.
@Suite struct CauseOfDeathTests {
  private static let quiet: [String: String?] = ["SWIFT_BACKTRACE": "enable=no"]

  private func trap(_ pool: ProcessPool) async throws -> IPCError {
    let error = await #expect(throws: IPCError.self) {
      try await pool.apply(7) { number -> Int in
        let empty: [Int] = []
        return empty[number]
      }
    }
    return try #require(error)
  }

  @Test func aProgramWithoutAMainFileIsNotToldOfOne() async throws {
    // This test's program has a type marked @main.
    #expect(!CauseOfDeath.hasTopLevelVariables)
    #expect(!CauseOfDeath.hasTopLevelVariables(at: "/dev/null"))
    let pool = try ProcessPool(
      workers: 1, options: .init(environment: Self.quiet, standardError: .null))
    let error = try await trap(pool)
    #expect(error.code == .workerDied && error.exitStatus?.isCrash == true)
    #expect(error.context.hasSuffix(" in the middle of the task"))
    await pool.terminate()
    let child = try ChildProcess.start(
      options: .init(environment: Self.quiet, standardError: .null)
    ) { () -> Int in fatalError("on purpose") }
    let other = await #expect(throws: IPCError.self) { try await child.value }
    #expect(other?.context.contains("main.swift") == false)
    #expect(other?.exitStatus?.isCrash == true)
  }

  @Test func anErrorHasTheTrapsOwnLineWhereStandardErrorIsAPipe() async throws {
    let lines = Mutex<[String]>([])
    let pool = try ProcessPool(
      workers: 1, options: .init(environment: Self.quiet, standardError: .pipe),
      log: { event in
        if case .wrote(let name, let line) = event, name == "pool-1" {
          lines.withLock { $0.append(line) }
        }
      })
    // More than a pipe holds, which only the pool reads.
    try await pool.apply(4000) { count in
      for number in 0..<count {
        PoolSays.line("noise \(number) \(String(repeating: "x", count: 60))")
      }
    }
    let error = try await trap(pool)
    #expect(error.context.contains("Index out of range"))
    #expect(!error.context.contains("\n"))
    await pool.terminate()
    let told = lines.withLock { $0 }
    #expect(told.count > 4000 && told[17].hasPrefix("noise 17 "))
    #expect(told.contains { $0.contains("Index out of range") })
  }

  @Test(arguments: [false, true]) func aChildsErrorHasItToo(_ isRead: Bool) async throws {
    let child = try ChildProcess.start(
      options: .init(environment: Self.quiet, standardError: .pipe)
    ) { () -> Int in
      PoolSays.line("before")
      fatalError("on \u{1B}[2J purpose")
    }
    if isRead {
      let text = String(decoding: try await child.standardError!.readToEnd(), as: UTF8.self)
      #expect(text.contains("on \u{1B}[2J purpose"))
    }
    let error = await #expect(throws: IPCError.self) { try await child.value }
    #expect(error?.context.contains("Fatal error: on \\u{1B}[2J purpose") == true)
    // And what was not read is there still.
    if !isRead {
      let text = String(decoding: try await child.standardError!.readToEnd(), as: UTF8.self)
      #expect(text.hasPrefix("before\n"))
    }
  }

  @Test(arguments: [
    "Prog4nameSSvp", "Prog4listSaySiGvp", "Prog3mapSDySSSiGvp", "Prog3setShySiGvp",
    "Prog1kAA1KCvp", "Prog2kk33_9305A85F516CB7C90D3E06BD25973A7ELLAA1KCvp",
  ]) func onlyVariablesOfAMainFileAreBlamed(_ variable: String) {
    func areBlamed(_ names: String...) -> Bool {
      CauseOfDeath.hasTopLevelVariables(zeroed: names.map { "$s4" + $0 })
    }
    #expect(areBlamed(variable))
    #expect(areBlamed("Prog5emptySaySiGvp", variable, "Prog5empty_Wz"))
    let other = "Prog2pp33_6FF44715C3CDCFAB5400DF874981609ALL"
    #expect(areBlamed(variable, other + "_Wz"))
    // A release build of a program with an @main type has no more than these tokens to show.
    var token = variable[...]
    for type in ["SSvp", "SaySiGvp", "SDySSSiGvp", "ShySiGvp", "AA1KCvp"] {
      if variable.hasSuffix(type) { token = variable.dropLast(type.count) }
    }
    #expect(!areBlamed(variable, token + "_Wz"))
    #expect(!areBlamed(other + "SaySSGvp", other + "_Wz"))
    // Several variables with one token, of which the second is not in front.
    #expect(!areBlamed("Prog2aaSSvp", variable, "Prog2aa_2bb_Wz"))
    #expect(!areBlamed(variable, "Prog01fA5Thing_9progOther_2hh_Wz"))
    #expect(!areBlamed(variable, other + "_2bb_Wz"))
    // A static property's.
    #expect(areBlamed(variable, "Prog1PV1s_Wz"))
    // Zeros may be the value of these.
    #expect(!areBlamed())
    for type in ["Sivp", "AA1ZVvp", "AA1KCSgvp", "SaySiGSgvp", "SSSgvp", "SaySiG_SStvp"] {
      #expect(!areBlamed("Prog4zero" + type))
    }
    // Static, abbreviated, broken.
    for name in ["Prog1PV1sSaySiGvpZ", "Prog01fA5ThingSaySSGvp", "Prog99aSSvp", "Prog", "", "x"] {
      #expect(!areBlamed(name))
    }
    #expect(!CauseOfDeath.hasTopLevelVariables(zeroed: ["$ss4nameSSvp", "$s", "name"]))
  }

  @Test func linesAreChosenAndCut() {
    func line(_ text: String) -> String? { OutputTail.line(Array(text.utf8)) }
    #expect(line("") == nil && line("\n \n") == nil)
    #expect(line("one\ntwo\n\n") == "two")
    #expect(
      line("a.swift:1: Fatal error: Index out of range\n*** Signal 4\nThread 0\n")
        == "a.swift:1: Fatal error: Index out of range")
    #expect(line("\u{7}x\ty") == "\\u{7}x\\ty")
    #expect(line(String(repeating: "z", count: 10_000))?.count == 401)
    let tail = OutputTail()
    for number in 0..<10_000 { tail.note(Array("line \(number)\n".utf8)) }
    #expect(tail.line(unreadIn: -1) == "line 9999")
  }

  @Test(.enabled(if: !ChildWork.keepsMemory, "sanitizers need memory of their own"))
  func aDeathByTheLimitOfMemoryNamesTheLimit() async throws {
    let pool = try ProcessPool(
      workers: 1, memoryLimit: 256 << 20,
      options: .init(environment: Self.quiet, standardError: .null))
    let results =
      try await pool.mapResults([1 << 30, 1000], chunkSize: 1) { size in
        var all: [[UInt8]] = []
        while true { all.append([UInt8](repeating: 1, count: size)) }
      } as [Result<Int, any Error>]
    for result in results {
      let error = #expect(throws: IPCError.self) { try result.get() }
      #expect(error?.code == .workerDied)
      #expect(
        error?.context.hasSuffix(
          "; it was refused memory, of which it may allocate 268435456 bytes") == true,
        "\(result)")
    }
    // A trap is a trap.
    #expect(try await trap(pool).context.hasSuffix(" in the middle of the task"))
    await pool.terminate()
    for method in StartMethodTests.fromHere {
      let child = try ChildProcess.start(
        options: .init(
          method: method, environment: Self.quiet, standardError: .null,
          limits: .init(dataBytes: 256 << 20))
      ) { [UInt8](repeating: 1, count: 1 << 30).count }
      let error = await #expect(throws: IPCError.self) { try await child.value }
      #expect(error?.context.contains("may allocate 268435456 bytes") == true)
    }
  }

  // MARK: Backtraces

  @Test func anEnvironmentThatTheRuntimeReadsIsHonoured() async throws {
    func starter(_ options: ChildProcessOptions, _ method: StartMethod?) async throws -> Int32 {
      let pool = try ProcessPool(workers: 1, startMethod: method, options: options)
      defer { pool.close() }
      return try await pool.apply { getppid() }
    }
    let own = getpid()
    #expect(try await starter(.init(), nil) != own)
    #expect(try await starter(.init(environment: ["SOMETHING": "else"]), nil) != own)
    for change in [["SWIFT_BACKTRACE": "enable=no,color=no"], ["LD_BIND_NOW": "1"]] {
      #expect(try await starter(.init(environment: change), nil) == own)
      // The next start gets the server.
      #expect(try await starter(.init(environment: change), .forkServer) != own)
    }
    let same = ChildWork.variable("HOME")
    #expect(try await starter(.init(environment: ["HOME": same]), nil) != own)
  }

  /// The process that prints a backtrace outlives a child that is killed meanwhile, unless it is ended.
  @Test(
    .timeLimit(.minutes(10)),
    .enabled(
      if: !ChildWork.keepsMemory,
      "AddressSanitizer ends a process whose stack its own crash handler reads, and nobody its tracer"
    ))
  func aBacktraceEndsWithItsWorker() async throws {
    var found = 0
    for trial in 0..<20 where found < 3 {
      let pool = try ProcessPool(
        workers: 1,
        options: .init(
          environment: ["SWIFT_BACKTRACE": "enable=yes,color=no"], standardOutput: .null,
          standardError: .null))
      let pid = try await pool.apply { getpid() }
      let engine = try #require(pool.core.engine as? ProcessEngine)
      let task = try pool.submit(trial) { number -> Int in fatalError("\(number)") }
      // Until it is there, or the worker has gone.
      var tracer: Int32?
      while tracer == nil && engine.processes.contains(pid) {
        tracer = PoolSays.backtracer(of: pid)
        await Task.yield()
      }
      await pool.terminate()
      _ = await #expect(throws: IPCError.self) { try await task.get() }
      guard let tracer else { continue }
      found += 1
      // A zombie without a waiter, at most.
      while PoolSays.isRunning(tracer) { try await Task.sleep(for: .milliseconds(1)) }
    }
    let path = ChildWork.variable("SWIFT_BACKTRACE_TESTED") ?? ""
    #expect(found > 0 || path.isEmpty, "no backtrace was met in the middle")
  }
}

private enum PoolSays {
  static func line(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    _ = unsafe write(STDERR_FILENO, bytes, bytes.count)
  }

  private static func text(_ path: String) -> String {
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    return file < 0 ? "" : ChildWork.readAll(file)
  }

  static func backtracer(of pid: Int32) -> Int32? {
    text("/proc/\(pid)/task/\(pid)/children").split(separator: " ").compactMap { Int32($0) }
      .first { text("/proc/\($0)/comm") == "swift-backtrace\n" }
  }

  static func isRunning(_ pid: Int32) -> Bool {
    let stat = text("/proc/\(pid)/stat")
    return stat.contains("(swift-backtrace) ") && !stat.contains(") Z ")
  }
}
