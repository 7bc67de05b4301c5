// SPDX-License-Identifier: Apache-2.0
import CFloors
import CRings
internal import Glibc
import SwiftIPC

extension Contest {
  /// One process puts numbers into a queue and another gets them.
  static let queueStreams = [("two cores", Placement.twoCores), ("unpinned", .anywhere)]
    .flatMap { how, placement in
      [
        stream("one by one", how, placement, .standard, .oneByOne, pythonTarget: 100),
        stream("one by one, at most 64 KiB", how, placement, .bytes(1 << 16), .oneByOne),
        stream("putMany and getMany", how, placement, .standard, .many),
      ]
    }

  private static func stream(
    _ what: String, _ how: String, _ placement: Placement, _ capacity: QueueCapacity,
    _ way: QueuePeer.Way, pythonTarget: Double? = nil
  ) -> Contest {
    Contest(
      name: "Queue<Int>, \(what), \(how)",
      floorName: "the same ring from C, one by one",
      pythonTarget: pythonTarget,
      unit: .rate,
      placement: placement,
      timing: .stream,
      pythonJob: "queue"
    ) { cores in
      let core = cores.peer(for: placement)
      let peer = try QueuePeer(capacity, way, core: core)
      let bytes = if case .bytes(let bytes) = capacity { bytes } else { 0 }
      return Sides(
        ours: Job(run: peer.stream),
        floors: [Pair(rings_numbers_create(core, RINGS_MPMC, bytes)).job()])
    }
  }

  /// For information: two processes that take turns, by a queue there and a queue back.
  static let queuePingPongs = [
    queuePingPong("one core", .oneCore),
    queuePingPong("two cores", .twoCores),
    queuePingPong("unpinned", .anywhere),
  ]

  private static func queuePingPong(_ how: String, _ placement: Placement) -> Contest {
    Contest(
      name: "Queue<Int> ping-pong, \(how)",
      floorName: "64-byte records by the same rings from C",
      placement: placement,
      pythonJob: "queue-ping-pong"
    ) { cores in
      let core = cores.peer(for: placement)
      let peer = try QueueEcho(core: core)
      return Sides(
        ours: Job(run: peer.rounds),
        floors: [Pair(rings_ping_pong_create(core, RINGS_MPMC, RINGS_ADAPTIVE)).job()])
    }
  }

  static let queueWaiters = [
    queueWaiter("Queue.get()") { queue in
      try ChildProcess.start(queue) { queue in _ = try queue.get() }
    },
    // Of all its threads: that which sleeps for tasks, and those on which the task looks.
    queueWaiter("await Queue.get()") { queue in
      try ChildProcess.start(queue) { queue in _ = try await queue.get() }
    },
  ]

  private static func queueWaiter(
    _ what: String, _ start: @escaping @Sendable (Queue<Int>) throws -> ChildProcess<Void>
  ) -> Contest {
    wakeUps(what) {
      let waiter = try QueueWaiter(start)
      return (waiter, [waiter.process])
    }
  }
}

/// A child that gets what this process puts.
private final class QueuePeer {
  enum Way: String, Codable { case oneByOne, many }

  private let numbers: Queue<Int>
  private let way: Way
  /// How many numbers were put.
  private var count = 0
  /// How many the child had got when it was told that a batch is over.
  private let gotten: SharedAtomic<Int>
  private let child: ChildProcess<Void>

  init(_ capacity: QueueCapacity, _ way: Way, core: Int32) throws {
    numbers = try Queue(capacity: capacity)
    self.way = way
    gotten = try SharedAtomic(0)
    child = try ChildProcess.start(numbers, way, gotten, core) { numbers, way, gotten, core in
      floor_pin(core)
      do {
        try QueuePeer.serve(numbers, way, gotten)
      } catch let error as IPCError where error.code == .finished {}
    }
  }

  deinit {
    numbers.finish()
    // A peer that failed has said so on standard error.
    _ = try? child.join()
  }

  /// Puts numbers and waits until the child has got them all.
  func stream(_ count: Int) throws {
    let last = self.count + count - 1
    switch way {
    case .oneByOne: for number in self.count..<last { try numbers.put(number) }
    case .many: try numbers.putMany(self.count..<last)
    }
    // The last of a batch, which the child tells us of.
    try numbers.put(~last)
    self.count += count
    var looks: UInt32 = 1
    while gotten.load() != self.count {
      floor_spin(looks)
      looks &+= 1
    }
  }

  private static func serve(_ numbers: Queue<Int>, _ way: Way, _ gotten: SharedAtomic<Int>) throws {
    var count = 0
    func take(_ number: Int) {
      guard max(number, ~number) == count else { fatalError("queue: \(number) after \(count)") }
      count += 1
      if number < 0 { gotten.store(count) }
    }
    while true {
      switch way {
      case .oneByOne: take(try numbers.get())
      case .many: for number in try numbers.getMany(upTo: 1024) { take(number) }
      }
    }
  }
}

/// A child that puts back what it gets.
private final class QueueEcho {
  private let there: Queue<Int>
  private let back: Queue<Int>
  private let child: ChildProcess<Void>

  init(core: Int32) throws {
    there = try Queue()
    back = try Queue()
    child = try ChildProcess.start(there, back, core) { there, back, core in
      floor_pin(core)
      do {
        while true { try back.put(try there.get()) }
      } catch let error as IPCError where error.code == .finished {}
    }
  }

  deinit {
    there.finish()
    _ = try? child.join()
  }

  func rounds(_ count: Int) throws {
    for number in 0..<count {
      try there.put(number)
      keep(try back.get())
    }
  }
}

/// A child that gets what is never put.
private final class QueueWaiter {
  private let numbers: Queue<Int>
  private let child: ChildProcess<Void>

  init(_ start: (Queue<Int>) throws -> ChildProcess<Void>) throws {
    numbers = try Queue()
    child = try start(numbers)
  }

  deinit {
    try? child.kill()
    _ = try? child.join()
  }

  var process: pid_t { child.pid }
}
