// SPDX-License-Identifier: Apache-2.0

extension ProcessPool {
  /// Applies a closure that returns nothing to all elements, each as a task, and waits for the end of all.
  /// Blocks.
  ///
  /// - Throws: as `map`.
  @available(
    *, noasync,
    message: "use 'try await forEach'; at top level: func run() async throws { … }; try await run()"
  )
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Void
  ) throws {
    let function = try function(
      UnaryAction<A>(body: body), of: A.self, output: nil)
    let job = ListJob<Void>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try run(job)
    _ = try job.values()
  }

  /// The same with a closure that can be suspended.
  @available(
    *, noasync,
    message: "use 'try await forEach'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Void
  ) throws {
    let function = try function(
      AsyncUnaryAction<A>(body: body), of: A.self, output: nil)
    let job = ListJob<Void>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try run(job)
    _ = try job.values()
  }

  /// The same with a closure that is handed the state of its worker.
  @available(
    *, noasync,
    message: "use 'try await forEach'; at top level: func run() async throws { … }; try await run()"
  )
  public func forEach<State, A: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Void
  ) throws {
    try check(state)
    let function = try function(
      StatefulUnaryAction<State, A>(body: body), of: A.self, output: nil,
      takesState: true)
    let job = ListJob<Void>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try run(job)
    _ = try job.values()
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @available(
    *, noasync,
    message: "use 'try await forEach'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func forEach<State, A: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Void
  ) throws {
    try check(state)
    let function = try function(
      AsyncStatefulUnaryAction<State, A>(body: body), of: A.self, output: nil,
      takesState: true)
    let job = ListJob<Void>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try run(job)
    _ = try job.values()
  }

  /// Applies a closure that returns nothing to all elements, each as a task, and waits for the end of all.
  /// No thread is blocked.
  ///
  /// - Throws: as `map`.
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Void
  ) async throws {
    let function = try function(
      UnaryAction<A>(body: body), of: A.self, output: nil)
    let job = ListJob<Void>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try await run(job)
    _ = try job.values()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Void
  ) async throws {
    let function = try function(
      AsyncUnaryAction<A>(body: body), of: A.self, output: nil)
    let job = ListJob<Void>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try await run(job)
    _ = try job.values()
  }

  /// The same with a closure that is handed the state of its worker.
  public func forEach<State, A: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Void
  ) async throws {
    try check(state)
    let function = try function(
      StatefulUnaryAction<State, A>(body: body), of: A.self, output: nil,
      takesState: true)
    let job = ListJob<Void>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try await run(job)
    _ = try job.values()
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @_disfavoredOverload
  public func forEach<State, A: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Void
  ) async throws {
    try check(state)
    let function = try function(
      AsyncStatefulUnaryAction<State, A>(body: body), of: A.self, output: nil,
      takesState: true)
    let job = ListJob<Void>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try await run(job)
    _ = try job.values()
  }
}
