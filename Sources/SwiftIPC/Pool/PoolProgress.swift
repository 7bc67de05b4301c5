// SPDX-License-Identifier: Apache-2.0

/// How far a pool is: what `ProcessPool.progress` says.
///
/// ```swift
/// let progress = pool.progress
/// print("\(progress.done) of \(progress.total) done, \(progress.failed) failed")
/// ```
public struct PoolProgress: Hashable, Sendable {
  /// Tasks that have returned, since the pool was made.
  public var done: Int
  /// Tasks that threw, or that a worker died over.
  public var failed: Int
  /// Tasks that workers are in.
  public var running: Int
  /// Tasks that nobody has begun.
  public var waiting: Int
  /// Tasks done and failed per second, since the first one that was given out after the pool had
  /// nothing to do.
  public var rate: Double
  /// The workers that there are, in the order of their start.
  public var workers: [Worker]

  /// Done, failed, running and waiting together.
  public var total: Int { done + failed + running + waiting }

  /// One worker.
  public struct Worker: Hashable, Sendable {
    /// The name of the worker, as in `ps`.
    public var name: String
    /// What it is doing.
    public var state: State
    /// Tasks that it has been through.
    public var done: Int

    /// What a worker is doing.
    public enum State: Hashable, Sendable {
      /// It is not ready yet: the initializer runs.
      case starting
      /// It has nothing to do.
      case idle
      /// It is in a task.
      case running
      /// It gets no more tasks and ends.
      case ending
    }
  }
}

extension PoolCore {
  func progress() -> PoolProgress {
    let rate = rate()
    return withScheduler { scheduler in
      var running = 0
      var workers: [PoolProgress.Worker] = []
      for worker in scheduler.workers {
        var state = PoolProgress.Worker.State.idle
        switch worker.phase {
        case .starting: state = .starting
        case .stopping: state = .ending
        case .ready:
          if !worker.queue.isEmpty {
            state = .running
            running += 1
          }
        }
        workers.append(
          PoolProgress.Worker(name: worker.name, state: state, done: Int(worker.completed)))
      }
      return PoolProgress(
        done: scheduler.done, failed: scheduler.failed, running: running,
        waiting: max(0, scheduler.outstanding - running), rate: rate, workers: workers)
    }
  }

  private func rate() -> Double {
    withScheduler { scheduler in
      guard let busySince = scheduler.busySince else { return 0 }
      let seconds = Double(max(1, (scheduler.idleSince ?? clock.now()) - busySince)) / 1e9
      return Double(scheduler.done + scheduler.failed - scheduler.finishedBefore) / seconds
    }
  }
}
