// SPDX-License-Identifier: Apache-2.0

extension ProcessPool {
  /// Applies a closure to all tuples, each as a task that has the tuple's parts as its arguments, and waits
  /// for the results, in order. Blocks.
  ///
  /// ```swift
  /// let products = try pool.starmap([(2, 3), (4, 5)]) { $0 * $1 }  // [6, 20]
  /// ```
  ///
  /// Otherwise as `map`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (repeat each A) throws -> Output
  ) throws -> [Output] {
    try tuples(
      ValueFunction<repeat each A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run().values()
  }

  /// The same with a closure that can be suspended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) throws -> [Output] {
    try tuples(
      AsyncValueFunction<repeat each A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run().values()
  }

  /// Applies a closure to all tuples, each as a task that has the tuple's parts as its arguments, and waits
  /// for the results, in order. No thread is blocked.
  ///
  /// ```swift
  /// let products = try await pool.starmap([(2, 3), (4, 5)]) { $0 * $1 }  // [6, 20]
  /// ```
  ///
  /// Otherwise as `map`.
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (repeat each A) throws -> Output
  ) async throws -> [Output] {
    try await tuples(
      ValueFunction<repeat each A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run().values()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) async throws -> [Output] {
    try await tuples(
      AsyncValueFunction<repeat each A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run().values()
  }
}
