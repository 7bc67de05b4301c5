// SPDX-License-Identifier: Apache-2.0

/// What holds for each task of a call to a pool.
///
/// ```swift
/// let pages = try await pool.map(urls, options: .init(timeout: .seconds(10), retries: 2)) { fetch($0) }
/// ```
public struct TaskOptions: Hashable, Sendable {
  /// How long a task may run; then its worker is killed and replaced, and the task's error is
  /// `timedOut`. `nil` for as long as it takes.
  ///
  /// Waiting for a worker does not count, but it has an end too. A worker that begins nothing of what it
  /// has, since it was stopped, say, is replaced two seconds after that time, and others do what
  /// it had. While no worker is ready since the pool's initializer does not return, tasks with a
  /// timeout wait for it, or for a minute where that is longer; their error is `timedOut` then. For a
  /// slower initializer there is `PoolOptions.initializerTimeout`.
  public var timeout: Duration?
  /// How often a task is tried again that its worker died over, for whatever reason but a timeout.
  ///
  /// More than 0 says that the task is idempotent: it may have run in part, or to its end, before.
  public var retries: Int
  /// Whether cancelling ends a task that runs already, by killing its worker, which is then replaced.
  ///
  /// Without it the task runs to its end, and what it returns is dropped.
  public var killsWhenCancelled: Bool

  /// Makes options.
  public init(timeout: Duration? = nil, retries: Int = 0, killsWhenCancelled: Bool = false) {
    self.timeout = timeout
    self.retries = retries
    self.killsWhenCancelled = killsWhenCancelled
  }
}
