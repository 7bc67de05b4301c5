// SPDX-License-Identifier: Apache-2.0
import CFloors
internal import Glibc
import SwiftIPC

/// A Python at the other end of a connection: `multiprocessing.connection.Connection(3)`, which sends
/// back what it receives.
final class PythonPeer {
  let connection: Connection
  private let process: pid_t

  init(core: Int32) throws {
    var ends: [Int32] = [-1, -1]
    floor_socketpair(&ends)
    process = RawPeer.start(
      program: "python3", [Python.script, "echo-on-3", "--core", "\(core)"], descriptor: ends[1])
    close(ends[1])
    connection = try Connection(adopting: ends[0])
  }

  deinit {
    connection.close()
    floor_wait(process)
  }
}
