// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// A turn that tasks take one after the other, in the order of asking.
final class SuspensionQueue: Sendable {
  private struct State {
    var isTaken = false
    var waiting: [Suspension] = []
  }
  private let state = Guarded(State())

  /// Takes the turn.
  ///
  /// - Returns: 0, or `CIPC_ETIMEDOUT` or `CIPC_ECANCELED`: then there is nothing to leave.
  func enter(until deadline: Int64) async -> Int32 {
    let suspension = state.withLock { state -> Suspension? in
      if !state.isTaken {
        state.isTaken = true
        return nil
      }
      let suspension = Suspension()
      state.waiting.append(suspension)
      return suspension
    }
    guard let suspension else { return 0 }
    let status = await suspension.wait(for: .init(deadline: deadline))
    if status < 0 { state.withLock { $0.waiting.removeAll { $0 === suspension } } }
    return status
  }

  /// Passes the turn on.
  func leave() {
    while true {
      let next = state.withLock { state -> Suspension? in
        if state.waiting.isEmpty {
          state.isTaken = false
          return nil
        }
        return state.waiting.removeFirst()
      }
      // One that timed out or was cancelled in this moment does not take it.
      guard let next else { return }
      if next.resume(0) { return }
    }
  }
}
