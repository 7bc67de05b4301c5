// SPDX-License-Identifier: Apache-2.0
internal import IPCLibc
public import MessageCoding
internal import Synchronization

// One overload for each way in which a closure is called. The compiler takes the first that fits:
// without a value before with one, blocking before asynchronous.

extension ChildProcess where Output == Void {
  /// Starts a child that runs a closure with the arguments given.
  ///
  /// ```swift
  /// let child = try ChildProcess.start("bob", 3) { name, times in
  ///   for _ in 0..<times { print("hello \(name)") }
  /// }
  /// ```
  ///
  /// **What can be sent.** The body is a closure, or a function by its name. What it needs are its
  /// arguments: they are copied as `Codable` does, but shared objects are the same in both processes,
  /// and a `Connection` moves to the child. It may capture numbers (`Int`, `Double`, `Bool`, and
  /// structs and tuples of nothing but numbers) and functions that can be sent themselves. Texts,
  /// arrays, enums, optionals, objects, and so `self`, are no captures that can be sent: they are
  /// passed as arguments, or are properties of a `ProcessTask`. In generic functions closures can
  /// be sent where their types have names in another process, which those that are private or local
  /// in a generic context have not. A key path in place of a function is written as a closure, `{
  /// $0.count }`. All this is the same in debug and in release builds. With the start method `fork`
  /// a closure may capture anything.
  ///
  /// The child runs the closure on its main thread.
  ///
  /// Blocks until the arguments are with the kernel: about a millisecond, and as long as the child takes
  /// to begin where they are larger than 200 kB. A fork server that is stopped (SIGSTOP) is replaced,
  /// which takes half a second.
  ///
  /// A test that fails in a child is not seen: `#expect` of Swift Testing and `XCTAssert` record a
  /// failure in the process that they are called in, where no test runs. Return a value and expect it
  /// in the parent, or have the child throw, as `#require` does, and take its `value`, which throws
  /// then as well:
  ///
  /// ```swift
  /// @Test func wordsAreCounted() async throws {
  ///   let child = try ChildProcess.start("one two") { text in
  ///     let words = text.split(separator: " ")
  ///     try #require(words.first == "one")  // not #expect, which would say nothing
  ///     return words.count
  ///   }
  ///   #expect(try await child.value == 2)
  /// }
  /// ```
  ///
  /// - Parameter timeout: how long the start may take; `nil` for as long as it takes. When it is over
  ///   the child, if there is one by then, is killed. The time in which the kernel begins to execute the
  ///   program's file is not counted.
  /// - Throws: `timedOut`; `notTransferable` for a closure that captures what cannot be sent and for
  ///   an argument that cannot; `bootstrapFailed` where the start-up hook did not run in this
  ///   program, or the child ended before it took its task; `multipleThreads` for a fork in a
  ///   process that has more than one thread; `resourceLimit`, `outOfMemory` and what `posix_spawn`
  ///   says.
  @discardableResult
  public static func start<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: ChildProcessOptions = .init(),
    timeout: Duration? = nil, body: @escaping @Sendable (repeat each A) throws -> Void
  ) throws(IPCError) -> ChildProcess {
    try start(
      repeat each arguments, options: options, timeout: timeout, returning: nil,
      ActionFunction<repeat each A>(body: body))
  }

  /// Starts a child that runs an asynchronous closure with the arguments given; otherwise as with a
  /// closure that is not.
  ///
  /// The closure runs outside the main actor, while the main queue is served.
  @_disfavoredOverload
  @discardableResult
  public static func start<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: ChildProcessOptions = .init(),
    timeout: Duration? = nil,
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Void
  ) throws(IPCError) -> ChildProcess {
    try start(
      repeat each arguments, options: options, timeout: timeout, returning: nil,
      AsyncActionFunction<repeat each A>(body: body))
  }

  /// Starts a child that runs a task which returns nothing.
  ///
  /// ```swift
  /// try ChildProcess.start(task: Greet(name: "bob"), options: .init(name: "greeter"))
  /// ```
  ///
  /// Blocks as starting a closure does, and throws the same errors; `notTransferable` also for a task
  /// whose type cannot be named to another process.
  @discardableResult
  public static func start<T: ProcessTask>(
    task: T, options: ChildProcessOptions = .init(), timeout: Duration? = nil
  ) throws(IPCError) -> ChildProcess where T.Output == Void {
    try startTask(task, options, timeout, returnsValue: false)
  }
}

extension ChildProcess where Output: Codable {
  /// Starts a child that runs a closure with the arguments given and returns a value.
  ///
  /// ```swift
  /// let square = try ChildProcess.start(12) { $0 * $0 }
  /// print(try await square.value)  // 144
  /// ```
  ///
  /// Otherwise as with a closure that returns nothing.
  @discardableResult
  public static func start<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: ChildProcessOptions = .init(),
    timeout: Duration? = nil, body: @escaping @Sendable (repeat each A) throws -> Output
  ) throws(IPCError) -> ChildProcess {
    try start(
      repeat each arguments, options: options, timeout: timeout, returning: Output.self,
      ValueFunction<repeat each A, Output>(body: body))
  }

  /// Starts a child that runs an asynchronous closure with the arguments given and returns a value;
  /// otherwise as with a closure that is not.
  @_disfavoredOverload
  @discardableResult
  public static func start<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: ChildProcessOptions = .init(),
    timeout: Duration? = nil,
    body: @escaping @concurrent @Sendable (repeat each A) async throws -> Output
  ) throws(IPCError) -> ChildProcess {
    try start(
      repeat each arguments, options: options, timeout: timeout, returning: Output.self,
      AsyncValueFunction<repeat each A, Output>(body: body))
  }

  /// Starts a child that runs a task which returns a value.
  ///
  /// ```swift
  /// struct Square: ProcessTask {
  ///   var number: Int
  ///   func run() -> Int { number * number }
  /// }
  /// print(try await ChildProcess.start(task: Square(number: 12)).value)  // 144
  /// ```
  ///
  /// Otherwise as with a task that returns nothing.
  @discardableResult
  public static func start<T: ProcessTask>(
    task: T, options: ChildProcessOptions = .init(), timeout: Duration? = nil
  ) throws(IPCError) -> ChildProcess where T.Output == Output {
    try startTask(task, options, timeout, returnsValue: true)
  }
}

extension ChildProcess {
  private static func start<each A: Codable & Sendable>(
    _ arguments: repeat each A, options: ChildProcessOptions, timeout: Duration?,
    returning output: Any.Type?,
    _ function: some SendableFunction & ForkedTask
  ) throws(IPCError) -> ChildProcess {
    var types: [any Any.Type] = []
    for type in repeat (each A).self { types.append(type) }
    let work =
      options.isFork
      ? .inherited(hasArguments: !types.isEmpty)
      : try TaskHeader.Work(function, arguments: types, output: output)
    return try start(
      work, returnsValue: output != nil, OutgoingArguments(repeat each arguments), options,
      timeout, function)
  }

  private static func startTask<T: ProcessTask>(
    _ task: T, _ options: ChildProcessOptions, _ timeout: Duration?, returnsValue: Bool
  ) throws(IPCError) -> ChildProcess {
    try start(
      options.isFork ? .inherited(hasArguments: true) : .task(try TypeName(of: T.self)),
      returnsValue: returnsValue, task, options, timeout, ForkedProcessTask<T>())
  }

  private static func start(
    _ work: TaskHeader.Work, returnsValue: Bool, _ arguments: some Encodable,
    _ options: ChildProcessOptions, _ timeout: Duration?, _ forked: some ForkedTask
  ) throws(IPCError) -> ChildProcess {
    let header = TaskHeader(
      name: ChildNames.name(options), returnsValue: returnsValue, work: work)
    let deadline = Deadline.after(timeout)
    var message: (bytes: [UInt8], outbox: DescriptorOutbox?) = ([], nil)
    do {
      if header.hasArguments {
        // The child is this program.
        message = try MessageEncoder(isPeerSwift: true).encodeWithDescriptors(arguments)
      }
    } catch {
      throw error as? IPCError
        ?? IPCError(.notTransferable, context: "an argument of the child: \(error)")
    }
    return ChildProcess(
      try ChildHandle(
        header, message.bytes, message.outbox, options, until: deadline, forked: forked))
  }
}

extension ChildProcessOptions {
  var isFork: Bool { (method ?? .standard) == .fork }

  /// How the child is started: as it is said, or else by the method that is usual.
  ///
  /// A child of the fork server has what the loader, the libc and the Swift runtime have read of the
  /// server's environment. A child that needs another one is spawned, unless the caller asked for
  /// the server.
  func effectiveMethod(_ usual: StartMethod) -> StartMethod {
    if let method { return method }
    return usual == .forkServer && changesRuntime ? .spawn : usual
  }

  private var changesRuntime: Bool {
    environment.contains { name, value in
      let own = unsafe getenv(name).map { unsafe String(cString: $0) }
      return value != own && Self.readAtStart.contains { name.hasPrefix($0) }
    }
  }

  private static let readAtStart = [
    "SWIFT_", "LD_", "GLIBC_", "MALLOC_", "LIBDISPATCH_", "ASAN_", "TSAN_", "UBSAN_", "LSAN_",
  ]
}

/// The names of children that were given none.
enum ChildNames {
  private static let count = Atomic(0)

  static func name(_ options: ChildProcessOptions) -> String {
    options.name ?? "ChildProcess-\(count.add(1, ordering: .relaxed).newValue)"
  }
}
