// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  /// Without a target: what a fork of this program costs, for the lines of the fork server.
  static let fork = Contest(
    name: "ChildProcess.start, join: fork",
    floorName: "fork, _exit, waitpid",
    placement: .anywhere,
    pythonJob: "fork",
    otherPythonJobs: ["fork"]
  ) { _ in
    let options = ChildProcessOptions(method: .fork)
    return Sides(
      ours: { for _ in 0..<$0 { try ChildProcess.start(options: options) {}.join() } },
      floor: { floor_forks($0) })
  }
}
