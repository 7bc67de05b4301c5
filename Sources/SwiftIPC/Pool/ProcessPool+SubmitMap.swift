// SPDX-License-Identifier: Apache-2.0

extension ProcessPool {
  /// Has a closure applied to all elements, each as a task, and returns one handle for the results at once.
  ///
  /// ```swift
  /// let batch = try pool.submitMap(0..<1000) { $0 * $0 }
  /// let squares = try await batch.get(timeout: .seconds(10))
  /// ```
  ///
  /// Does not block. The closure is as with `apply`, chunks are as with `map`. Unlike there, a task that
  /// fails does not keep others from running: `PoolBatch.cancel()` does.
  ///
  /// - Throws: `notTransferable` for a closure that captures what cannot be sent; `closed` for a pool that is,
  ///   `poolFailed` when it has no workers, `cancelled` when it was terminated.
  public func submitMap<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) throws(IPCError) -> PoolBatch<Output> {
    try submitMany(
      ListInputs(from: inputs), chunkSize, options,
      function(UnaryFunction<A, Output>(body: body), of: A.self, output: Output.self))
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func submitMap<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) throws(IPCError) -> PoolBatch<Output> {
    try submitMany(
      ListInputs(from: inputs), chunkSize, options,
      function(AsyncUnaryFunction<A, Output>(body: body), of: A.self, output: Output.self))
  }

  /// The same with a closure that returns nothing.
  public func submitMap<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Void
  ) throws(IPCError) -> PoolBatch<Void> {
    try submitMany(
      ListInputs(from: inputs), chunkSize, options,
      function(UnaryAction<A>(body: body), of: A.self, output: nil))
  }

  /// The same with a closure that can be suspended and returns nothing.
  @_disfavoredOverload
  public func submitMap<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Void
  ) throws(IPCError) -> PoolBatch<Void> {
    try submitMany(
      ListInputs(from: inputs), chunkSize, options,
      function(AsyncUnaryAction<A>(body: body), of: A.self, output: nil))
  }

  /// The same with a closure that is handed the state of its worker.
  public func submitMap<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(), _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) throws(IPCError) -> PoolBatch<Output> {
    try check(state)
    return try submitMany(
      ListInputs(from: inputs), chunkSize, options,
      function(
        StatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
        takesState: true))
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @_disfavoredOverload
  public func submitMap<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) throws(IPCError) -> PoolBatch<Output> {
    try check(state)
    return try submitMany(
      ListInputs(from: inputs), chunkSize, options,
      function(
        AsyncStatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
        takesState: true))
  }

  /// The same with tasks that are a type.
  public func submitMap<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) throws(IPCError) -> PoolBatch<T.Output> {
    try submitMany(
      ListInputs(from: tasks), chunkSize, options, core.functions.function(of: T.self))
  }
}
