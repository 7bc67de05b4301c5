// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// What a pool tells its log hook.
///
/// ```swift
/// let pool = try ProcessPool(log: { event in logger.info("\(event)") })
/// ```
public enum PoolEvent: Hashable, Sendable {
  /// A worker was started.
  case workerStarted(name: String)
  /// A worker gets no more tasks, and ends when it is through with what it has.
  case workerRetired(name: String, Retirement)
  /// A worker has ended: because its work was done, or it had had its number of tasks, or it died.
  case workerEnded(name: String, ExitStatus)
  /// A worker could not be started; the pool tries again.
  case startFailed(IPCError)
  /// The initializer threw in a worker.
  case initializerFailed(name: String, description: String)
  /// The finalizer threw in a worker, which has ended by now or is about to.
  case finalizerFailed(name: String, description: String)
  /// A worker died over a task, or took too long for it.
  case taskLost(name: String, IPCError)
  /// A task that a worker died over is tried again.
  case taskRetried(name: String)
  /// A worker wrote a line to its standard output or error, where the options make that a pipe.
  case wrote(name: String, line: String)
  /// The pool gave up, since no worker could be had.
  case poolFailed(IPCError)

  /// Why a worker was retired.
  public enum Retirement: Hashable, Sendable {
    /// It has had its number of tasks: `maxTasksPerWorker`.
    case tasks
    /// Its memory has grown: `PoolOptions.memoryGrowth`.
    case memory
    /// It had nothing to do: `PoolOptions.idleTime`.
    case idle
  }
}

extension PoolEvent: CustomStringConvertible {
  /// The event as a line of a log.
  public var description: String {
    switch self {
    case .workerStarted(let name): "\(name) was started"
    case .workerRetired(let name, let reason): "\(name) was retired: \(reason)"
    case .workerEnded(let name, let status): "\(name) \(status)"
    case .startFailed(let error): "a worker could not be started: \(error)"
    case .initializerFailed(let name, let text): "the initializer failed in \(name): \(text)"
    case .finalizerFailed(let name, let text): "the finalizer failed in \(name): \(text)"
    case .taskLost(let name, let error): "a task was lost in \(name): \(error)"
    case .taskRetried(let name): "a task that \(name) died over is tried again"
    case .wrote(let name, let line): "\(name) wrote: \(line)"
    case .poolFailed(let error): "the pool failed: \(error)"
    }
  }
}

extension PoolEvent.Retirement: CustomStringConvertible {
  /// The reason in words.
  public var description: String {
    switch self {
    case .tasks: "it has had its number of tasks"
    case .memory: "its memory has grown"
    case .idle: "it had nothing to do"
    }
  }
}
