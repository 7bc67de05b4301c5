// SPDX-License-Identifier: Apache-2.0

/// How far a pool is: what `ProcessPool.progress` says.
///
/// ```swift
/// let progress = pool.progress
/// print("\(progress.done) of \(progress.total) done, \(progress.failed) failed")
/// for worker in progress.workers {
///   print(worker.name, worker.pid ?? 0, worker.memory ?? 0, worker.timeInTask ?? .zero)
/// }
/// ```
public struct PoolProgress: Hashable, Sendable {
  /// Tasks that have returned, since the pool was made.
  public var done: Int
  /// Tasks that threw, or that a worker died over.
  public var failed: Int
  /// Tasks that workers are in.
  public var running: Int
  /// Tasks that no worker has begun. Of the elements of `imap` also those that it has not taken
  /// yet, as far as their number is known.
  public var waiting: Int
  /// Tasks that were given up before a worker had them: by a cancelled call, by an error that ended
  /// one, by the end of the pool.
  public var cancelled: Int = 0
  /// Tasks done and failed per second, since the first one that was given out after the pool had
  /// nothing to do.
  public var rate: Double
  /// The workers that there are, in the order of their start.
  public var workers: [Worker]

  /// Done, failed, running, waiting and cancelled together.
  public var total: Int { done + failed + running + waiting + cancelled }

  /// The same without what was done, had failed and had been cancelled before: for a bar of one
  /// call among several.
  ///
  /// ```swift
  /// let before = pool.progress
  /// let batch = try pool.submitMap(0..<100) { $0 * $0 }
  /// print(pool.progress.since(before).total)  // 100
  /// ```
  public func since(_ earlier: PoolProgress) -> PoolProgress {
    var progress = self
    progress.done -= earlier.done
    progress.failed -= earlier.failed
    progress.cancelled -= earlier.cancelled
    return progress
  }

  func since(_ earlier: PoolProgress?) -> PoolProgress {
    if let earlier { since(earlier) } else { self }
  }

  /// One worker.
  public struct Worker: Hashable, Sendable {
    /// The name of the worker, as in `ps`.
    public var name: String
    /// Which of the pool's workers it is: `CurrentProcess.workerIndex` in its tasks.
    public var index: Int
    /// The number of its process; `nil` where that is not known.
    public var pid: Int32? = nil
    /// What it is doing.
    public var state: State
    /// Tasks that it has been through.
    public var done: Int
    /// How long it has been in its task; `nil` where it is in none. Where tasks on numbers go in chunks
    /// and have no timeout, how long it has been since the last word of the chunk.
    public var timeInTask: Duration? = nil
    /// The memory that is its own, in bytes: what it has allocated and touched, without memory that is
    /// shared and without files. `nil` where that is not known.
    public var memory: Int? = nil
    /// As the scheduler has it.
    var number = 0

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

extension PoolScheduler {
  func progress(_ now: Int64) -> PoolProgress {
    var running = 0
    var known: [PoolProgress.Worker] = []
    for worker in workers {
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
      known.append(
        PoolProgress.Worker(
          name: worker.name, index: worker.index, state: state,
          done: Int(clamping: worker.completed),
          timeInTask: state == .running ? .nanoseconds(max(0, now - worker.since)) : nil,
          number: worker.number))
    }
    return PoolProgress(
      done: done, failed: failed, running: running,
      waiting: max(0, outstanding - running) + announced, cancelled: cancelled, rate: rate(now),
      workers: known)
  }

  private func rate(_ now: Int64) -> Double {
    guard let busySince else { return 0 }
    let seconds = Double(max(1, (idleSince ?? now) - busySince)) / 1e9
    return Double(done + failed - finishedBefore) / seconds
  }
}

extension PoolCore {
  /// - Parameter measured: whether to find out how much memory workers use: some system calls for each.
  func progress(measured: Bool = false) -> PoolProgress {
    let now = clock.now()
    var progress = withScheduler { $0.progress(now) }
    for place in progress.workers.indices {
      let worker = progress.workers[place]
      engine.complete(&progress.workers[place])
      if measured { progress.workers[place].memory = engine.memoryUse(of: worker.number) }
      guard let time = worker.timeInTask else { continue }
      // Where its tasks are timed, what it says itself is exact.
      let begunAt = engine.activity(of: worker.number).begunAt
      if begunAt > 0 && begunAt <= now {
        progress.workers[place].timeInTask = min(time, .nanoseconds(now - begunAt))
      }
    }
    return progress
  }
}
