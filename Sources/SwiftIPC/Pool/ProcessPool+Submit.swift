// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

extension ProcessPool {
  /// Has one task run, and returns a handle for its result at once.
  ///
  /// ```swift
  /// let result = try pool.submit(10) { $0 * $0 }
  /// print(try await result.get(timeout: .seconds(1)))  // 100
  /// ```
  ///
  /// Does not block. The closure and its arguments are as with `apply`.
  ///
  /// - Throws: `notTransferable` for a closure that captures what cannot be sent; `closed` for a pool that is,
  ///   `poolFailed` when it has no workers, `cancelled` when it was terminated.
  @discardableResult
  public func submit<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Output
  ) throws(IPCError) -> PoolResult<Output> {
    try call(
      ValueFunction<repeat each A, Output>(body: body), Output.self, repeat each arguments,
      options: options
    )
    .submit()
  }

  /// Has one task run, with a closure that can be suspended.
  @_disfavoredOverload
  @discardableResult
  public func submit<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) throws(IPCError) -> PoolResult<Output> {
    try call(
      AsyncValueFunction<repeat each A, Output>(body: body), Output.self, repeat each arguments,
      options: options
    )
    .submit()
  }

  /// Has one task run that returns nothing.
  @discardableResult
  public func submit<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Void
  ) throws(IPCError) -> PoolResult<Void> {
    try call(
      ActionFunction<repeat each A>(body: body), Void.self, repeat each arguments, options: options
    )
    .submit()
  }

  /// Has one task run that returns nothing, with a closure that can be suspended.
  @_disfavoredOverload
  @discardableResult
  public func submit<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Void
  ) throws(IPCError) -> PoolResult<Void> {
    try call(
      AsyncActionFunction<repeat each A>(body: body), Void.self, repeat each arguments,
      options: options
    )
    .submit()
  }

  /// Has a task run that is a type.
  @discardableResult
  public func submit<T: ProcessTask>(
    task: T, options: TaskOptions = .init()
  ) throws(IPCError) -> PoolResult<T.Output> {
    try list([task], 1, options).submit()
  }

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
    try list(UnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options)
      .submitMany()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func submitMap<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) throws(IPCError) -> PoolBatch<Output> {
    try list(AsyncUnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options)
      .submitMany()
  }

  /// The same with a closure that returns nothing.
  public func submitMap<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Void
  ) throws(IPCError) -> PoolBatch<Void> {
    try list(UnaryAction<A>(body: body), Void.self, inputs, chunkSize, options).submitMany()
  }

  /// The same with a closure that can be suspended and returns nothing.
  @_disfavoredOverload
  public func submitMap<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Void
  ) throws(IPCError) -> PoolBatch<Void> {
    try list(AsyncUnaryAction<A>(body: body), Void.self, inputs, chunkSize, options).submitMany()
  }

  /// The same with tasks that are a type.
  public func submitMap<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) throws(IPCError) -> PoolBatch<T.Output> {
    try list(tasks, chunkSize, options).submitMany()
  }
}
