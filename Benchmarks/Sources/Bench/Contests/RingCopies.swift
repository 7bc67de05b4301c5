// SPDX-License-Identifier: Apache-2.0
import CFloors
import CRings

extension Contest {
  static let ringCopies = [("MPMC", RINGS_MPMC), ("SPSC", RINGS_SPSC)].flatMap { name, kind in
    [
      copies("\(name) ring of 4 MiB, two cores", kind, .twoCores),
      copies("\(name) ring of 4 MiB, unpinned", kind, .anywhere),
    ]
  }

  private static func copies(
    _ what: String, _ kind: rings_kind_t, _ placement: Placement
  ) -> Contest {
    let size = 1 << 20
    return Contest(
      name: "1 MiB records, \(what)",
      floorName: "the same copies, nobody waits",
      target: .atLeast(0.9),
      unit: .throughput(bytes: size),
      placement: placement,
      // Of a batch, one record is not copied in and out at the same time: some 100 make that little.
      timing: Timing(rounds: 15, turn: 30e6, batch: 10e6)
    ) { cores in
      let core = cores.peer(for: placement)
      return Sides(
        ours: Pair(rings_copies_create(core, kind, size, 4 << 20)).job(),
        // As many places as there are whole records in 4 MiB.
        floors: [Pair(floor_copies_create(core, size, 3)).job()])
    }
  }

  /// For information: what a record costs without another process.
  static let ringsAlone = [("MPMC", RINGS_MPMC), ("SPSC", RINGS_SPSC)].map { name, kind in
    Contest(
      name: "64-byte record, \(name) ring, put and get by one process",
      floorName: "lock, unlock: robust pthread mutex"
    ) { _ in
      let alone = Alone(kind)
      let mutex = floor_mutex_create()
      return Sides(
        ours: { rings_alone_pairs(alone.handle, $0) },
        floor: { floor_mutex_pairs(mutex, $0) })
    }
  }
}

private final class Alone {
  let handle: OpaquePointer

  init(_ kind: rings_kind_t) { handle = rings_alone_create(kind) }

  deinit { rings_alone_end(handle) }
}
