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
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(of: inputs, isOrdered: true, window, chunkSize, options) {
      () throws(IPCError) in
      try function(
        UnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    }
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func imap<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(of: inputs, isOrdered: true, window, chunkSize, options) {
      () throws(IPCError) in
      try function(
        AsyncUnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    }
  }

  /// The same with a closure that is handed the state of its worker.
  public func imap<State, A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, state: State.Type, window: Int? = nil, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(of: inputs, isOrdered: true, window, chunkSize, options) {
      () throws(IPCError) in
      try check(state)
      return try function(
        StatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
        takesState: true)
    }
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @_disfavoredOverload
  public func imap<State, A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, state: State.Type, window: Int? = nil, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(of: inputs, isOrdered: true, window, chunkSize, options) {
      () throws(IPCError) in
      try check(state)
      return try function(
        AsyncStatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
        takesState: true)
    }
  }

  /// The same with tasks that are a type.
  public func imap<T: ProcessTask, Tasks: Sequence<T>>(
    tasks: Tasks, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) -> PoolResults<Tasks, T.Output> {
    results(of: tasks, isOrdered: true, window, chunkSize, options) {
      () throws(IPCError) in
      try core.functions.function(of: T.self)
    }
  }

  /// Applies a closure to elements as they are asked for, each as a task: a lazy sequence of the results, in
  /// the order in which they come.
  ///
  /// Otherwise as `imap`.
  public func imapUnordered<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(of: inputs, isOrdered: false, window, chunkSize, options) {
      () throws(IPCError) in
      try function(
        UnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    }
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func imapUnordered<A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>>(
    _ inputs: Inputs, window: Int? = nil, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(of: inputs, isOrdered: false, window, chunkSize, options) {
      () throws(IPCError) in
      try function(
        AsyncUnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    }
  }

  /// The same with a closure that is handed the state of its worker.
  public func imapUnordered<
    State, A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>
  >(
    _ inputs: Inputs, state: State.Type, window: Int? = nil, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(of: inputs, isOrdered: false, window, chunkSize, options) {
      () throws(IPCError) in
      try check(state)
      return try function(
        StatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
        takesState: true)
    }
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @_disfavoredOverload
  public func imapUnordered<
    State, A: Codable & Sendable, Output: Codable & Sendable, Inputs: Sequence<A>
  >(
    _ inputs: Inputs, state: State.Type, window: Int? = nil, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) -> PoolResults<Inputs, Output> {
    results(of: inputs, isOrdered: false, window, chunkSize, options) {
      () throws(IPCError) in
      try check(state)
      return try function(
        AsyncStatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
        takesState: true)
    }
  }

  /// The same with tasks that are a type.
  public func imapUnordered<T: ProcessTask, Tasks: Sequence<T>>(
    tasks: Tasks, window: Int? = nil, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) -> PoolResults<Tasks, T.Output> {
    results(of: tasks, isOrdered: false, window, chunkSize, options) {
      () throws(IPCError) in
      try core.functions.function(of: T.self)
    }
  }
}
