// SPDX-License-Identifier: Apache-2.0
import Middle
import SwiftIPC

/// What a user writes first: shared state, a lock and a child that uses both.
@main struct Consumer {
  struct Point: Sendable, BitwiseCopyable {
    var x = 1.0
    var y = 2.0
  }

  static func main() async throws {
    let point = try Value(Point())
    try point.withLock { $0.x += 10 }
    print(point.value.x, point.value.y)

    let hits = try SharedAtomic(40)
    hits.add(2)
    print(hits.load())

    let image = try SharedArray<Float>(shape: 2, 3, repeating: 0)
    image[1, 2] = 6
    print(Array(image))

    let lock = try Lock()
    print(try lock.withLock { "inside" })
    do {
      try lock.withLock { try lock.withLock { print("never") } }
    } catch let error as IPCError where error.code == .alreadyLocked {
      print("already locked")
    }

    let child = try ChildProcess.start(point, hits) { point, hits in
      try point.withLock { $0.y += 20 }
      return hits.add(58).newValue
    }
    print(try await child.value, point.value.y, hits.load())

    let tally = try Tally()
    try await ChildProcess.start(tally.count) { $0.add(7) }.join()
    print(tally.count.load())
  }
}
