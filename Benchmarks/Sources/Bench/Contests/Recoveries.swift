// SPDX-License-Identifier: Apache-2.0
import CFloors
import Dispatch
internal import Glibc
import SwiftIPC

extension Contest {
  /// From the kill of a holder until the next owner runs.
  static let recoveries = [
    recovery("Lock, killed holder", p99: 5e6) {
      let lock = try Lock()
      return Sides(
        victim: Victim(parentWaits: true) { ready in
          try ChildProcess.start(lock, ready) { lock, ready in
            try lock.withLock {
              try Victim.holdUntilKilled(ready)
            } recovering: {
            }
          }
        },
        takeOver: {
          try lock.withLock {
          } recovering: {
          }
        })
    },
    permit("SharedSemaphore, killed holder, its parent waits", p99: 5e6, parentWaits: true),
    permit("SharedSemaphore, killed holder, nobody waits for it", p99: 210e6, parentWaits: false),
  ]

  private static func permit(_ name: String, p99: Double, parentWaits: Bool) -> Contest {
    recovery(name, p99: p99) {
      let semaphore = try SharedSemaphore(value: 1)
      return Sides(
        victim: Victim(parentWaits: parentWaits) { ready in
          try ChildProcess.start(semaphore, ready) { semaphore, ready in
            try semaphore.withPermit { try Victim.holdUntilKilled(ready) }
          }
        },
        takeOver: { try semaphore.withPermit {} })
    }
  }

  private static func recovery(
    _ name: String, p99: Double, _ prepare: @escaping @Sendable () throws -> Sides
  ) -> Contest {
    Contest(name: name, bound: .p99(p99), placement: .anywhere, timing: .single) { _ in
      try prepare()
    }
  }
}

extension Contest.Sides {
  fileprivate init(victim: Victim, takeOver: @escaping () throws -> Void) {
    self.init(
      before: { try victim.start() },
      ours: { _ in
        try victim.kill()
        try takeOver()
      })
  }
}

/// A child that holds something and is killed.
private final class Victim {
  /// What it touches before that.
  private static let memory = 16 << 20

  private let parentWaits: Bool
  private let begin: (Connection) throws -> ChildProcess<Void>
  private var child: ChildProcess<Void>?
  private let waiting = DispatchGroup()

  init(parentWaits: Bool, begin: @escaping (Connection) throws -> ChildProcess<Void>) {
    (self.parentWaits, self.begin) = (parentWaits, begin)
  }

  deinit { try? end() }

  /// Starts one that holds it, once the one before is gone.
  func start() throws {
    try end()
    let (ours, theirs) = try Connection.pair()
    let child = try begin(theirs)
    _ = try ours.receiveBytes()
    self.child = child
    if parentWaits {
      DispatchQueue.global().async(group: waiting) { _ = try? child.join() }
    }
  }

  func kill() throws { try child?.kill() }

  private func end() throws {
    try child?.kill()
    try child?.join()
    waiting.wait()
  }

  /// What the child does with it in its hands.
  static func holdUntilKilled(_ ready: Connection) throws {
    floor_memory_touch(memory)
    try ready.send(bytes: [])
    while true { pause() }
  }
}
