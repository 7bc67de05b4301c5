// SPDX-License-Identifier: Apache-2.0

/// What a pool tells its log hook.
///
/// ```swift
/// let pool = try ProcessPool(log: { event in logger.info("\(event)") })
/// ```
public enum PoolEvent: Hashable, Sendable {
  /// A worker was started.
  case workerStarted(name: String)
  /// A worker has ended: because its work was done, or it had had its number of tasks, or it died.
  case workerEnded(name: String, ExitStatus)
  /// A worker could not be started; the pool tries again.
  case startFailed(IPCError)
  /// The initializer threw in a worker.
  case initializerFailed(name: String, description: String)
  /// A worker died over a task, or took too long for it.
  case taskLost(name: String, IPCError)
  /// A task that a worker died over is tried again.
  case taskRetried(name: String)
  /// A worker wrote a line to its standard output or error, where the options make that a pipe.
  case wrote(name: String, line: String)
  /// The pool gave up, since no worker could be had.
  case poolFailed(IPCError)
}

extension PoolEvent: CustomStringConvertible {
  /// The event as a line of a log.
  public var description: String {
    switch self {
    case .workerStarted(let name): "\(name) was started"
    case .workerEnded(let name, let status): "\(name) \(status)"
    case .startFailed(let error): "a worker could not be started: \(error)"
    case .initializerFailed(let name, let text): "the initializer failed in \(name): \(text)"
    case .taskLost(let name, let error): "a task was lost in \(name): \(error)"
    case .taskRetried(let name): "a task that \(name) died over is tried again"
    case .wrote(let name, let line): "\(name) wrote: \(line)"
    case .poolFailed(let error): "the pool failed: \(error)"
    }
  }
}
