// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  /// For information: a mutex is taken twice on either side of each wake-up.
  static let conditions = [
    condition("one core", .oneCore),
    condition("two cores", .twoCores),
  ]

  private static func condition(_ how: String, _ placement: Placement) -> Contest {
    Contest(
      name: "Condition ping-pong, \(how)",
      floorName: "ping-pong on a futex",
      placement: placement,
      pythonJob: "condition"
    ) { cores in
      let core = cores.peer(for: placement)
      let peer = try ConditionPeer(core: core)
      let game = Pair(floor_ping_pong_create(core, FLOOR_FUTEX))
      return Sides(
        ours: { try peer.rounds($0) },
        floor: game.run)
    }
  }
}

/// A child that takes turns with us.
private final class ConditionPeer {
  enum Turn: Int { case ours, peers, over }

  private let condition: Condition
  private let turn: SharedAtomic<Int>
  private let child: ChildProcess<Void>

  init(core: Int32) throws {
    condition = try Condition()
    turn = try SharedAtomic(Turn.ours.rawValue)
    child = try ChildProcess.start(condition, turn, core) { condition, turn, core in
      floor_pin(core)
      try condition.withLock {
        while true {
          try condition.wait { turn.load() != Turn.ours.rawValue }
          if turn.load() == Turn.over.rawValue { return }
          turn.store(Turn.ours.rawValue)
          try condition.notify()
        }
      }
    }
  }

  func rounds(_ count: Int) throws {
    try condition.withLock {
      for _ in 0..<count {
        turn.store(Turn.peers.rawValue)
        try condition.notify()
        try condition.wait { turn.load() == Turn.ours.rawValue }
      }
    }
  }

  deinit {
    try? condition.withLock {
      turn.store(Turn.over.rawValue)
      try condition.notify()
    }
    // A peer that failed has said so on standard error.
    _ = try? child.join()
  }
}
