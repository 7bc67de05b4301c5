// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftIPC

/// A shared library whose functions run in children.

public struct Doubling: ProcessTask {
  var number: Int
  public func run() -> Int { number * 2 }
}

private struct Hidden: Codable, Sendable { var number: Int }

/// The same by a closure, by a task that has a name, and by a closure with an argument of a private
/// type; and the fork server's number, where there is one.
public func double(_ number: Int, fromServer: Bool) -> [String] {
  let options = ChildProcessOptions(method: fromServer ? .forkServer : .spawn)
  return [
    text { try ChildProcess.start(number, options: options) { $0 * 2 }.value(timeout: nil) },
    text {
      try ChildProcess.start(task: Doubling(number: number), options: options).value(timeout: nil)
    },
    text {
      try ChildProcess.start(Hidden(number: number), options: options) { $0.number * 2 }
        .value(timeout: nil)
    },
  ]
}

/// Ends the fork server that the next child would come from.
public func killServer() {
  let options = ChildProcessOptions(method: .forkServer)
  if let child = try? ChildProcess.start(options: options, body: { getppid() }),
    let server = try? child.value(timeout: nil)
  {
    kill(server, SIGKILL)
  }
}

private func text(_ body: () throws -> Int) -> String {
  do { return "\(try body())" } catch { return "\(error)" }
}

// For programs that are not Swift's.

@_cdecl("tasks_bootstrap")
public func tasksBootstrap() { bootstrap() }

@_cdecl("tasks_double")
public func tasksDouble(_ number: Int32) {
  // One write, since the output is buffered once more in the program.
  let line = double(Int(number), fromServer: false)[0] + "\n"
  _ = line.withCString { unsafe write(1, $0, strlen($0)) }
}
