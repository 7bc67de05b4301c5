// SPDX-License-Identifier: Apache-2.0

extension StatefulPool {
  /// Applies a closure to the worker's state and elements as they are asked for: a lazy sequence of the
  /// results, in the elements' order.
  ///
  /// Otherwise as `ProcessPool.imap`.
  public func imap<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(
      StatefulUnaryFunction<State, A, Output>(body: body), of: A.self, inputs, isOrdered: true,
      window, chunkSize, options)
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func imap<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), of: A.self, inputs, isOrdered: true,
      window, chunkSize, options)
  }

  /// Applies a closure to the worker's state and elements as they are asked for: a lazy sequence of the
  /// results, in the order in which they come.
  ///
  /// Otherwise as `ProcessPool.imapUnordered`.
  public func imapUnordered<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(
      StatefulUnaryFunction<State, A, Output>(body: body), of: A.self, inputs, isOrdered: false,
      window, chunkSize, options)
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func imapUnordered<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), of: A.self, inputs,
      isOrdered: false, window, chunkSize, options)
  }
}
