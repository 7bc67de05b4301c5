// SPDX-License-Identifier: Apache-2.0

extension ProcessPool {
  /// Applies a closure to elements as they are asked for, each as a task: a lazy sequence of the results, in
  /// the elements' order.
  ///
  /// ```swift
  /// for try await page in pool.imap(names, { try read($0) }) { show(page) }
  /// ```
  ///
  /// Elements are taken from the input as results are taken from the sequence, so that an input without
  /// end works: no more than `window` are taken whose results are not. The closure is as with `apply`.
  ///
  /// Tasks start when the first result is asked for. What cannot be sent is told then.
  ///
  /// - Parameters:
  ///   - window: how many elements may be on their way; `nil` for as many as keep the workers busy for some
  ///     milliseconds, but 16,384 at most.
  ///   - chunkSize: how many elements go to a worker at a time; `nil` to adapt.
  public func imap<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(
      UnaryFunction<A, Output>(body: body), of: A.self, inputs, isOrdered: true, window, chunkSize,
      options)
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func imap<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(
      AsyncUnaryFunction<A, Output>(body: body), of: A.self, inputs, isOrdered: true, window,
      chunkSize, options)
  }

  /// The same with tasks that are a type.
  public func imap<T: ProcessTask, Tasks: Sequence<T>>(
    tasks: Tasks, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) -> PoolResults<Tasks, T.Output> {
    results(of: tasks, isOrdered: true, window, chunkSize, options)
  }

  /// Applies a closure to elements as they are asked for, each as a task: a lazy sequence of the results, in
  /// the order in which they come.
  ///
  /// Otherwise as `imap`.
  public func imapUnordered<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(
      UnaryFunction<A, Output>(body: body), of: A.self, inputs, isOrdered: false, window, chunkSize,
      options)
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func imapUnordered<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(
      AsyncUnaryFunction<A, Output>(body: body), of: A.self, inputs, isOrdered: false, window,
      chunkSize, options)
  }

  /// The same with tasks that are a type.
  public func imapUnordered<T: ProcessTask, Tasks: Sequence<T>>(
    tasks: Tasks, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) -> PoolResults<Tasks, T.Output> {
    results(of: tasks, isOrdered: false, window, chunkSize, options)
  }
}
