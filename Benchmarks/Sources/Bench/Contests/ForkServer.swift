// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  static let forkServer = [
    forkServer("ChildProcess.start, join: forkServer", .anywhere),
    forkServer("ChildProcess.start, join: forkServer, one core", .oneCore),
  ]

  private static func forkServer(_ name: String, _ placement: Placement) -> Contest {
    Contest(
      name: name,
      floorName: "a bare fork server in C: asked, fork, _exit, waitpid, status back",
      target: .atMost(1.3),
      placement: placement,
      pythonJob: "forkserver",
      otherPythonJobs: ["fork", "spawn", "forkserver"]
    ) { cores in
      let bare = RawPeer(.forkServer, core: placement == .anywhere ? -1 : cores.main)
      let options = ChildProcessOptions(method: .forkServer)
      try ChildProcess.start(options: options) {}.join()
      // The server stays where the first start was, and serves both contests.
      floor_pin_children()
      return Sides(
        ours: { for _ in 0..<$0 { try ChildProcess.start(options: options) {}.join() } },
        floor: { floor_server_starts(bare.descriptor, $0) })
    }
  }
}
