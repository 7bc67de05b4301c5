// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

extension StatefulPool {
  /// Applies a closure to the worker's state and each element, and waits for the results, in the elements'
  /// order. Blocks.
  ///
  /// Otherwise as `ProcessPool.map`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) throws -> [Output] {
    try list(
      StatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run().values()
  }

  /// The same with a closure that can be suspended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) throws -> [Output] {
    try list(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize,
      options
    )
    .run().values()
  }

  /// Applies a closure to the worker's state and each element, and waits for the results, in the elements'
  /// order. No thread is blocked.
  ///
  /// Otherwise as `ProcessPool.map`.
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) async throws -> [Output] {
    try await list(
      StatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run().values()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) async throws -> [Output] {
    try await list(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize,
      options
    )
    .run().values()
  }

  /// Applies a closure to the worker's state and each element, and waits for what becomes of each. Blocks.
  ///
  /// Otherwise as `ProcessPool.mapResults`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) throws -> [Result<Output, any Error>] {
    try list(
      StatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run(stopsAtError: false).results()
  }

  /// The same with a closure that can be suspended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) throws -> [Result<Output, any Error>] {
    try list(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize,
      options
    )
    .run(stopsAtError: false).results()
  }

  /// Applies a closure to the worker's state and each element, and waits for what becomes of each. No thread is blocked.
  ///
  /// Otherwise as `ProcessPool.mapResults`.
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) async throws -> [Result<Output, any Error>] {
    try await list(
      StatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run(stopsAtError: false).results()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) async throws -> [Result<Output, any Error>] {
    try await list(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize,
      options
    )
    .run(stopsAtError: false).results()
  }

  /// Applies a closure that returns nothing to the worker's state and each element. Blocks.
  ///
  /// Otherwise as `ProcessPool.forEach`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Void
  ) throws {
    _ = try list(StatefulUnaryAction<State, A>(body: body), Void.self, inputs, chunkSize, options)
      .run().values()
  }

  /// The same with a closure that can be suspended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Void
  ) throws {
    _ = try list(
      AsyncStatefulUnaryAction<State, A>(body: body), Void.self, inputs, chunkSize, options
    )
    .run().values()
  }

  /// Applies a closure that returns nothing to the worker's state and each element. No thread is blocked.
  ///
  /// Otherwise as `ProcessPool.forEach`.
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Void
  ) async throws {
    _ = try await list(
      StatefulUnaryAction<State, A>(body: body), Void.self, inputs, chunkSize, options
    )
    .run().values()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Void
  ) async throws {
    _ = try await list(
      AsyncStatefulUnaryAction<State, A>(body: body), Void.self, inputs, chunkSize, options
    )
    .run().values()
  }

  /// Applies a closure to the worker's state and the parts of each tuple. Blocks.
  ///
  /// Otherwise as `ProcessPool.starmap`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) throws -> [Output] {
    try tuples(
      StatefulValueFunction<State, repeat each A, Output>(body: body), Output.self, inputs,
      chunkSize, options
    )
    .run().values()
  }

  /// The same with a closure that can be suspended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) throws -> [Output] {
    try tuples(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body), Output.self, inputs,
      chunkSize, options
    )
    .run().values()
  }

  /// Applies a closure to the worker's state and the parts of each tuple. No thread is blocked.
  ///
  /// Otherwise as `ProcessPool.starmap`.
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) async throws -> [Output] {
    try await tuples(
      StatefulValueFunction<State, repeat each A, Output>(body: body), Output.self, inputs,
      chunkSize, options
    )
    .run().values()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) async throws -> [Output] {
    try await tuples(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body), Output.self, inputs,
      chunkSize, options
    )
    .run().values()
  }

  /// Has a closure applied to the worker's state and each element, and returns one handle for the results at
  /// once.
  ///
  /// Otherwise as `ProcessPool.submitMap`.
  public func submitMap<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) throws(IPCError) -> PoolBatch<Output> {
    try list(
      StatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize, options
    ).submitMany()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func submitMap<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) throws(IPCError) -> PoolBatch<Output> {
    try list(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), Output.self, inputs, chunkSize,
      options
    ).submitMany()
  }

  /// The same with a closure that returns nothing.
  public func submitMap<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Void
  ) throws(IPCError) -> PoolBatch<Void> {
    try list(StatefulUnaryAction<State, A>(body: body), Void.self, inputs, chunkSize, options)
      .submitMany()
  }

  /// The same with a closure that can be suspended and returns nothing.
  @_disfavoredOverload
  public func submitMap<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Void
  ) throws(IPCError) -> PoolBatch<Void> {
    try list(AsyncStatefulUnaryAction<State, A>(body: body), Void.self, inputs, chunkSize, options)
      .submitMany()
  }
}
