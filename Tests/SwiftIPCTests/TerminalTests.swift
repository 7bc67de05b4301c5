// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import Testing

@testable import MessageCoding
@testable import SwiftIPC

/// Programs at a terminal on which Ctrl-C is typed.
@Suite struct TerminalTests {
  /// A terminal, and a session at it that runs a program.
  final class Terminal: Sendable {
    let master: Int32
    let path: String

    init() {
      var path = [CChar](repeating: 0, count: 64)
      master = unsafe test_terminal(&path, path.count)
      precondition(master >= 0)
      self.path = String(
        decoding: path.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { close(master) }

    func typeControlC() {
      precondition(unsafe write(master, "\u{3}", 1) == 1)
    }

    /// All that was shown, once no process has the terminal open any more.
    func shown() -> String {
      var text: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 4096)
      while true {
        let count = unsafe read(master, &buffer, buffer.count)
        if count <= 0 { return String(decoding: text, as: UTF8.self) }
        text += buffer[..<count]
      }
    }
  }

  @Test(.timeLimit(.minutes(5)), arguments: ChildWork.methods)
  func controlCEndsParentAndChildrenOnceAndQuietly(_ method: StartMethod) async throws {
    let terminal = Terminal()
    let (ours, theirs) = try Connection.pair()
    let session = try ChildProcess.start(terminal.path, theirs, Ordinal(of: method)) {
      path, connection, ordinal in
      precondition(unsafe test_lead_session(path) == 0)
      let program = try ChildProcess.start(connection, ordinal) { connection, ordinal in
        let options = ChildProcessOptions(method: ordinal.method)
        let daemon = ChildProcessOptions(daemon: true, method: ordinal.method)
        for options in [options, options, daemon] {
          try startWaiting(withChild: !options.daemon, options)
        }
        try connection.send("ready")
        // In a wait, like most programs.
        _ = try CurrentProcess.activeChildren[0].join()
      }
      let status = try program.join()
      // Orphans fall to this process, all that are left: the last one ends this loop.
      var others: [Int32] = []
      var status32: Int32 = 0
      while unsafe waitpid(-1, &status32, 0) > 0 || errno == EINTR { others.append(status32) }
      return (status == .signalled(SIGINT) ? [SIGINT] : []) + others
    }
    #expect(try await ours.receive(String.self) == "ready")
    terminal.typeControlC()
    var statuses = try await session.value
    #expect(statuses.removeFirst() == SIGINT)
    if method == .forkServer {
      // Servers have the statuses of their children, unless they end first, as they do with their
      // parents: by themselves or by the kernel's hand.
      #expect(statuses.allSatisfy { [0, SIGINT, SIGKILL].contains($0) })
    } else {
      #expect(statuses.count <= 5)
      // A daemon's parent is gone the moment that the signal comes, which may be first to kill it.
      #expect(statuses.allSatisfy { [SIGINT, SIGKILL].contains($0) })
      #expect(statuses.filter { $0 == SIGKILL }.count <= 1)
    }
    #expect(terminal.shown() == "^C")
  }

  @Test(.timeLimit(.minutes(5)), arguments: StartMethodTests.fromHere)
  func aProgramThatHandlesControlCFindsItsChildrenInterrupted(_ method: StartMethod) async throws {
    let terminal = Terminal()
    let (ours, theirs) = try Connection.pair()
    let session = try ChildProcess.start(terminal.path, theirs, Ordinal(of: method)) {
      path, connection, ordinal in
      precondition(unsafe test_lead_session(path) == 0)
      let options = ChildProcessOptions(method: ordinal.method)
      let children = try (0..<3).map { _ in try startWaiting(withChild: false, options) }
      var apart = options
      apart.newProcessGroup = true
      let other = try startWaiting(withChild: false, apart)
      try connection.send("ready")
      var report = try children.map { "\(try $0.join())" }
      // It can go on: what it starts from now on runs, from the server that it had.
      let parents = try (0..<2).map { _ in
        try ChildProcess.start(options: options) { getppid() }.value(timeout: nil)
      }
      report += ["\(other.isAlive)", "\(parents[0] == parents[1])"]
      try other.kill()
      return report
    }
    #expect(try await ours.receive(String.self) == "ready")
    terminal.typeControlC()
    let interrupted = "\(ExitStatus.signalled(SIGINT))"
    #expect(
      try await session.value == [interrupted, interrupted, interrupted, "true", "true"])
    try await session.join()
    #expect(terminal.shown() == "^C")
  }
}

/// Starts a child that waits for ever, perhaps with one of its own; returns when both do.
@discardableResult
private func startWaiting(
  withChild: Bool, _ options: ChildProcessOptions
) throws -> ChildProcess<Void> {
  let (mine, its) = try Connection.pair()
  let child = try ChildProcess.start(its, withChild, options: options) { connection, withChild in
    if withChild { try startWaiting(withChild: false, .init()) }
    try connection.send("ready")
    while true { pause() }
  }
  _ = try mine.receive(String.self)
  return child
}
