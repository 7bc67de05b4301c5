// SPDX-License-Identifier: Apache-2.0
import CFloors
internal import Glibc
import SwiftIPC

extension Contest {
  static let spawn = Contest(
    name: "ChildProcess.start, join: spawn",
    floorName: "posix_spawn, waitpid: this program, ending where main begins",
    target: .atMost(1.2),
    placement: .anywhere,
    pythonJob: "spawn",
    otherPythonJobs: ["fork", "spawn", "forkserver"]
  ) { _ in
    Sides(
      ours: { for _ in 0..<$0 { try ChildProcess.start {}.join() } },
      floor: { for _ in 0..<$0 { floor_wait(RawPeer.start([Bench.nothing])) } })
  }
}
