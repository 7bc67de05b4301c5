// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// Runs functions that can be suspended on the thread of the worker's loop: without a detour through
/// another thread, unless the function goes to another actor.
final class WorkerExecutor: TaskExecutor, @unchecked Sendable {
  private let jobs = Guarded<PoolDeque<UnownedJob>>(PoolDeque())
  private let gate = ThreadGate()

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    jobs.withLock { $0.append(job) }
    gate.open()
  }

  /// Runs the body to its end. Blocks; one at a time.
  func run(_ body: @escaping @Sendable () async throws -> Void) throws {
    let result = Guarded<Result<Void, any Error>?>(nil)
    Task.detached(executorPreference: self) { [self] in
      let outcome: Result<Void, any Error>
      do {
        outcome = .success(try await body())
      } catch {
        outcome = .failure(error)
      }
      result.withLock { $0 = outcome }
      gate.open()
    }
    while true {
      while let job = jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
        unsafe job.runSynchronously(on: asUnownedTaskExecutor())
      }
      if let result = result.withLock({ $0 }) { return try result.get() }
      gate.pass(until: .max)
    }
  }
}
