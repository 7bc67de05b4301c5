// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import IPCLibc
internal import MessageCoding

/// A descriptor that becomes readable once, and stays so: one serves all waiters at the same time.
@safe final class OneTimeSignal: Sendable {
  let descriptor: Int32
  private let writer: Int32

  init(_ subject: String) throws(IPCError) {
    var ends: [Int32] = [-1, -1]
    try IPCError.check(unsafe cipc_process_pipe(&ends), subject)
    (descriptor, writer) = (ends[0], ends[1])
  }

  deinit {
    closeDescriptor(descriptor)
    closeDescriptor(writer)
  }

  /// Once.
  func give() {
    var byte: UInt8 = 0
    _ = unsafe write(writer, &byte, 1)
  }
}

/// Makes the end of one job known to `firstReady`.
final class JobEnds: Sendable {
  private struct State {
    /// The last signal that was handed out: it has to stay open.
    var signal: OneTimeSignal?
    var isListening = false
  }
  private let state = Guarded(State())

  func readiness(_ core: PoolCore, _ job: PoolJob) throws(IPCError) -> Readiness {
    if job.isOver { return .ready }
    // Before the last look at the job: a job that ends after that look gives this signal, unless another
    // has given it.
    let signal = try core.completion.withLock { current throws(IPCError) -> OneTimeSignal in
      if let current { return current }
      let made = try OneTimeSignal("waiting for results of a pool")
      current = made
      return made
    }
    let mustListen = state.withLock { state in
      state.signal = signal
      defer { state.isListening = true }
      return !state.isListening
    }
    if mustListen { core.listen(for: job) }
    return job.isOver ? .ready : .pending([.readable(signal.descriptor)])
  }
}

extension PoolCore {
  /// Has the end of a job wake the waiters for any job.
  fileprivate func listen(for job: PoolJob) {
    let wake: @Sendable () -> Void = { [self] in
      // The change may have been another one.
      if job.isOver { giveCompletion() } else { listen(for: job) }
    }
    if !job.change.listen(unless: { job.isOver }, wake) { giveCompletion() }
  }

  private func giveCompletion() {
    let signal = completion.withLock { current in
      defer { current = nil }
      return current
    }
    signal?.give()
  }
}
