// SPDX-License-Identifier: Apache-2.0

/// A function of tasks in a worker, ready to go through chunks.
enum WorkerFunction {
  case blocking(any BlockingWork)
  case async(any AsyncWork)
  /// It is not known here: why.
  case refused(String)
}

/// What goes through a chunk on the thread of the worker's loop.
protocol BlockingWork {
  func run(_ chunk: ChunkRun) throws
}

/// What goes through a chunk and may be suspended.
protocol AsyncWork: Sendable {
  @concurrent func run(_ chunk: ChunkRun) async throws
}

/// A function that takes an element and returns its result.
protocol BlockingCall: BlockingWork {
  associatedtype Input
  associatedtype Output
  static var inputSize: Int? { get }
  func input(_ element: IncomingElement) throws -> Input
  func call(_ input: Input) throws -> Output
}

protocol AsyncCall: AsyncWork {
  associatedtype Input
  associatedtype Output
  static var inputSize: Int? { get }
  func input(_ element: IncomingElement) throws -> Input
  @concurrent func call(_ input: Input) async throws -> Output
}

extension BlockingCall {
  func run(_ chunk: ChunkRun) throws { try runEach(chunk) }

  func runEach(_ chunk: ChunkRun) throws {
    let coder = ElementCoder<Output>()
    let size = Self.inputSize
    for _ in 0..<chunk.count {
      let element = try chunk.nextElement(fixedSize: size)
      guard let input = chunk.decoded({ try input(element) }) else { continue }
      let result = Result { try call(input) }
      // A fork of the worker that came back here would be a second worker on the same channel.
      if chunk.isFork { CurrentProcess.leave(0) }
      switch result {
      case .success(let value): chunk.succeed(value, coder)
      case .failure(let error): chunk.fail(error)
      }
    }
  }
}

extension AsyncCall {
  @concurrent func run(_ chunk: ChunkRun) async throws {
    let coder = ElementCoder<Output>()
    let size = Self.inputSize
    for _ in 0..<chunk.count {
      let element = try chunk.nextElement(fixedSize: size)
      guard let input = chunk.decoded({ try input(element) }) else { continue }
      do {
        let value = try await call(input)
        if chunk.isFork { CurrentProcess.leave(0) }
        chunk.succeed(value, coder)
      } catch {
        if chunk.isFork { CurrentProcess.leave(0) }
        chunk.fail(error)
      }
    }
  }
}

extension ChunkRun {
  /// Decodes an element, or sends why it cannot be.
  fileprivate func decoded<Input>(_ decode: () throws -> Input) -> Input? {
    do {
      return try decode()
    } catch {
      let text = (error as? IPCError)?.context ?? "\(error)"
      fail(.notCoded, "the argument of a task: \(text)")
      return nil
    }
  }
}

// Calls are types rather than closures: the compiler (6.3) fails on closures that capture packs.

/// Arguments of tasks: one as an element, several as a list of them.
struct TaskArguments<each A: Codable> {
  static var isOne: Bool {
    var count = 0
    for _ in repeat (each A).self { count += 1 }
    return count == 1
  }

  static var size: Int? {
    guard isOne else { return nil }
    for size in repeat ElementCoder<each A>().fixedSize { return size }
    return nil
  }

  static func decode(_ element: IncomingElement) throws -> Arguments<repeat each A> {
    if isOne { return try Arguments(ArgumentList(element)) }
    return try MessageDecoder().decode(
      Arguments<repeat each A>.self, from: unsafe Array(element.bytes),
      inbox: element.inbox ?? DescriptorInbox([]))
  }
}

struct ActionCall<each A: Codable>: BlockingCall {
  let function: ActionFunction<repeat each A>
  init(_ function: ActionFunction<repeat each A>) { self.function = function }
  static var inputSize: Int? { TaskArguments<repeat each A>.size }
  func input(_ element: IncomingElement) throws -> Arguments<repeat each A> {
    try TaskArguments<repeat each A>.decode(element)
  }
  func call(_ input: Arguments<repeat each A>) throws {
    try function.body(repeat each input.values)
  }
}

struct ValueCall<each A: Codable, Output: Codable>: BlockingCall {
  let function: ValueFunction<repeat each A, Output>
  init(_ function: ValueFunction<repeat each A, Output>) { self.function = function }
  static var inputSize: Int? { TaskArguments<repeat each A>.size }
  func input(_ element: IncomingElement) throws -> Arguments<repeat each A> {
    try TaskArguments<repeat each A>.decode(element)
  }
  func call(_ input: Arguments<repeat each A>) throws -> Output {
    try function.body(repeat each input.values)
  }
}

/// A function of one argument.
struct UnaryCall<A: Codable, Output>: BlockingCall {
  let function: UnaryFunction<A, Output>
  static var inputSize: Int? { ElementCoder<A>().fixedSize }
  func input(_ element: IncomingElement) throws -> A {
    try unsafe ElementCoder<A>().value(element.bytes, element.inbox)
  }
  func call(_ input: A) throws -> Output { try function.body(input) }

  func run(_ chunk: ChunkRun) throws {
    if try runInSlot(chunk, ElementCoder<A>()) { return }
    try runEach(chunk)
  }

  @_specialize(where A == Int, Output == Int)
  @_specialize(where A == Double, Output == Double)
  @_specialize(where A == Int, Output == Double)
  @_specialize(where A == Float, Output == Float)
  @_specialize(where A == Int32, Output == Int32)
  @_specialize(where A == UInt8, Output == UInt8)
  private func runInSlot(_ chunk: ChunkRun, _ coder: ElementCoder<A>) throws -> Bool {
    try chunk.runInSlot(coder) { (input: A) throws -> Output in try function.body(input) }
  }
}

struct AsyncUnaryCall<A: Codable, Output>: AsyncCall {
  let function: AsyncUnaryFunction<A, Output>
  static var inputSize: Int? { ElementCoder<A>().fixedSize }
  func input(_ element: IncomingElement) throws -> A {
    try unsafe ElementCoder<A>().value(element.bytes, element.inbox)
  }
  @concurrent func call(_ input: A) async throws -> Output { try await function.body(input) }
}

struct StatefulUnaryCall<State, A: Codable, Output>: BlockingCall {
  let function: StatefulUnaryFunction<State, A, Output>
  let state: WorkerState<State>
  static var inputSize: Int? { ElementCoder<A>().fixedSize }
  func input(_ element: IncomingElement) throws -> A {
    try unsafe ElementCoder<A>().value(element.bytes, element.inbox)
  }
  func call(_ input: A) throws -> Output { try function.body(&state.value, input) }
}

struct AsyncStatefulUnaryCall<State, A: Codable, Output>: AsyncCall {
  let function: AsyncStatefulUnaryFunction<State, A, Output>
  let state: WorkerState<State>
  static var inputSize: Int? { ElementCoder<A>().fixedSize }
  func input(_ element: IncomingElement) throws -> A {
    try unsafe ElementCoder<A>().value(element.bytes, element.inbox)
  }
  @concurrent func call(_ input: A) async throws -> Output {
    try await function.body(&state.value, input)
  }
}

struct AsyncActionCall<each A: Codable>: AsyncCall {
  let function: AsyncActionFunction<repeat each A>
  init(_ function: AsyncActionFunction<repeat each A>) { self.function = function }
  static var inputSize: Int? { TaskArguments<repeat each A>.size }
  func input(_ element: IncomingElement) throws -> Arguments<repeat each A> {
    try TaskArguments<repeat each A>.decode(element)
  }
  @concurrent func call(_ input: Arguments<repeat each A>) async throws {
    try await function.body(repeat each input.values)
  }
}

struct AsyncValueCall<each A: Codable, Output: Codable>: AsyncCall {
  let function: AsyncValueFunction<repeat each A, Output>
  init(_ function: AsyncValueFunction<repeat each A, Output>) { self.function = function }
  static var inputSize: Int? { TaskArguments<repeat each A>.size }
  func input(_ element: IncomingElement) throws -> Arguments<repeat each A> {
    try TaskArguments<repeat each A>.decode(element)
  }
  @concurrent func call(_ input: Arguments<repeat each A>) async throws -> Output {
    try await function.body(repeat each input.values)
  }
}

struct TaskCall<T: ProcessTask>: AsyncCall {
  static var inputSize: Int? { nil }
  func input(_ element: IncomingElement) throws -> T {
    try unsafe ElementCoder<T>().value(element.bytes, element.inbox)
  }
  @concurrent func call(_ input: T) async throws -> T.Output { try await input.run() }
}

struct StatefulActionCall<State, each A: Codable>: BlockingCall {
  let function: StatefulActionFunction<State, repeat each A>
  let state: WorkerState<State>
  init(_ function: StatefulActionFunction<State, repeat each A>, _ state: WorkerState<State>) {
    self.function = function
    self.state = state
  }
  static var inputSize: Int? { TaskArguments<repeat each A>.size }
  func input(_ element: IncomingElement) throws -> Arguments<repeat each A> {
    try TaskArguments<repeat each A>.decode(element)
  }
  func call(_ input: Arguments<repeat each A>) throws {
    try function.body(&state.value, repeat each input.values)
  }
}

struct StatefulValueCall<State, each A: Codable, Output: Codable>: BlockingCall {
  let function: StatefulValueFunction<State, repeat each A, Output>
  let state: WorkerState<State>
  init(
    _ function: StatefulValueFunction<State, repeat each A, Output>, _ state: WorkerState<State>
  ) {
    self.function = function
    self.state = state
  }
  static var inputSize: Int? { TaskArguments<repeat each A>.size }
  func input(_ element: IncomingElement) throws -> Arguments<repeat each A> {
    try TaskArguments<repeat each A>.decode(element)
  }
  func call(_ input: Arguments<repeat each A>) throws -> Output {
    try function.body(&state.value, repeat each input.values)
  }
}

struct AsyncStatefulActionCall<State, each A: Codable>: AsyncCall {
  let function: AsyncStatefulActionFunction<State, repeat each A>
  let state: WorkerState<State>
  init(
    _ function: AsyncStatefulActionFunction<State, repeat each A>, _ state: WorkerState<State>
  ) {
    self.function = function
    self.state = state
  }
  static var inputSize: Int? { TaskArguments<repeat each A>.size }
  func input(_ element: IncomingElement) throws -> Arguments<repeat each A> {
    try TaskArguments<repeat each A>.decode(element)
  }
  @concurrent func call(_ input: Arguments<repeat each A>) async throws {
    try await function.body(&state.value, repeat each input.values)
  }
}

struct AsyncStatefulValueCall<State, each A: Codable, Output: Codable>: AsyncCall {
  let function: AsyncStatefulValueFunction<State, repeat each A, Output>
  let state: WorkerState<State>
  init(
    _ function: AsyncStatefulValueFunction<State, repeat each A, Output>,
    _ state: WorkerState<State>
  ) {
    self.function = function
    self.state = state
  }
  static var inputSize: Int? { TaskArguments<repeat each A>.size }
  func input(_ element: IncomingElement) throws -> Arguments<repeat each A> {
    try TaskArguments<repeat each A>.decode(element)
  }
  @concurrent func call(_ input: Arguments<repeat each A>) async throws -> Output {
    try await function.body(&state.value, repeat each input.values)
  }
}

struct UnaryActionCall<A: Codable>: BlockingCall {
  let function: UnaryAction<A>
  static var inputSize: Int? { ElementCoder<A>().fixedSize }
  func input(_ element: IncomingElement) throws -> A {
    try unsafe ElementCoder<A>().value(element.bytes, element.inbox)
  }
  func call(_ input: A) throws { try function.body(input) }
}

struct AsyncUnaryActionCall<A: Codable>: AsyncCall {
  let function: AsyncUnaryAction<A>
  static var inputSize: Int? { ElementCoder<A>().fixedSize }
  func input(_ element: IncomingElement) throws -> A {
    try unsafe ElementCoder<A>().value(element.bytes, element.inbox)
  }
  @concurrent func call(_ input: A) async throws { try await function.body(input) }
}

struct StatefulUnaryActionCall<State, A: Codable>: BlockingCall {
  let function: StatefulUnaryAction<State, A>
  let state: WorkerState<State>
  static var inputSize: Int? { ElementCoder<A>().fixedSize }
  func input(_ element: IncomingElement) throws -> A {
    try unsafe ElementCoder<A>().value(element.bytes, element.inbox)
  }
  func call(_ input: A) throws { try function.body(&state.value, input) }
}

struct AsyncStatefulUnaryActionCall<State, A: Codable>: AsyncCall {
  let function: AsyncStatefulUnaryAction<State, A>
  let state: WorkerState<State>
  static var inputSize: Int? { ElementCoder<A>().fixedSize }
  func input(_ element: IncomingElement) throws -> A {
    try unsafe ElementCoder<A>().value(element.bytes, element.inbox)
  }
  @concurrent func call(_ input: A) async throws { try await function.body(&state.value, input) }
}
