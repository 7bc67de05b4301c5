// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// One suspended task: the process's waiter thread, the task's cancellation or another task resumes
/// it, whichever comes first.
final class Suspension: Sendable {
  /// What a suspension waits for, besides being resumed.
  struct Condition {
    /// `nil` waits for the deadline alone.
    var descriptor: Int32?
    /// Whether the descriptor is taken over, and closed when the wait ends.
    var isOwned = true
    /// `CIPC_WAITER_READABLE` or `CIPC_WAITER_WRITABLE`.
    var direction: UInt32 = 0
    var deadline: Int64

    /// For a condition that nobody came to wait for.
    func discard() {
      if isOwned, let descriptor { closeDescriptor(descriptor) }
    }
  }

  private struct State {
    var result: Int32?
    var continuation: CheckedContinuation<Int32, Never>?
    /// The wait of the C core that keeps a reference to this object; 0 for none.
    var ticket: cipc_waiter_ticket_t = 0
  }
  private let state = Guarded(State())

  /// Suspends the task until `resume`, or until the condition is met.
  ///
  /// - Returns: what `resume` was given; 0 when the descriptor is ready, `CIPC_ETIMEDOUT`,
  ///   `CIPC_ECANCELED`, or why there can be no waiting.
  func wait(for condition: Condition) async -> Int32 {
    await withTaskCancellationHandler {
      await withCheckedContinuation { begin(condition, $0) }
    } onCancel: {
      resume(CIPC_ECANCELED.rawValue)
    }
  }

  /// Ends the wait, also one that has not begun yet.
  ///
  /// - Returns: whether this did it; otherwise it had ended before.
  @discardableResult func resume(_ result: Int32) -> Bool {
    let (continuation, ticket, isFirst) = state.withLock { state in
      let isFirst = state.result == nil
      if isFirst { state.result = result }
      defer { (state.continuation, state.ticket) = (nil, 0) }
      return (state.continuation, state.ticket, isFirst)
    }
    // Either the callback comes and takes its reference, or the cancellation wins and takes it.
    if ticket != 0 && cipc_waiter_cancel(ticket) == 0 {
      unsafe Unmanaged.passUnretained(self).release()
    }
    continuation?.resume(returning: result)
    return isFirst
  }

  private func begin(
    _ condition: Condition, _ continuation: CheckedContinuation<Int32, Never>
  ) {
    let result: Int32? = state.withLock { state in
      if let result = state.result {
        condition.discard()
        return result
      }
      if condition.descriptor != nil || condition.deadline != .max {
        // Under the lock: a callback that comes at once finds the continuation.
        let reference = unsafe Unmanaged.passRetained(self)
        let status = unsafe cipc_waiter_wait(
          condition.descriptor ?? -1,
          condition.direction | (condition.isOwned ? CIPC_WAITER_OWNED : 0), condition.deadline,
          { context, status in
            guard let context = unsafe context else { return }
            unsafe Unmanaged<Suspension>.fromOpaque(context).takeRetainedValue().resume(status)
          }, reference.toOpaque(), &state.ticket)
        if status < 0 {
          unsafe reference.release()
          state.result = status
          return status
        }
      }
      state.continuation = continuation
      return nil
    }
    if let result { continuation.resume(returning: result) }
  }
}
