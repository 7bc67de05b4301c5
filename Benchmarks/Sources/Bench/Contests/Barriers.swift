// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  static let barriers = [
    // One of the two is the last and does not sleep: half of a ping-pong.
    barrier("one core", .oneCore, .atMost(0.7)),
    // A wake-up on another core takes 30 to 80 µs on a virtual machine and hides the rest.
    barrier("two cores", .twoCores, nil),
  ]

  private static func barrier(
    _ how: String, _ placement: Placement, _ target: Target?
  ) -> Contest {
    Contest(
      name: "Barrier round of two, \(how)",
      floorName: "ping-pong on a futex",
      target: target,
      placement: placement,
      pythonJob: "barrier"
    ) { cores in
      let core = cores.peer(for: placement)
      let peer = try BarrierPeer(core: core)
      let game = Pair(floor_ping_pong_create(core, FLOOR_FUTEX))
      return Sides(
        ours: { for _ in 0..<$0 { try peer.barrier.wait() } },
        floor: game.run)
    }
  }
}

/// A child that is the other party.
private final class BarrierPeer {
  let barrier: Barrier
  private let child: ChildProcess<Void>

  init(core: Int32) throws {
    barrier = try Barrier(parties: 2)
    child = try ChildProcess.start(barrier, core) { barrier, core in
      floor_pin(core)
      do {
        while true { try barrier.wait() }
      } catch let error as IPCError where error.code == .broken {}
    }
  }

  deinit {
    try? barrier.abort()
    // A peer that failed has said so on standard error.
    _ = try? child.join()
  }
}
