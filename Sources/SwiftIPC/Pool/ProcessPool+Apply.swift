// SPDX-License-Identifier: Apache-2.0

// The variants of a call differ in how the closure is called: the compiler takes the first that fits.

extension ProcessPool {
  // MARK: - Blocking

  /// Runs one task and waits for what it returns. Blocks, and does the pool's work meanwhile.
  ///
  /// ```swift
  /// let square = try pool.apply(12) { $0 * $0 }  // 144
  /// ```
  ///
  /// **What can be sent.** The body is a closure, or a function by its name. What it needs are its
  /// arguments: they are copied as `Codable` does, shared objects in them are the same in both
  /// processes, and a `Connection` moves to the task. It may capture numbers, and functions that can
  /// be sent themselves; everything else is passed as an argument, or is a property of a `ProcessTask`.
  /// `ChildProcess.start` says it in full.
  ///
  /// - Throws: `RemoteError` when the task throws; `IPCError` with `workerDied` when its worker died over
  ///   it, `timedOut` where its options have a timeout, `malformedMessage` when an argument or
  ///   the result cannot be decoded; `notTransferable` for a closure that captures what cannot be sent; `closed`
  ///   for a pool that is, `cancelled` when it is terminated, `poolFailed` when it has no workers.
  @available(
    *, noasync,
    message: "use 'try await apply'; at top level: func run() async throws { … }; try await run()"
  )
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Output
  ) throws -> Output {
    let function = try function(
      ValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let job = ListJob<Output>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try run(job)
    return try job.value()
  }

  /// Runs one task that returns nothing. Blocks.
  @available(
    *, noasync,
    message: "use 'try await apply'; at top level: func run() async throws { … }; try await run()"
  )
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Void
  ) throws {
    let function = try function(
      ActionFunction<repeat each A>(body: body), of: repeat (each A).self,
      output: nil)
    let job = ListJob<Void>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try run(job)
    try job.value()
  }

  /// Runs one task with a closure that can be suspended. Blocks.
  @available(
    *, noasync,
    message: "use 'try await apply'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) throws -> Output {
    let function = try function(
      AsyncValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let job = ListJob<Output>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try run(job)
    return try job.value()
  }

  /// Runs one task with a closure that can be suspended, and that returns nothing. Blocks.
  @available(
    *, noasync,
    message: "use 'try await apply'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Void
  ) throws {
    let function = try function(
      AsyncActionFunction<repeat each A>(body: body), of: repeat (each A).self,
      output: nil)
    let job = ListJob<Void>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try run(job)
    try job.value()
  }

  /// Runs one task that is handed the state of its worker. Blocks.
  @available(
    *, noasync,
    message: "use 'try await apply'; at top level: func run() async throws { … }; try await run()"
  )
  public func apply<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) throws -> Output {
    try check(state)
    let function = try function(
      StatefulValueFunction<State, repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self, takesState: true)
    let job = ListJob<Output>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try run(job)
    return try job.value()
  }

  /// Runs one task that is handed the state of its worker, that returns nothing. Blocks.
  @available(
    *, noasync,
    message: "use 'try await apply'; at top level: func run() async throws { … }; try await run()"
  )
  public func apply<State, each A: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Void
  ) throws {
    try check(state)
    let function = try function(
      StatefulActionFunction<State, repeat each A>(body: body), of: repeat (each A).self,
      output: nil, takesState: true)
    let job = ListJob<Void>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try run(job)
    try job.value()
  }

  /// Runs one task with a closure that can be suspended, that is handed the state of its worker.
  /// Blocks.
  @available(
    *, noasync,
    message: "use 'try await apply'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func apply<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) throws -> Output {
    try check(state)
    let function = try function(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body),
      of: repeat (each A).self,
      output: Output.self, takesState: true)
    let job = ListJob<Output>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try run(job)
    return try job.value()
  }

  /// Runs one task with a closure that can be suspended, that is handed the state of its worker, that returns nothing.
  /// Blocks.
  @available(
    *, noasync,
    message: "use 'try await apply'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func apply<State, each A: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Void
  ) throws {
    try check(state)
    let function = try function(
      AsyncStatefulActionFunction<State, repeat each A>(body: body), of: repeat (each A).self,
      output: nil, takesState: true)
    let job = ListJob<Void>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try run(job)
    try job.value()
  }

  /// Runs a task that is a type, and waits for what it returns. Blocks.
  @available(
    *, noasync,
    message: "use 'try await apply'; at top level: func run() async throws { … }; try await run()"
  )
  @discardableResult
  public func apply<T: ProcessTask>(
    task: T, options: TaskOptions = .init()
  ) throws -> T.Output {
    let job = ListJob<T.Output>(
      try core.functions.function(of: T.self), options, ListInputs([task]), chunkSize: 1)
    try run(job)
    return try job.value()
  }

  // MARK: - Asynchronous

  /// Runs one task and waits for what it returns. No thread is blocked.
  ///
  /// ```swift
  /// let square = try await pool.apply(12) { $0 * $0 }  // 144
  /// ```
  ///
  /// - Throws: as the blocking form; `cancelled` when the waiting task is: then the pool's task does not
  ///   begin any more, and ends where its options say so.
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Output
  ) async throws -> Output {
    let function = try function(
      ValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let job = ListJob<Output>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try await run(job)
    return try job.value()
  }

  /// Runs one task that returns nothing. No thread is blocked.
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Void
  ) async throws {
    let function = try function(
      ActionFunction<repeat each A>(body: body), of: repeat (each A).self,
      output: nil)
    let job = ListJob<Void>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try await run(job)
    try job.value()
  }

  /// Runs one task with a closure that can be suspended. No thread is blocked.
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) async throws -> Output {
    let function = try function(
      AsyncValueFunction<repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self)
    let job = ListJob<Output>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try await run(job)
    return try job.value()
  }

  /// Runs one task with a closure that can be suspended, that returns nothing.
  /// No thread is blocked.
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Void
  ) async throws {
    let function = try function(
      AsyncActionFunction<repeat each A>(body: body), of: repeat (each A).self,
      output: nil)
    let job = ListJob<Void>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try await run(job)
    try job.value()
  }

  /// Runs one task that is handed the state of its worker. No thread is blocked.
  public func apply<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Output
  ) async throws -> Output {
    try check(state)
    let function = try function(
      StatefulValueFunction<State, repeat each A, Output>(body: body), of: repeat (each A).self,
      output: Output.self, takesState: true)
    let job = ListJob<Output>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try await run(job)
    return try job.value()
  }

  /// Runs one task that is handed the state of its worker, that returns nothing. No thread is blocked.
  public func apply<State, each A: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @Sendable (inout State, repeat each A) throws -> Void
  ) async throws {
    try check(state)
    let function = try function(
      StatefulActionFunction<State, repeat each A>(body: body), of: repeat (each A).self,
      output: nil, takesState: true)
    let job = ListJob<Void>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try await run(job)
    try job.value()
  }

  /// Runs one task with a closure that can be suspended, that is handed the state of its worker.
  /// No thread is blocked.
  @_disfavoredOverload
  public func apply<State, each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  ) async throws -> Output {
    try check(state)
    let function = try function(
      AsyncStatefulValueFunction<State, repeat each A, Output>(body: body),
      of: repeat (each A).self,
      output: Output.self, takesState: true)
    let job = ListJob<Output>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try await run(job)
    return try job.value()
  }

  /// Runs one task with a closure that can be suspended, that is handed the state of its worker, that returns nothing.
  /// No thread is blocked.
  @_disfavoredOverload
  public func apply<State, each A: Codable & Sendable>(
    _ arguments: repeat each A, state: State.Type, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (inout State, repeat each A) async throws -> Void
  ) async throws {
    try check(state)
    let function = try function(
      AsyncStatefulActionFunction<State, repeat each A>(body: body), of: repeat (each A).self,
      output: nil, takesState: true)
    let job = ListJob<Void>(
      function, options, TupleInputs([(repeat each arguments)]), chunkSize: 1)
    try await run(job)
    try job.value()
  }

  /// Runs a task that is a type, and waits for what it returns. No thread is blocked.
  @discardableResult
  public func apply<T: ProcessTask>(
    task: T, options: TaskOptions = .init()
  ) async throws -> T.Output {
    let job = ListJob<T.Output>(
      try core.functions.function(of: T.self), options, ListInputs([task]), chunkSize: 1)
    try await run(job)
    return try job.value()
  }
}
