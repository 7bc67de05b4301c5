// SPDX-License-Identifier: Apache-2.0
import Glibc
import SwiftIPC
import Testing

/// A Python program that has a connection to the test as its descriptor 3.
final class PythonPeer {
  let process: PythonProcess
  let control: Connection

  /// Runs a program given as text, or a script of `Tests/Python`.
  init(
    _ python: PythonInterpreter, program: String? = nil, script: String? = nil,
    _ arguments: [String] = [], maximum: Int = 200 << 20
  ) throws {
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    precondition(unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0)
    defer { close(ends[1]) }
    control = try Connection(adopting: ends[0], maximumMessageSize: maximum)
    var command = ["-B"]
    if let program { command += ["-c", program] }
    if let script { command.append(PythonInterpreter.script(script)) }
    process = try PythonProcess(python.path, command + arguments, inheriting: [3: ends[1]])
  }

  /// Waits for its end, which is to be a good one. On a thread of its own: tasks that others wait for
  /// have few.
  func finish(_ comment: String = "") async throws {
    control.close()
    nonisolated(unsafe) let process = process
    let result = try await withCheckedThrowingContinuation { continuation in
      _ = InThread { continuation.resume(with: Result { try unsafe process.finish() }) }
    }
    check(result, comment)
  }

  /// The same for tests that are not asynchronous.
  func finishBlocking(_ comment: String = "") throws {
    control.close()
    check(try process.finish(), comment)
  }

  private func check(_ result: PythonProcess.Result, _ comment: String) {
    #expect(
      result.exitCode == 0, "\(comment): signal \(result.signal ?? 0): \(result.errorText)")
  }
}
