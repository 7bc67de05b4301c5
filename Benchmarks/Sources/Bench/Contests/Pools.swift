// SPDX-License-Identifier: Apache-2.0
import CFloors
internal import Glibc
import SwiftIPC

extension Contest {
  static let pools = [
    poolApply, poolMapSingly, poolMapIntegers, poolMapArray, poolFromNothing, poolCPUBound,
  ]

  private static let poolApply = Contest(
    name: "ProcessPool.apply: an integer there and back, two cores",
    floorName: "ping-pong on a futex",
    target: .atMost(0.5),
    placement: .twoCores,
    pythonJob: "pool-apply",
    otherPythonJobs: ["pool-apply", "executor-apply"]
  ) { cores in
    let core = cores.peer(for: .twoCores)
    let pool = try ProcessPool(workers: 1, options: .init(processors: [Int(core)]))
    let game = Pair(floor_ping_pong_create(core, FLOOR_FUTEX))
    return Sides(
      ours: { for number in 0..<$0 { _ = try pool.apply(number) { $0 } } },
      floor: game.run)
  }

  private static let poolMapSingly = Contest(
    name: "ProcessPool.map, 1,000 tasks in chunks of 1, a worker on another core",
    placement: .twoCores,
    pythonJob: "pool-map-singly",
    otherPythonJobs: ["pool-map-singly", "executor-map-singly"]
  ) { cores in
    let core = cores.peer(for: .twoCores)
    let pool = try ProcessPool(workers: 1, options: .init(processors: [Int(core)]))
    return Sides(
      ours: { for _ in 0..<$0 { _ = try pool.map(0..<1000, chunkSize: 1) { $0 &+ 1 } } })
  }

  private static let poolMapIntegers = Contest(
    name: "ProcessPool(workers: 2).map, a million integers",
    placement: .anywhere,
    pythonJob: "pool-map-million",
    otherPythonJobs: ["pool-map-million", "executor-map-million"]
  ) { _ in
    let pool = try ProcessPool(workers: 2)
    let numbers = Array(0..<1_000_000)
    return Sides(ours: { for _ in 0..<$0 { _ = try pool.map(numbers) { $0 &+ 1 } } })
  }

  private static let poolMapArray = Contest(
    name: "ProcessPool(workers: 2).map, 256 MiB of integers in chunks of 1 MiB, summed",
    floorName: "memcpy of 256 MiB",
    target: .atLeast(0.7),
    unit: .throughput(bytes: 256 << 20),
    placement: .anywhere,
    pythonJob: "pool-map-array"
  ) { _ in
    let pool = try ProcessPool(workers: 2)
    let chunk = [Int32](repeating: 1, count: 1 << 18)
    let chunks = Array(repeating: chunk, count: 256)
    let source = floor_memory_create(256 << 20)
    let target = floor_memory_create(256 << 20)
    return Sides(
      ours: { for _ in 0..<$0 { _ = try pool.map(chunks) { $0.reduce(0, &+) } } },
      floor: { for _ in 0..<$0 { floor_copy(target, source, 256 << 20) } })
  }

  private static let poolFromNothing = Contest(
    name: "ProcessPool(workers: 2): made, one task, closed, joined",
    placement: .anywhere,
    pythonJob: "pool-from-nothing",
    otherPythonJobs: ["pool-from-nothing"]
  ) { _ in
    // The fork server is there from the first pool of a program on.
    let first = try ProcessPool(workers: 1)
    first.terminate()
    floor_pin_children()
    return Sides(
      ours: {
        for number in 0..<$0 {
          let pool = try ProcessPool(workers: 2)
          _ = try pool.apply(number) { $0 }
          pool.close()
          _ = try pool.join()
        }
      })
  }

  private static let poolCPUBound = Contest(
    name: "ProcessPool(workers: 2): counting primes in 64 tasks",
    floorName: "the same by this process alone",
    target: .atMost(1 / 1.9),
    placement: .anywhere
  ) { _ in
    let pool = try ProcessPool(workers: 2)
    return Sides(
      ours: { for _ in 0..<$0 { keep(try pool.map(0..<64) { Primes.count(from: $0, step: 64) }) } },
      floor: { for _ in 0..<$0 { keep((0..<64).map { Primes.count(from: $0, step: 64) }) } })
  }
}

enum Primes {
  static func count(from first: Int, step: Int) -> Int {
    var count = 0
    for candidate in stride(from: first, to: 100_000, by: step) where candidate > 1 {
      var divisor = 2
      while divisor * divisor <= candidate, candidate % divisor != 0 { divisor += 1 }
      if divisor * divisor > candidate { count += 1 }
    }
    return count
  }
}
