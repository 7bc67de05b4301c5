// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  static let roundTrips = [
    roundTrip("one core", .oneCore, .atMost(1.1), roundTrips),
    // A wake-up on another core takes 30 to 80 µs on a virtual machine and hides the rest.
    roundTrip("two cores", .twoCores, nil, roundTrips),
    // The floor has one buffer; a new array costs malloc and free on either side.
    roundTrip("one core, each into a new array", .oneCore, nil, arrayRoundTrips),
  ]

  private static func roundTrip(
    _ how: String, _ placement: Placement, _ target: Target?,
    _ ours: @escaping @Sendable (Int32) throws -> (Int) throws -> Void
  ) -> Contest {
    Contest(
      name: "64-byte round trip, \(how)",
      floorName: "write, read: socketpair",
      target: target,
      placement: placement,
      pythonJob: "round-trip"
    ) { cores in
      let core = cores.peer(for: placement)
      let peer = RawPeer(.echo, size: 64, core: core)
      let buffer = floor_memory_create(64)
      return Sides(
        ours: try ours(core),
        floor: { floor_round_trips(peer.descriptor, buffer, 64, $0) })
    }
  }

  @Sendable private static func roundTrips(with core: Int32) throws -> (Int) throws -> Void {
    let peer = try ConnectedPeer(.echo, size: 64, core: core)
    let buffer = UnsafeMutableRawBufferPointer(start: floor_memory_create(64), count: 64)
    return {
      for _ in 0..<$0 {
        try peer.connection.send(bytes: buffer.bytes)
        keep(try peer.connection.receiveBytes(into: buffer))
      }
    }
  }

  @Sendable private static func arrayRoundTrips(with core: Int32) throws -> (Int) throws -> Void {
    let peer = try ConnectedPeer(.arrayEcho, core: core)
    let payload = [UInt8](repeating: 7, count: 64)
    return {
      for _ in 0..<$0 {
        try peer.connection.send(bytes: payload)
        keep(try peer.connection.receiveBytes())
      }
    }
  }

  static let typedRoundTrip = Contest(
    name: "[42, nil, \"hello\"] round trip, one core",
    floorName: "our 64-byte round trip",
    target: .atMost(1.3),
    pythonJob: "typed-round-trip"
  ) { cores in
    let peer = try ConnectedPeer(.messageEcho, core: cores.main)
    return Sides(
      ours: {
        for _ in 0..<$0 {
          try peer.connection.send([42, nil, "hello"] as MessageValue)
          keep(try peer.connection.receive())
        }
      },
      floor: try roundTrips(with: cores.main))
  }

  static let mebibytes = [
    mebibytes("one core", .sink, .oneCore, .atLeast(0.95)),
    mebibytes("two cores", .sink, .twoCores, .atLeast(0.95)),
    // A fresh array for each message means fresh pages from the kernel for each message.
    mebibytes("one core, each into a new array", .arraySink, .oneCore, nil),
  ]

  /// One way; each message is answered by a byte, and the answers of a batch are read at its end.
  private static func mebibytes(
    _ how: String, _ job: ConnectedPeer.Job, _ placement: Placement, _ target: Target?
  ) -> Contest {
    let size = 1 << 20
    return Contest(
      name: "1 MiB messages, \(how)",
      floorName: "write, read: socketpair",
      target: target,
      unit: .throughput(bytes: size),
      placement: placement,
      pythonJob: "mebibyte-messages"
    ) { cores in
      let core = cores.peer(for: placement)
      let peer = try ConnectedPeer(job, size: size, core: core)
      let rawPeer = RawPeer(.sink, size: size, core: core)
      // One payload for both, so that both read the same pages.
      let payload = UnsafeMutableRawBufferPointer(start: floor_memory_create(size), count: size)
      return Sides(
        ours: {
          for _ in 0..<$0 { try peer.connection.send(bytes: payload.bytes) }
          for _ in 0..<$0 { keep(try peer.connection.receiveBytes()) }
        },
        floor: { floor_messages(rawPeer.descriptor, payload.baseAddress, size, $0) })
    }
  }
}
