// SPDX-License-Identifier: Apache-2.0
import CFloors
import SwiftIPC

extension Contest {
  private static let pair = "sem_wait, sem_post: process-shared sem_t"

  static let semaphores: [Contest] = [
    Contest(
      name: "SharedSemaphore.withPermit, uncontended", floorName: pair, target: .atMost(1.5),
      pythonJob: "semaphore"
    ) { _ in
      let semaphore = try SharedSemaphore(value: 4)
      let native = floor_semaphore_create(4)
      return Sides(
        ours: { for _ in 0..<$0 { try semaphore.withPermit {} } },
        floor: { floor_semaphore_pairs(native, $0) })
    },
    Contest(name: "SharedSemaphore.acquire, Permit.release", floorName: pair) { _ in
      let semaphore = try SharedSemaphore(value: 4)
      let native = floor_semaphore_create(4)
      return Sides(
        ours: { for _ in 0..<$0 { try semaphore.acquire().release() } },
        floor: { floor_semaphore_pairs(native, $0) })
    },
    Contest(
      name: "SharedSemaphore.Unowned.acquire, release", floorName: pair, target: .atMost(1.5),
      pythonJob: "signals"
    ) { _ in
      let semaphore = try SharedSemaphore.Unowned(value: 1)
      let native = floor_semaphore_create(1)
      return Sides(
        ours: {
          for _ in 0..<$0 {
            try semaphore.acquire()
            try semaphore.release()
          }
        },
        floor: { floor_semaphore_pairs(native, $0) })
    },
  ]

  static let events: [Contest] = [
    Contest(
      name: "Event.isSet (target: 1.5 ns)", floorName: "acquire load", pythonJob: "event-check"
    ) { _ in
      let event = try Event()
      let word = floor_memory_create(4)!.assumingMemoryBound(to: UInt32.self)
      return Sides(
        ours: {
          var set = 0
          for _ in 0..<$0 { set &+= event.isSet ? 1 : 0 }
          keep(set)
        },
        floor: { keep(floor_loads(word, $0)) })
    },
    Contest(
      name: "Event.set, clear, nobody waiting", floorName: "two __atomic_fetch_add",
      pythonJob: "event-set-clear"
    ) { _ in
      let event = try Event()
      let word = floor_memory_create(8)!.assumingMemoryBound(to: UInt64.self)
      return Sides(
        ours: {
          for _ in 0..<$0 {
            event.set()
            event.clear()
          }
        },
        floor: { floor_atomic_adds(word, 2 * $0) })
    },
  ]
}
