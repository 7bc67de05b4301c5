// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

/// A pool's workers with the state that each of them made: what `ProcessPool.with(_:)` returns.
///
/// ```swift
/// let pool = try ProcessPool(workers: 2, arguments: "weights") { try Model(reading: $0) }
/// let labels = try await pool.with(Model.self).map(images) { model, image in
///   try model.label(image)
/// }
/// ```
///
/// Its calls are those of `ProcessPool`, with closures that are handed the state of their worker, which
/// they may change. A worker runs one task at a time, so the state needs no lock. It keeps the pool.
public struct StatefulPool<State>: Sendable, PoolCaller {
  let pool: ProcessPool
}

extension ProcessPool {
  /// The pool for tasks that are handed the state of their worker, which the pool's initializer made.
  ///
  /// Does not block, and may be called as often as wanted.
  ///
  /// - Throws: `IPCError` with `invalidArgument` where the pool's initializer makes another state, or
  ///   none.
  public func with<State>(_ state: State.Type) throws(IPCError) -> StatefulPool<State> {
    if core.stateType == ObjectIdentifier(state) { return StatefulPool(pool: self) }
    throw IPCError(
      .invalidArgument,
      context: "tasks with a state of type \(state): the pool's initializer makes no such")
  }
}
