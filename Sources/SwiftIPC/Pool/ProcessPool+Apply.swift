// SPDX-License-Identifier: Apache-2.0

// The variants of a call differ in how the closure is called: the compiler takes the first that fits.

extension ProcessPool {
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
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Output
  ) throws -> Output {
    try call(
      ValueFunction<repeat each A, Output>(body: body), Output.self, repeat each arguments,
      options: options
    )
    .run().value()
  }

  /// Runs one task, with a closure that can be suspended. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) throws -> Output {
    try call(
      AsyncValueFunction<repeat each A, Output>(body: body), Output.self, repeat each arguments,
      options: options
    )
    .run().value()
  }

  /// Runs one task that returns nothing. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Void
  ) throws {
    try call(
      ActionFunction<repeat each A>(body: body), Void.self, repeat each arguments, options: options
    )
    .run().value()
  }

  /// Runs one task that returns nothing, with a closure that can be suspended. Blocks.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Void
  ) throws {
    try call(
      AsyncActionFunction<repeat each A>(body: body), Void.self, repeat each arguments,
      options: options
    )
    .run().value()
  }

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
    try await call(
      ValueFunction<repeat each A, Output>(body: body), Output.self, repeat each arguments,
      options: options
    )
    .run().value()
  }

  /// Runs one task, with a closure that can be suspended. No thread is blocked.
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable, Output: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) async throws -> Output {
    try await call(
      AsyncValueFunction<repeat each A, Output>(body: body), Output.self, repeat each arguments,
      options: options
    )
    .run().value()
  }

  /// Runs one task that returns nothing. No thread is blocked.
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @Sendable (repeat each A) throws -> Void
  ) async throws {
    try await call(
      ActionFunction<repeat each A>(body: body), Void.self, repeat each arguments, options: options
    )
    .run().value()
  }

  /// Runs one task that returns nothing, with a closure that can be suspended. No thread is blocked.
  @_disfavoredOverload
  public func apply<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: TaskOptions = .init(),
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Void
  ) async throws {
    try await call(
      AsyncActionFunction<repeat each A>(body: body), Void.self, repeat each arguments,
      options: options
    )
    .run().value()
  }

  /// Runs a task that is a type, and waits for what it returns. Blocks.
  ///
  /// ```swift
  /// try pool.run(Greet(name: "bob"))
  /// ```
  ///
  /// - Throws: as `apply`.
  @available(*, noasync, message: "use 'await'; at top level, inside 'func run() async throws'")
  @discardableResult
  public func run<T: ProcessTask>(
    _ task: T, options: TaskOptions = .init()
  ) throws -> T.Output {
    try list([task], 1, options).run().value()
  }

  /// Runs a task that is a type, and waits for what it returns. No thread is blocked.
  ///
  /// - Throws: as `apply`.
  @discardableResult
  public func run<T: ProcessTask>(
    _ task: T, options: TaskOptions = .init()
  ) async throws -> T.Output {
    try await list([task], 1, options).run().value()
  }
}
