// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Looks at held locks a second time. A lock does not say since when it is held: to write that down
/// would double what taking it costs. A process that is seen with it twice has had it for at least
/// that long.
struct LockWatch {
  private static let pause = 0.1
  private var held: [UInt64: Payload] = [:]

  mutating func note(_ inode: UInt64, _ payload: Payload) {
    if !ObjectState(payload).tenures.isEmpty { held[inode] = payload }
  }

  func lookAgain(_ reports: inout [SegmentReport]) {
    if held.isEmpty { return }
    usleep(UInt32(Self.pause * 1e6))
    for place in reports.indices {
      guard let payload = held[reports[place].inode] else { continue }
      let before = ObjectState(payload).tenures
      let now = Set(ObjectState(payload.again()).tenures)
      for (index, tenure) in before.enumerated() where now.contains(tenure) {
        reports[place].holders[index].heldForAtLeast = Self.pause
      }
    }
  }
}
