// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// One suspended task: the poller's thread, the task's cancellation or another task resumes
/// it, whichever comes first.
final class Suspension: Sendable {
  /// What a suspension waits for, besides being resumed.
  @safe struct Condition {
    /// `nil` waits for the deadline alone.
    private let wait: cipc_wait_t?
    let deadline: Int64

    init(deadline: Int64) {
      unsafe wait = nil
      self.deadline = deadline
    }

    init(_ wait: cipc_wait_t, deadline: Int64) {
      unsafe self.wait = unsafe wait
      self.deadline = deadline
    }

    /// - Parameters:
    ///   - isOwned: whether the descriptor is taken over, and closed when the wait ends.
    ///   - direction: `CIPC_POLLER_READABLE` or `CIPC_POLLER_WRITABLE`.
    init(descriptor: Int32, isOwned: Bool = true, direction: UInt32, deadline: Int64) {
      var wait = unsafe cipc_wait_t()
      unsafe wait.kind = CIPC_WAIT_DESCRIPTOR
      unsafe wait.descriptor = descriptor
      unsafe wait.directions = direction | (isOwned ? CIPC_POLLER_OWNED : 0)
      unsafe self.init(wait, deadline: deadline)
    }

    /// For a condition that is not waited for.
    func discard() {
      guard let wait = unsafe wait, unsafe wait.kind == CIPC_WAIT_DESCRIPTOR else { return }
      if unsafe wait.directions & CIPC_POLLER_OWNED != 0 { unsafe closeDescriptor(wait.descriptor) }
    }

    fileprivate var isNothing: Bool { unsafe wait == nil && deadline == .max }

    /// Has the C core call back once.
    fileprivate func start(
      _ callback: cipc_poller_callback_t, _ context: UnsafeMutableRawPointer,
      _ ticket: inout cipc_poller_ticket_t
    ) -> Int32 {
      // A deadline is a pause that ends sooner.
      var endless = unsafe cipc_wait_t()
      unsafe endless.kind = CIPC_WAIT_PAUSE
      unsafe endless.pause = .max
      var wait = unsafe wait ?? endless
      return unsafe cipc_wait_start(&wait, deadline, callback, context, &ticket)
    }
  }

  private struct State {
    var result: Int32?
    var continuation: CheckedContinuation<Int32, Never>?
    /// The wait of the C core that keeps a reference to this object; 0 for none.
    var ticket: cipc_poller_ticket_t = 0
  }
  private let state = Guarded(State())

  /// Suspends the task until `resume`, or until the condition is met.
  ///
  /// - Returns: what `resume` was given; 0 when the descriptor is ready or the word may have
  ///   changed, `CIPC_WAIT_LOOK`, `CIPC_ETIMEDOUT`, `CIPC_ECANCELED`, or why there can be no
  ///   waiting.
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
    let (ended, isFirst) = state.withLock { state in
      let isFirst = state.result == nil
      if isFirst { state.result = result }
      defer { (state.continuation, state.ticket) = (nil, 0) }
      return (state, isFirst)
    }
    // Either the callback comes and takes its reference, or the cancellation wins and takes it.
    if ended.ticket != 0 && cipc_wait_cancel(ended.ticket) == 0 {
      unsafe Unmanaged.passUnretained(self).release()
    }
    ended.continuation?.resume(returning: result)
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
      if !condition.isNothing {
        // Under the lock: a callback that comes at once finds the continuation.
        let reference = unsafe Unmanaged.passRetained(self)
        let status = unsafe condition.start(
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
