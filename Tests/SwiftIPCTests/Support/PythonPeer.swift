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

  /// Waits for its end, which is to be a good one.
  func finish(_ comment: String = "") throws {
    control.close()
    let result = try process.finish()
    #expect(
      result.exitCode == 0, "\(comment): signal \(result.signal ?? 0): \(result.errorText)")
  }
}
