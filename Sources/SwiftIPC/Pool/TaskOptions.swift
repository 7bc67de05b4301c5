// SPDX-License-Identifier: Apache-2.0

/// What holds for each task of a call to a pool.
///
/// ```swift
/// let pages = try await pool.map(urls, options: .init(timeout: .seconds(10), retries: 2)) { fetch($0) }
/// ```
public struct TaskOptions: Hashable, Sendable {
  /// How long a task may run; then its worker is killed and replaced, and the task's error is
  /// `timedOut`. Waiting for a worker does not count. `nil` for as long as it takes.
  public var timeout: Duration?
  /// How often a task is tried again that its worker died over, for whatever reason but a timeout.
  ///
  /// More than 0 says that the task is idempotent: it may have run in part, or to its end, before.
  public var retries: Int
  /// Whether cancelling ends a task that runs already, by killing its worker, which is then replaced.
  ///
  /// Without it the task runs to its end, and nobody gets what it returns.
  public var killsWhenCancelled: Bool

  /// Makes options.
  public init(timeout: Duration? = nil, retries: Int = 0, killsWhenCancelled: Bool = false) {
    self.timeout = timeout
    self.retries = retries
    self.killsWhenCancelled = killsWhenCancelled
  }
}
