// SPDX-License-Identifier: Apache-2.0

extension ProcessPool {
  /// Applies a closure to all elements, each as a task, and waits for what becomes of each: its result, or
  /// its error. Blocks.
  ///
  /// ```swift
  /// for (name, size) in zip(names, try pool.mapResults(names) { try measure($0) }) {
  ///   print(name, (try? size.get()) ?? "failed")
  /// }
  /// ```
  ///
  /// Otherwise as `map`.
  ///
  /// - Throws: what concerns all of them: `notTransferable`, `closed`.
  @available(
    *, noasync,
    message:
      "use 'try await mapResults'; at top level: func run() async throws { … }; try await run()"
  )
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) throws -> [Result<Output, any Error>] {
    let function = try function(
      UnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize, stopsAtError: false)
    try run(job)
    return job.results()
  }

  /// The same with a closure that can be suspended.
  @available(
    *, noasync,
    message:
      "use 'try await mapResults'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) throws -> [Result<Output, any Error>] {
    let function = try function(
      AsyncUnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize, stopsAtError: false)
    try run(job)
    return job.results()
  }

  /// The same with a closure that is handed the state of its worker.
  @available(
    *, noasync,
    message:
      "use 'try await mapResults'; at top level: func run() async throws { … }; try await run()"
  )
  public func mapResults<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) throws -> [Result<Output, any Error>] {
    try check(state)
    let function = try function(
      StatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
      takesState: true)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize, stopsAtError: false)
    try run(job)
    return job.results()
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @available(
    *, noasync,
    message:
      "use 'try await mapResults'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func mapResults<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) throws -> [Result<Output, any Error>] {
    try check(state)
    let function = try function(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
      takesState: true)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize, stopsAtError: false)
    try run(job)
    return job.results()
  }

  /// The same with tasks that are a type. Blocks.
  @available(
    *, noasync,
    message:
      "use 'try await mapResults'; at top level: func run() async throws { … }; try await run()"
  )
  public func mapResults<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) throws -> [Result<T.Output, any Error>] {
    let function = try core.functions.function(of: T.self)
    let job = ListJob<T.Output>(
      function, options, ListInputs(from: tasks), chunkSize: chunkSize, stopsAtError: false)
    try run(job)
    return job.results()
  }

  /// Applies a closure to all elements, each as a task, and waits for what becomes of each: its result, or
  /// its error. No thread is blocked.
  ///
  /// - Throws: what concerns all of them: `notTransferable`, `closed`, `cancelled`.
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) async throws -> [Result<Output, any Error>] {
    let function = try function(
      UnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize, stopsAtError: false)
    try await run(job)
    return job.results()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) async throws -> [Result<Output, any Error>] {
    let function = try function(
      AsyncUnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize, stopsAtError: false)
    try await run(job)
    return job.results()
  }

  /// The same with a closure that is handed the state of its worker.
  public func mapResults<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) async throws -> [Result<Output, any Error>] {
    try check(state)
    let function = try function(
      StatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
      takesState: true)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize, stopsAtError: false)
    try await run(job)
    return job.results()
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @_disfavoredOverload
  public func mapResults<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) async throws -> [Result<Output, any Error>] {
    try check(state)
    let function = try function(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
      takesState: true)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize, stopsAtError: false)
    try await run(job)
    return job.results()
  }

  /// The same with tasks that are a type. No thread is blocked.
  public func mapResults<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) async throws -> [Result<T.Output, any Error>] {
    let function = try core.functions.function(of: T.self)
    let job = ListJob<T.Output>(
      function, options, ListInputs(from: tasks), chunkSize: chunkSize, stopsAtError: false)
    try await run(job)
    return job.results()
  }
}
