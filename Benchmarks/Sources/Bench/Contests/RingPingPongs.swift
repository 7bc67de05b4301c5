// SPDX-License-Identifier: Apache-2.0
import CFloors
import CRings

extension Contest {
  /// Two processes that take turns, by a ring there and a ring back.
  static let ringPingPongs = [("MPMC", RINGS_MPMC), ("SPSC", RINGS_SPSC)].flatMap { name, kind in
    [
      pingPong("\(name) rings, one core", kind, .oneCore, .atMost(1.15), wakers),
      pingPong("\(name) rings, two cores", kind, .twoCores, .atMost(0.1), [wakers[0]]),
      pingPong("\(name) rings, unpinned", kind, .anywhere, nil, wakers),
      spinning("\(name) rings, two cores, spinning", kind, .twoCores, .atMost(2.5)),
      spinning("\(name) rings, unpinned, spinning", kind, .anywhere, nil),
    ]
  }

  /// What can wake a process. The first is that of the two cores.
  private static let wakers = [
    ("futex", FLOOR_FUTEX), ("eventfd", FLOOR_EVENTFD), ("pipe", FLOOR_PIPE),
  ]

  private static func pingPong(
    _ what: String, _ kind: rings_kind_t, _ placement: Placement, _ target: Target?,
    _ floors: [(String, floor_waker_t)]
  ) -> Contest {
    Contest(
      name: "ping-pong, \(what)",
      floorName: "ping-pong on a \(floors[0].0)",
      target: target,
      placement: placement
    ) { cores in
      let core = cores.peer(for: placement)
      return Sides(
        ours: Pair(rings_ping_pong_create(core, kind, RINGS_ADAPTIVE)).job(),
        floors: floors.map { name, waker in
          Pair(floor_ping_pong_create(core, waker)).job(name)
        })
    }
  }

  private static func spinning(
    _ what: String, _ kind: rings_kind_t, _ placement: Placement, _ target: Target?
  ) -> Contest {
    Contest(
      name: "ping-pong, \(what)",
      floorName: "a cache line each",
      target: target,
      placement: placement,
      timing: Timing(batch: 100e3)
    ) { cores in
      let core = cores.peer(for: placement)
      return Sides(
        ours: Pair(rings_ping_pong_create(core, kind, RINGS_SPINNING)).job(),
        floors: [Pair(floor_lines_create(core)).job()])
    }
  }
}
