// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  static let valueRead = Contest(
    name: "Value<Int>.value",
    floorName: "lock, unlock: robust pthread mutex",
    target: .atMost(0.15),
    pythonJob: "value-read"
  ) { _ in
    let value = try Value(1)
    let mutex = floor_mutex_create()
    return Sides(
      ours: {
        var sum = 0
        for _ in 0..<$0 { sum &+= value.value }
        keep(sum)
      },
      floor: { floor_mutex_pairs(mutex, $0) })
  }

  static let valueUpdate = Contest(
    name: "Value<Int>.withLock { $0 += 1 }",
    floorName: "lock, unlock: robust pthread mutex",
    target: .atMost(1.6),
    pythonJob: "value-update"
  ) { _ in
    let value = try Value(0)
    let mutex = floor_mutex_create()
    return Sides(
      ours: { for _ in 0..<$0 { try value.withLock { $0 += 1 } } },
      floor: { floor_mutex_pairs(mutex, $0) })
  }

  static let atomicAdd = Contest(
    name: "SharedAtomic<Int>.add(1)",
    floorName: "__atomic_fetch_add"
  ) { _ in
    let number = try SharedAtomic(0)
    let word = floor_memory_create(8)!.assumingMemoryBound(to: UInt64.self)
    return Sides(
      ours: { for _ in 0..<$0 { number.add(1) } },
      floor: { floor_atomic_adds(word, $0) })
  }
}
