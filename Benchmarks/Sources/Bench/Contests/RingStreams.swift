// SPDX-License-Identifier: Apache-2.0
import CFloors
import CRings

#if BOOST
  import CBoost
#endif

extension Contest {
  /// One process puts records of 64 bytes into a ring and another gets them.
  static let ringStreams = [("two cores", Placement.twoCores), ("unpinned", .anywhere)]
    .flatMap { how, placement in
      [
        special("batches of 64", how, placement, batch: 64, bound: 80e6),
        special("one by one", how, placement, batch: 1, bound: 50e6),
        general("one by one", how, placement, capacity: 1 << 16, boost, bound: 25e6),
        general("1 GiB, one by one", how, placement, capacity: 0, nil, bound: nil),
        general("beside ZeroMQ", how, placement, capacity: 1 << 16, zeroMQ, bound: nil),
      ]
    }

  private static func special(
    _ what: String, _ how: String, _ placement: Placement, batch: Int, bound: Double
  ) -> Contest {
    Contest(
      name: "64-byte records, SPSC ring, \(what), \(how)",
      floorName: "a bare ring of slots",
      bound: .rate(bound),
      unit: .rate,
      placement: placement,
      timing: .stream
    ) { cores in
      let core = cores.peer(for: placement)
      return Sides(
        ours: Pair(rings_stream_create(core, RINGS_SPSC, batch, 0)).job(),
        floors: [Pair(floor_slots_create(core, batch)).job()])
    }
  }

  /// Another library's queue.
  private struct Other {
    var name: String
    var target: Target?
    /// nil where it is not installed; the name says so then.
    var make: (@Sendable (Int32) -> OpaquePointer)?
  }

  private static func general(
    _ what: String, _ how: String, _ placement: Placement, capacity: Int, _ other: Other?,
    bound: Double?
  ) -> Contest {
    let make = other?.make
    return Contest(
      name: "64-byte records, MPMC ring, \(what), \(how)",
      floorName: other?.name ?? "",
      target: other?.target,
      bound: bound.map { .rate($0) },
      unit: .rate,
      placement: placement,
      timing: .stream
    ) { cores in
      let core = cores.peer(for: placement)
      return Sides(
        ours: Pair(rings_stream_create(core, RINGS_MPMC, 1, capacity)).job(),
        floors: make.map { [Pair($0(core)).job()] } ?? [])
    }
  }

  #if BOOST
    private static let boost = Other(
      name: "Boost.Interprocess message_queue of 1024", target: .atLeast(1.5),
      make: { boost_queue_create($0) })
  #else
    private static let boost = Other(
      name: "Boost.Interprocess left out: libboost-dev was not found")
  #endif

  /// For information.
  private static let zeroMQ =
    if let reason = floor_zeromq_missing() {
      Other(name: "ZeroMQ left out: \(String(cString: reason))")
    } else {
      Other(name: "ZeroMQ, PUSH and PULL, ipc://", make: { floor_zeromq_create($0) })
    }
}
