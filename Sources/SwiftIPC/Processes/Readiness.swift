// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import Synchronization

/// One suspended task that waits for descriptors to become readable.
final class Readiness: Sendable {
  private enum State {
    case idle
    case cancelled
    case waiting(CheckedContinuation<Int32, Never>, cipc_waiter_ticket_t)
    case done
  }
  private let state = Mutex(State.idle)

  private init() {}

  /// Returns when the descriptor is readable, or the deadline has passed. The descriptor stays the
  /// caller's; it may be closed meanwhile.
  ///
  /// - Throws: `cancelled`, and what the kernel says where it cannot wait.
  static func wait(for descriptor: Int32, until deadline: Int64) async throws(IPCError) {
    let readiness = Readiness()
    let status = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        readiness.begin(descriptor, deadline, continuation)
      }
    } onCancel: {
      readiness.cancel()
    }
    if status != CIPC_ETIMEDOUT.rawValue { try IPCError.check(status, "waiting for a child") }
  }

  private func begin(
    _ descriptor: Int32, _ deadline: Int64, _ continuation: CheckedContinuation<Int32, Never>
  ) {
    // The waiter thread's callback may come at once; it finds the state written.
    let failure: Int32? = state.withLock { state in
      if case .cancelled = state { return CIPC_ECANCELED.rawValue }
      // Balanced by the callback, or by whoever keeps it from being called.
      let context = unsafe Unmanaged.passRetained(self)
      var ticket: cipc_waiter_ticket_t = 0
      let status = unsafe cipc_waiter_wait(
        descriptor, CIPC_WAITER_READABLE, deadline,
        { context, status in
          guard let context = unsafe context else { return }
          unsafe Unmanaged<Readiness>.fromOpaque(context).takeRetainedValue().finish(status)
        }, context.toOpaque(), &ticket)
      if status < 0 {
        unsafe context.release()
        return status
      }
      state = .waiting(continuation, ticket)
      return nil
    }
    if let failure { continuation.resume(returning: failure) }
  }

  private func finish(_ status: Int32) {
    let continuation = state.withLock { state -> CheckedContinuation<Int32, Never>? in
      guard case .waiting(let continuation, _) = state else { return nil }
      state = .done
      return continuation
    }
    continuation?.resume(returning: status)
  }

  private func cancel() {
    let ticket = state.withLock { state -> cipc_waiter_ticket_t? in
      switch state {
      case .idle:
        state = .cancelled
        return nil
      case .waiting(_, let ticket): return ticket
      case .cancelled, .done: return nil
      }
    }
    // When the callback is under way already, it ends the wait, as ready.
    guard let ticket, cipc_waiter_cancel(ticket) == 0 else { return }
    finish(CIPC_ECANCELED.rawValue)
    unsafe Unmanaged.passUnretained(self).release()
  }
}
