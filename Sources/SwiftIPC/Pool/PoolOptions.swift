// SPDX-License-Identifier: Apache-2.0

/// What a pool does beyond giving out tasks. Nothing of it costs anything unless it is asked for.
///
/// ```swift
/// let pool = try ProcessPool(
///   workers: 2,
///   poolOptions: .init(
///     idleTime: .seconds(30), memoryGrowth: 256 << 20, processors: [[0, 1], [2, 3]]))
/// ```
public struct PoolOptions: Sendable {
  /// After how long without a task a worker is ended. Another is started when there is work for it; `nil`
  /// to keep idle workers.
  ///
  /// The pool has a thread for this, as long as it has workers: so not with the start method `fork`.
  public var idleTime: Duration?
  /// By how many bytes a worker's own memory may grow, from when it was ready for its first task: then it
  /// is replaced by a fresh one, once it is through with what it has. `nil` for any number.
  ///
  /// It is looked at when tasks return, a hundred times a second for each worker at most. What is shared
  /// and what is of files does not count: `PoolProgress.Worker.memory` says what does. A limit that ends a
  /// worker in the middle of a task is the pool's `memoryLimit`.
  public var memoryGrowth: Int?
  /// The processors that each worker may run on: the set at the worker's index
  /// (`CurrentProcess.workerIndex`), from the beginning again where there are more workers than sets.
  /// Empty for what `ChildProcessOptions.processors` says.
  public var processors: [Set<Int>]
  /// Is told how far the pool is while it has something to do: what a progress bar of one's own needs.
  ///
  /// ```swift
  /// let pool = try ProcessPool(
  ///   poolOptions: .init(onProgress: { print("\($0.done) of \($0.total)") }))
  /// ```
  ///
  /// It is called every `progressInterval` and once more when the last call to the pool has its results,
  /// has failed or was cancelled, before that call returns: then with the final numbers, also where all
  /// took less than an interval. Calls come one at a time, from a thread that does the pool's work: its
  /// own, or one that is blocked in a call to it. The hook may cancel results, but must not wait for the
  /// pool: that would stand still meanwhile.
  public var onProgress: (@Sendable (PoolProgress) -> Void)?
  /// How much time is between two calls of `onProgress`.
  public var progressInterval: Duration

  /// Makes options.
  public init(
    idleTime: Duration? = nil, memoryGrowth: Int? = nil,
    processors: [Set<Int>] = [], onProgress: (@Sendable (PoolProgress) -> Void)? = nil,
    progressInterval: Duration = .milliseconds(100)
  ) {
    self.idleTime = idleTime
    self.memoryGrowth = memoryGrowth
    self.processors = processors
    self.onProgress = onProgress
    self.progressInterval = progressInterval
  }
}
