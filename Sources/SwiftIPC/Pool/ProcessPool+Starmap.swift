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
  @available(
    *, noasync,
    message: "use 'try await starmap'; at top level: func run() async throws { … }; try await run()"
  )
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (repeat each A) throws -> Output
  ) throws -> [Output] {
    let function = try function(
      ValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let job = ListJob<Output>(
      function, options, TupleInputs(Array(inputs)), chunkSize: chunkSize)
    try run(job)
    return try job.values()
  }

  /// The same with a closure that can be suspended.
  @available(
    *, noasync,
    message: "use 'try await starmap'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) throws -> [Output] {
    let function = try function(
      AsyncValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let job = ListJob<Output>(
      function, options, TupleInputs(Array(inputs)), chunkSize: chunkSize)
    try run(job)
    return try job.values()
  }

  /// The same with a closure that is handed the state of its worker.
  @available(
    *, noasync,
    message: "use 'try await starmap'; at top level: func run() async throws { … }; try await run()"
  )
  public func starmap<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) throws -> [Output] {
    try check(state)
    let function = try function(
      StatefulValueFunction<State, repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self, takesState: true)
    let job = ListJob<Output>(
      function, options, TupleInputs(Array(inputs)), chunkSize: chunkSize)
    try run(job)
    return try job.values()
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @available(
    *, noasync,
    message: "use 'try await starmap'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func starmap<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) throws -> [Output] {
    try check(state)
    let function = try function(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body),
      of: repeat (each A).self,
      output: Output.self, takesState: true)
    let job = ListJob<Output>(
      function, options, TupleInputs(Array(inputs)), chunkSize: chunkSize)
    try run(job)
    return try job.values()
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
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (repeat each A) throws -> Output
  ) async throws -> [Output] {
    let function = try function(
      ValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let job = ListJob<Output>(
      function, options, TupleInputs(Array(inputs)), chunkSize: chunkSize)
    try await run(job)
    return try job.values()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func starmap<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) async throws -> [Output] {
    let function = try function(
      AsyncValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let job = ListJob<Output>(
      function, options, TupleInputs(Array(inputs)), chunkSize: chunkSize)
    try await run(job)
    return try job.values()
  }

  /// The same with a closure that is handed the state of its worker.
  public func starmap<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) async throws -> [Output] {
    try check(state)
    let function = try function(
      StatefulValueFunction<State, repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self, takesState: true)
    let job = ListJob<Output>(
      function, options, TupleInputs(Array(inputs)), chunkSize: chunkSize)
    try await run(job)
    return try job.values()
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @_disfavoredOverload
  public func starmap<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<(repeat each A)>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) async throws -> [Output] {
    try check(state)
    let function = try function(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body),
      of: repeat (each A).self,
      output: Output.self, takesState: true)
    let job = ListJob<Output>(
      function, options, TupleInputs(Array(inputs)), chunkSize: chunkSize)
    try await run(job)
    return try job.values()
  }
}
