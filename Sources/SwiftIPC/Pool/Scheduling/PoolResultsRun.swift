// SPDX-License-Identifier: Apache-2.0
internal import CIPC
internal import MessageCoding

/// One way through the elements of `imap`: takes them from the input as results are taken from it.
final class PoolResultsRun<Inputs: Sequence, Output: Sendable> where Inputs.Element: Sendable {
  /// What became of an element, and which it is.
  typealias Arrival = StreamJob<Inputs.Element, Output>.Arrival

  private let core: PoolCore
  private var inputs: Inputs.Iterator
  private let given: Int?
  private var job: StreamJob<Inputs.Element, Output>?
  /// What there is to say once, before the end.
  private var error: IPCError?
  private var isExhausted = false
  private var isInBackground = false

  init(_ results: PoolResults<Inputs, Output>) {
    core = results.core
    inputs = results.inputs.makeIterator()
    given = results.window.map { Swift.max(1, $0) }
    switch results.function {
    case .success(let function):
      let job = StreamJob<Inputs.Element, Output>(
        function, results.options, isOrdered: results.isOrdered, chunkSize: results.chunkSize)
      do throws(IPCError) {
        let announced = results.total ?? results.inputs.underestimatedCount
        try core.add(job, announcing: announced)
        self.job = job
      } catch {
        self.error = error
      }
    case .failure(let error): self.error = error
    }
  }

  deinit { finish() }

  private func finish() {
    if let job { core.cancel(job, IPCError(.cancelled, context: "results that nobody takes")) }
    job = nil
    if isInBackground { core.endBackgroundWork() }
    isInBackground = false
  }

  /// How many elements may be on their way: as many as keep the workers busy for a while.
  private var window: Int {
    if let given { return given }
    guard let job else { return 1 }
    let (workers, pace) = core.withScheduler { ($0.settings.workers, job.schedule.pace) }
    let least = workers * 4
    guard let pace else { return least }
    let many = Double(workers) * 4 * JobSchedule.queueTime / Swift.max(pace, 1)
    return Swift.max(least, Swift.min(1 << 14, Int(many)))
  }

  /// Takes elements from the input, as many as the window allows, but no longer than there is no result.
  private func fill(_ job: StreamJob<Inputs.Element, Output>) {
    if isExhausted { return }
    let window = window
    var space = window - job.open
    // Not for a single one, unless there is nothing to wait for.
    if space < window / 4 && job.open > 0 { return }
    var pending = 0
    var batch = 1
    while space > 0 {
      guard let input = inputs.next() else {
        isExhausted = true
        // Fewer may have come than were announced.
        core.announce(job, 0)
        break
      }
      job.add(input)
      pending += 1
      space -= 1
      if pending == batch {
        core.extend(job, by: pending)
        pending = 0
        batch = Swift.min(batch * 2, 256)
        if batch > 2 && job.isReady { break }
      }
    }
    if pending > 0 { core.extend(job, by: pending) }
  }

  private enum Look {
    case result(Arrival)
    case end
    case wait(StreamJob<Inputs.Element, Output>)
  }

  private func look() -> Look {
    if let error {
      self.error = nil
      return .result((0, .failure(error)))
    }
    guard let job else { return .end }
    fill(job)
    if let result = job.take() {
      // The pool is gone: this is the last to be said.
      if job.hasEnded { finish() }
      return .result(result)
    }
    if job.open == 0 && isExhausted {
      finish()
      return .end
    }
    return .wait(job)
  }

  func next() -> Arrival? {
    while true {
      switch look() {
      case .result(let result): return result
      case .end: return nil
      case .wait(let job): _ = core.wait(for: job.change, until: .max) { job.isReady }
      }
    }
  }

  func next(isolation: isolated (any Actor)?) async throws -> Arrival? {
    if !isInBackground && job != nil {
      isInBackground = true
      core.beginBackgroundWork()
    }
    while true {
      if Task.isCancelled { throw cancelled() }
      switch look() {
      case .result(let result): return result
      case .end: return nil
      case .wait(let job):
        let core = core
        let status = await core.wait(for: job.change, until: .max) { job.isReady }
        if status == CIPC_ECANCELED.rawValue { throw cancelled() }
      }
    }
  }

  private func cancelled() -> IPCError {
    finish()
    return IPCError(.cancelled, context: "waiting for results of a pool")
  }
}
