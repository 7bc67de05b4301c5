// SPDX-License-Identifier: Apache-2.0
import CFloors
import CRings
internal import Glibc

extension Contest {
  /// How often a waiter that is not served wakes up to look for the dead.
  static let ringWaiters = wakeUps("MPMC and SPSC rings, get and put") {
    let waiters = [
      Pair(rings_waiter_create(-1, RINGS_MPMC, RINGS_WAITS_FOR_RECORD)),
      Pair(rings_waiter_create(-1, RINGS_SPSC, RINGS_WAITS_FOR_RECORD)),
      Pair(rings_waiter_create(-1, RINGS_MPMC, RINGS_WAITS_FOR_ROOM)),
    ]
    return (waiters, waiters.map { floor_pair_peer($0.handle) })
  }

  /// Counts how often each of some processes goes to sleep again within two seconds. They live as long
  /// as the first of what is made.
  static func wakeUps(
    _ what: String, of make: @escaping @Sendable () throws -> (Any, [pid_t])
  ) -> Contest {
    Contest(
      name: "wake-ups of a waiter, \(what)",
      bound: .count(5),
      unit: .perSecond,
      placement: .anywhere
    ) { _ in
      Sides(counting: {
        let (waiters, processes) = try make()
        return withExtendedLifetime(waiters) { sleeps(of: processes) }
      })
    }
  }

  private static func sleeps(of processes: [pid_t]) -> [Double] {
    // Until each of them waits, and has stopped to spin.
    sleep(1)
    let start = floor_now()
    let before = processes.map { floor_sleeps_of($0) }
    sleep(2)
    let after = processes.map { floor_sleeps_of($0) }
    let time = Double(floor_now() - start) / 1e9
    return zip(before, after).map { Double($1 - $0) / time }
  }
}
