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
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) throws -> [Output] {
    try list(UnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options)
      .run().values()
  }

  /// The same with a closure that can be suspended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) throws -> [Output] {
    try list(AsyncUnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options)
      .run().values()
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
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) async throws -> [Output] {
    try await list(UnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options)
      .run().values()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func map<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) async throws -> [Output] {
    try await list(
      AsyncUnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run().values()
  }

  /// The same with tasks that are a type. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func map<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) throws -> [T.Output] {
    try list(tasks, chunkSize, options).run().values()
  }

  /// The same with tasks that are a type. No thread is blocked.
  public func map<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) async throws -> [T.Output] {
    try await list(tasks, chunkSize, options).run().values()
  }

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
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) throws -> [Result<Output, any Error>] {
    try list(UnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options)
      .run(stopsAtError: false).results()
  }

  /// The same with a closure that can be suspended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) throws -> [Result<Output, any Error>] {
    try list(AsyncUnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options)
      .run(stopsAtError: false).results()
  }

  /// Applies a closure to all elements, each as a task, and waits for what becomes of each: its result, or
  /// its error. No thread is blocked.
  ///
  /// - Throws: what concerns all of them: `notTransferable`, `closed`, `cancelled`.
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Output
  ) async throws -> [Result<Output, any Error>] {
    try await list(UnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options)
      .run(stopsAtError: false).results()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func mapResults<A: Codable & Sendable, Output: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Output
  ) async throws -> [Result<Output, any Error>] {
    try await list(
      AsyncUnaryFunction<A, Output>(body: body), Output.self, inputs, chunkSize, options
    )
    .run(stopsAtError: false).results()
  }

  /// The same with tasks that are a type. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func mapResults<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) throws -> [Result<T.Output, any Error>] {
    try list(tasks, chunkSize, options).run(stopsAtError: false).results()
  }

  /// The same with tasks that are a type. No thread is blocked.
  public func mapResults<T: ProcessTask>(
    tasks: some Sequence<T>, chunkSize: Int? = nil, options: TaskOptions = .init()
  ) async throws -> [Result<T.Output, any Error>] {
    try await list(tasks, chunkSize, options).run(stopsAtError: false).results()
  }

  /// Applies a closure that returns nothing to all elements, each as a task, and waits for the end of all.
  /// Blocks.
  ///
  /// - Throws: as `map`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Void
  ) throws {
    _ = try list(UnaryAction<A>(body: body), Void.self, inputs, chunkSize, options)
      .run().values()
  }

  /// The same with a closure that can be suspended.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Void
  ) throws {
    _ = try list(AsyncUnaryAction<A>(body: body), Void.self, inputs, chunkSize, options)
      .run().values()
  }

  /// Applies a closure that returns nothing to all elements, each as a task, and waits for the end of all.
  /// No thread is blocked.
  ///
  /// - Throws: as `map`.
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @Sendable (A) throws -> Void
  ) async throws {
    _ = try await list(UnaryAction<A>(body: body), Void.self, inputs, chunkSize, options)
      .run().values()
  }

  /// The same with a closure that can be suspended.
  @_disfavoredOverload
  public func forEach<A: Codable & Sendable>(
    _ inputs: some Sequence<A>, chunkSize: Int? = nil, options: TaskOptions = .init(),
    _ body: @escaping @concurrent @Sendable (A) async throws -> Void
  ) async throws {
    _ = try await list(AsyncUnaryAction<A>(body: body), Void.self, inputs, chunkSize, options)
      .run().values()
  }
}
