// SPDX-License-Identifier: Apache-2.0

/// What each worker of a pool begins with: a function, and arguments for it that are sent to each.
protocol PoolInitializing: Sendable {
  /// Writes the order: {finalizer's header or nothing, header, arguments}.
  func write(to frame: FrameBuffer) throws
}

struct PoolInitializer<each A: Codable & Sendable>: PoolInitializing {
  private let header: [UInt8]
  private let arguments: OutgoingArguments<repeat each A>
  /// Empty for none.
  private let finalizer: [UInt8]

  /// - Throws: `notTransferable`.
  init(
    _ function: some SendableFunction, state: Any.Type, finalizer: (any SendableFunction)?,
    _ arguments: repeat each A
  ) throws(IPCError) {
    var names: [TypeName] = []
    for type in repeat (each A).self { names.append(try TypeName(of: type)) }
    let work = TaskHeader.Work.closure(
      try function.location(), type(of: function).call, arguments: names,
      output: try TypeName(of: state))
    header = TaskHeader(name: "", returnsValue: true, work: work).bytes
    self.arguments = OutgoingArguments(repeat each arguments)
    self.finalizer =
      try finalizer.map { (finalizer) throws(IPCError) in
        try TaskHeader.finalizer(finalizer).bytes
      } ?? []
  }

  func write(to frame: FrameBuffer) throws {
    frame.append(counted: finalizer)
    frame.append(counted: header)
    try frame.append(message: arguments)
  }
}

/// An initializer as it arrived in a worker.
struct WorkerInitializer {
  private let location: FunctionLocation
  private let arguments: [SentType]
  private let state: Any.Type
  let isAsync: Bool
  /// What is to be done with the state in the end.
  let finalizer: WorkerFinalizer?
  private let element: IncomingElement

  /// - Throws: `malformedMessage`, `bootstrapFailed`.
  init(_ reader: inout FrameReader, _ inbox: DescriptorInbox?) throws {
    finalizer = try WorkerFinalizer(&reader)
    let header = try TaskHeader(unsafe Array(reader.counted()))
    guard case .closure(let location, let call, let names, let output?) = header.work else {
      throw reader.malformed()
    }
    self.location = location
    isAsync = call == .asyncFunction
    state = try output.resolve()
    var types: [SentType] = []
    for name in names {
      guard let type = try name.resolve() as? SentType else { throw reader.malformed() }
      types.append(type)
    }
    arguments = types
    element = unsafe IncomingElement(bytes: try reader.counted(), inbox: inbox)
  }

  func make(executor: () -> WorkerExecutor) throws -> any WorkerStateHolder {
    func open<State>(_ type: State.Type) throws -> any WorkerStateHolder {
      try InitializerTypes<State>.make(self, arguments[...], executor)
    }
    return try _openExistential(state, do: open)
  }

  /// The types of the arguments, collected one by one.
  private struct InitializerTypes<State, each A: Codable> {
    static func make(
      _ initializer: WorkerInitializer, _ types: ArraySlice<SentType>,
      _ executor: () -> WorkerExecutor
    ) throws -> any WorkerStateHolder {
      if let next = types.first {
        return try add(next, initializer, types.dropFirst(), executor)
      }
      let arguments = try MessageDecoder().decode(
        Arguments<repeat each A>.self, from: unsafe Array(initializer.element.bytes),
        inbox: initializer.element.inbox ?? DescriptorInbox([]))
      if initializer.isAsync {
        let call = AsyncInitializerCall(
          function: try AsyncValueFunction<repeat each A, State>(at: initializer.location),
          arguments: arguments)
        try executor().run(step: call)
        guard let state = call.state.value else { preconditionFailure("not made") }
        return WorkerState(state)
      }
      let function = try ValueFunction<repeat each A, State>(at: initializer.location)
      return WorkerState(try function.body(repeat each arguments.values))
    }

    private static func add<Next: Codable>(
      _ next: Next.Type, _ initializer: WorkerInitializer, _ types: ArraySlice<SentType>,
      _ executor: () -> WorkerExecutor
    ) throws -> any WorkerStateHolder {
      try InitializerTypes<State, repeat each A, Next>.make(initializer, types, executor)
    }
  }
}

private struct AsyncInitializerCall<State, each A: Codable>: AsyncStep {
  let function: AsyncValueFunction<repeat each A, State>
  let arguments: Arguments<repeat each A>
  let state = WorkerState<State?>(nil)

  func run() async throws { state.value = try await function.body(repeat each arguments.values) }
}
