// SPDX-License-Identifier: Apache-2.0

extension ProcessPool {
  /// Applies a closure to all elements, each as a task, and waits for the results, in the elements' order.
  /// Blocks, and does the pool's work meanwhile.
  ///
  /// ```swift
  /// let squares = try pool.map(0..<10) { $0 * $0 }  // [0, 1, 4, …, 81]
  /// ```
  ///
  /// The closure may be a function by its name, and may capture numbers, and functions that can be sent
  /// themselves; everything else that it needs is in the elements, or in the pool's state
  /// (`ChildProcess.start` says what can be sent). Elements go to workers in chunks. Where no size is given they
  /// adapt to the time that elements take: the first go singly, later ones as many as half a millisecond is
  /// enough for.
  ///
  /// - Throws: the error of the first task that fails, as `apply` does; then those that have not begun do
  ///   not begin. `mapResults` goes on.
  @available(
    *, noasync,
    message: "use 'try await map'; at top level: func run() async throws { … }; try await run()"
  )
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) throws -> [Output] {
    let function = try function(
      UnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try run(job)
    return try job.values()
  }

  /// The same with a closure that can be suspended.
  @available(
    *, noasync,
    message: "use 'try await map'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) throws -> [Output] {
    let function = try function(
      AsyncUnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try run(job)
    return try job.values()
  }

  /// The same with a closure that is handed the state of its worker.
  @available(
    *, noasync,
    message: "use 'try await map'; at top level: func run() async throws { … }; try await run()"
  )
  public func map<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) throws -> [Output] {
    try check(state)
    let function = try function(
      StatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
      takesState: true)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try run(job)
    return try job.values()
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @available(
    *, noasync,
    message: "use 'try await map'; at top level: func run() async throws { … }; try await run()"
  )
  @_disfavoredOverload
  public func map<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) throws -> [Output] {
    try check(state)
    let function = try function(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
      takesState: true)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try run(job)
    return try job.values()
  }

  /// The same with tasks that are a type. Blocks.
  @available(
    *, noasync,
    message: "use 'try await map'; at top level: func run() async throws { … }; try await run()"
  )
  public func map<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) throws -> [T.Output] {
    let function = try core.functions.function(of: T.self)
    let job = ListJob<T.Output>(
      function, options, ListInputs(from: tasks), chunkSize: chunkSize)
    try run(job)
    return try job.values()
  }

  /// Applies a closure to all elements, each as a task, and waits for the results, in the elements' order.
  /// No thread is blocked.
  ///
  /// ```swift
  /// let squares = try await pool.map(0..<10) { $0 * $0 }  // [0, 1, 4, …, 81]
  /// ```
  ///
  /// - Throws: as the blocking form; `cancelled` when the waiting task is: then tasks that have not
  ///   begun do not, and others end where the options say so.
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) async throws -> [Output] {
    let function = try function(
      UnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try await run(job)
    return try job.values()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) async throws -> [Output] {
    let function = try function(
      AsyncUnaryFunction<A, Output>(body: body), of: A.self, output: Output.self)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try await run(job)
    return try job.values()
  }

  /// The same with a closure that is handed the state of its worker.
  public func map<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @Sendable (inout State, A) throws -> Output
  ) async throws -> [Output] {
    try check(state)
    let function = try function(
      StatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
      takesState: true)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try await run(job)
    return try job.values()
  }

  /// The same with a closure that can be suspended and that is handed the state of its worker.
  @_disfavoredOverload
  public func map<State, A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, state: State.Type, chunkSize: Int? = nil,
    options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (inout State, A) async throws -> Output
  ) async throws -> [Output] {
    try check(state)
    let function = try function(
      AsyncStatefulUnaryFunction<State, A, Output>(body: body), of: A.self, output: Output.self,
      takesState: true)
    let job = ListJob<Output>(
      function, options, ListInputs(from: inputs), chunkSize: chunkSize)
    try await run(job)
    return try job.values()
  }

  /// The same with tasks that are a type. No thread is blocked.
  public func map<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) async throws -> [T.Output] {
    let function = try core.functions.function(of: T.self)
    let job = ListJob<T.Output>(
      function, options, ListInputs(from: tasks), chunkSize: chunkSize)
    try await run(job)
    return try job.values()
  }
}
