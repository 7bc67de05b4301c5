// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  static let lock = Contest(
    name: "Lock.withLock, uncontended",
    floorName: "lock, unlock: robust pthread mutex",
    target: .atMost(1.15),
    pythonJob: "lock"
  ) { _ in
    let lock = try Lock()
    let mutex = floor_mutex_create()
    return Sides(
      ours: { for _ in 0..<$0 { try lock.withLock {} } },
      floor: { floor_mutex_pairs(mutex, $0) })
  }
}
