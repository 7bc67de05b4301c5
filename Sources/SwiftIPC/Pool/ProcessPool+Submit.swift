// SPDX-License-Identifier: Apache-2.0

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
    let function = try function(
      ValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let inputs = TupleInputs([(repeat each arguments)])
    return try submit { whenOver in
      ListJob<Output>(function, options, inputs, chunkSize: 1, whenOver: whenOver)
    }
  }

  /// Has one task run that returns nothing.
  @discardableResult
  public func submit<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Void
  ) throws(IPCError) -> PoolResult<Void> {
    let function = try function(
      ActionFunction<repeat each A>(body: body), of: repeat (each A).self,
      output: nil)
    let inputs = TupleInputs([(repeat each arguments)])
    return try submit { whenOver in
      ListJob<Void>(function, options, inputs, chunkSize: 1, whenOver: whenOver)
    }
  }

  /// Has one task run with a closure that can be suspended.
  @_disfavoredOverload
  @discardableResult
  public func submit<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) throws(IPCError) -> PoolResult<Output> {
    let function = try function(
      AsyncValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let inputs = TupleInputs([(repeat each arguments)])
    return try submit { whenOver in
      ListJob<Output>(function, options, inputs, chunkSize: 1, whenOver: whenOver)
    }
  }

  /// Has one task run with a closure that can be suspended, that returns nothing.
  @_disfavoredOverload
  @discardableResult
  public func submit<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Void
  ) throws(IPCError) -> PoolResult<Void> {
    let function = try function(
      AsyncActionFunction<repeat each A>(body: body), of: repeat (each A).self,
      output: nil)
    let inputs = TupleInputs([(repeat each arguments)])
    return try submit { whenOver in
      ListJob<Void>(function, options, inputs, chunkSize: 1, whenOver: whenOver)
    }
  }

  /// Has one task run that is handed the state of its worker.
  @discardableResult
  public func submit<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) throws(IPCError) -> PoolResult<Output> {
    try check(state)
    let function = try function(
      StatefulValueFunction<State, repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self, takesState: true)
    let inputs = TupleInputs([(repeat each arguments)])
    return try submit { whenOver in
      ListJob<Output>(function, options, inputs, chunkSize: 1, whenOver: whenOver)
    }
  }

  /// Has one task run that is handed the state of its worker, that returns nothing.
  @discardableResult
  public func submit<State, each A: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Void
  ) throws(IPCError) -> PoolResult<Void> {
    try check(state)
    let function = try function(
      StatefulActionFunction<State, repeat each A>(body: body), of: repeat (each A).self,
      output: nil, takesState: true)
    let inputs = TupleInputs([(repeat each arguments)])
    return try submit { whenOver in
      ListJob<Void>(function, options, inputs, chunkSize: 1, whenOver: whenOver)
    }
  }

  /// Has one task run with a closure that can be suspended, that is handed the state of its worker.
  @_disfavoredOverload
  @discardableResult
  public func submit<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) throws(IPCError) -> PoolResult<Output> {
    try check(state)
    let function = try function(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body),
      of: repeat (each A).self,
      output: Output.self, takesState: true)
    let inputs = TupleInputs([(repeat each arguments)])
    return try submit { whenOver in
      ListJob<Output>(function, options, inputs, chunkSize: 1, whenOver: whenOver)
    }
  }

  /// Has one task run with a closure that can be suspended, that is handed the state of its worker, that returns nothing.
  @_disfavoredOverload
  @discardableResult
  public func submit<State, each A: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Void
  ) throws(IPCError) -> PoolResult<Void> {
    try check(state)
    let function = try function(
      AsyncStatefulActionFunction<State, repeat each A>(body: body), of: repeat (each A).self,
      output: nil, takesState: true)
    let inputs = TupleInputs([(repeat each arguments)])
    return try submit { whenOver in
      ListJob<Void>(function, options, inputs, chunkSize: 1, whenOver: whenOver)
    }
  }

  /// Has a task run that is a type.
  @discardableResult
  public func submit<T: ProcessTask>(
    task: T, options: TaskOptions = .init()
  ) throws(IPCError) -> PoolResult<T.Output> {
    let function = try core.functions.function(of: T.self)
    return try submit { whenOver in
      ListJob<T.Output>(
        function, options, ListInputs([task]), chunkSize: 1, whenOver: whenOver)
    }
  }
}
