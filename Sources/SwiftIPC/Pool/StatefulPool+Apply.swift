// SPDX-License-Identifier: Apache-2.0
public import MessageCoding

extension StatefulPool {
  /// Runs one task with the state of its worker, and waits for what it returns. Blocks, and does the pool's
  /// work meanwhile.
  ///
  /// ```swift
  /// let label = try pool.with(Model.self).apply("cat") { model, name in try model.label(name) }
  /// ```
  ///
  /// Otherwise as `ProcessPool.apply`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) throws -> Output {
    try call(
      StatefulValueFunction<State, repeat each A, Output>(body: body), Output.self,
      repeat each arguments, options: options
    )
    .run().value()
  }

  /// Runs one task, with a closure that can be suspended. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) throws -> Output {
    try call(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body), Output.self,
      repeat each arguments, options: options
    )
    .run().value()
  }

  /// Runs one task that returns nothing. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Void
  ) throws {
    try call(
      StatefulActionFunction<State, repeat each A>(body: body), Void.self, repeat each arguments,
      options: options
    )
    .run().value()
  }

  /// Runs one task that returns nothing, with a closure that can be suspended. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Void
  ) throws {
    try call(
      AsyncStatefulActionFunction<State, repeat each A>(body: body), Void.self,
      repeat each arguments, options: options
    )
    .run().value()
  }

  /// Runs one task with the state of its worker, and waits for what it returns. No thread is blocked.
  ///
  /// Otherwise as `ProcessPool.apply`.
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) async throws -> Output {
    try await call(
      StatefulValueFunction<State, repeat each A, Output>(body: body), Output.self,
      repeat each arguments, options: options
    )
    .run().value()
  }

  /// Runs one task, with a closure that can be suspended. No thread is blocked.
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) async throws -> Output {
    try await call(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body), Output.self,
      repeat each arguments, options: options
    )
    .run().value()
  }

  /// Runs one task that returns nothing. No thread is blocked.
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Void
  ) async throws {
    try await call(
      StatefulActionFunction<State, repeat each A>(body: body), Void.self, repeat each arguments,
      options: options
    )
    .run().value()
  }

  /// Runs one task that returns nothing, with a closure that can be suspended. No thread is blocked.
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Void
  ) async throws {
    try await call(
      AsyncStatefulActionFunction<State, repeat each A>(body: body), Void.self,
      repeat each arguments, options: options
    )
    .run().value()
  }

  /// Has one task run with the state of its worker, and returns a handle for its result at once.
  ///
  /// Otherwise as `ProcessPool.submit`.
  @discardableResult
  public func submit<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) throws(IPCError) -> PoolResult<Output> {
    try call(
      StatefulValueFunction<State, repeat each A, Output>(body: body), Output.self,
      repeat each arguments, options: options
    )
    .submit()
  }

  /// Has one task run, with a closure that can be suspended.
  @_disfavoredOverload
  @discardableResult
  public func submit<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) throws(IPCError) -> PoolResult<Output> {
    try call(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body), Output.self,
      repeat each arguments, options: options
    )
    .submit()
  }

  /// Has one task run that returns nothing.
  @discardableResult
  public func submit<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Void
  ) throws(IPCError) -> PoolResult<Void> {
    try call(
      StatefulActionFunction<State, repeat each A>(body: body), Void.self, repeat each arguments,
      options: options
    )
    .submit()
  }

  /// Has one task run that returns nothing, with a closure that can be suspended.
  @_disfavoredOverload
  @discardableResult
  public func submit<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Void
  ) throws(IPCError) -> PoolResult<Void> {
    try call(
      AsyncStatefulActionFunction<State, repeat each A>(body: body), Void.self,
      repeat each arguments, options: options
    )
    .submit()
  }
}
