// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding
internal import Synchronization

/// Tasks that wait for something which may also come about by the doing of another thread here.
///
/// A waiter says that it is interested, reads `round`, tries, and if that was in vain waits for the
/// round to end: a thread that ends it after the attempt wakes the waiter, so no wake-up is lost.
final class SuspensionSet: Sendable {
  private struct State {
    var round: UInt64 = 0
    var waiting: [Suspension] = []
  }
  private let state = Guarded(State())
  private let interested = Atomic(0)

  /// Before the first look at `round`; balance with `leave`.
  func enter() { interested.add(1, ordering: .sequentiallyConsistent) }
  func leave() { interested.subtract(1, ordering: .sequentiallyConsistent) }

  var round: UInt64 { state.withLock { $0.round } }

  /// Waits for the condition, or for the end of the round given.
  func wait(for condition: Suspension.Condition, in round: UInt64) async -> Int32 {
    let suspension = state.withLock { state -> Suspension? in
      if state.round != round { return nil }
      let suspension = Suspension()
      state.waiting.append(suspension)
      return suspension
    }
    guard let suspension else {
      condition.discard()
      return 0
    }
    let status = await suspension.wait(for: condition)
    state.withLock { $0.waiting.removeAll { $0 === suspension } }
    return status
  }

  /// Ends the round: all waiters look again. Costs one load where there are none.
  func wake() {
    guard interested.load(ordering: .sequentiallyConsistent) > 0 else { return }
    let waiting = state.withLock { state in
      state.round += 1
      defer { state.waiting = [] }
      return state.waiting
    }
    for suspension in waiting { suspension.resume(0) }
  }
}
