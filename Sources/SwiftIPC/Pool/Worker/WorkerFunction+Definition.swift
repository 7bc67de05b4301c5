// SPDX-License-Identifier: Apache-2.0

extension WorkerFunction {
  /// The function that an order defines.
  init(_ work: TaskHeader.Work, takesState: Bool, _ state: (any WorkerStateHolder)?) {
    do {
      self = try Self.resolve(work, takesState, state)
    } catch {
      self = .refused((error as? IPCError)?.context ?? "\(error)")
    }
  }

  private static func resolve(
    _ work: TaskHeader.Work, _ takesState: Bool, _ state: (any WorkerStateHolder)?
  ) throws -> WorkerFunction {
    switch work {
    case .inherited: throw IPCError(.malformedMessage, context: "an inherited task for a worker")
    case .task(let name):
      guard let type = try name.resolve() as? any ProcessTask.Type else {
        throw IPCError(.bootstrapFailed, context: "the task's type is no ProcessTask here")
      }
      return task(type)
    case .closure(let location, let call, let names, let output):
      var types: [SentType] = []
      for name in names { types.append(try sentType(name)) }
      if takesState && state == nil {
        throw IPCError(.bootstrapFailed, context: "the task takes a state, and there is none")
      }
      let signature = TaskSignature(
        location: location, call: call, output: try output.map(sentType),
        state: takesState ? state : nil)
      if call == .unary || call == .asyncUnary {
        guard types.count == 1, let argument = types.first else {
          throw IPCError(.malformedMessage, context: "a task's function: its arguments")
        }
        return try unary(signature, argument)
      }
      return try NoTypes.function(signature, types[...])
    }
  }

  private static func sentType(_ name: TypeName) throws -> SentType {
    let type = try name.resolve()
    guard let type = type as? SentType else {
      throw IPCError(.bootstrapFailed, context: "\(type) is not Codable here")
    }
    return type
  }

  private static func unary<A: Codable>(
    _ signature: TaskSignature, _ argument: A.Type
  ) throws -> WorkerFunction {
    func make<Output>(_ output: Output.Type) throws -> WorkerFunction {
      let isAsync = signature.call == .asyncUnary
      if let state = signature.state {
        return try state.unary(
          signature.location, isAsync: isAsync, argument, returning: output)
      }
      if isAsync {
        let function = try AsyncUnaryFunction<A, Output>(at: signature.location)
        return .async(AsyncUnaryCall(function: function))
      }
      return .blocking(
        UnaryCall(function: try UnaryFunction<A, Output>(at: signature.location)))
    }
    guard let output = signature.output else { return try unaryAction(signature, argument) }
    return try make(output)
  }

  private static func unaryAction<A: Codable>(
    _ signature: TaskSignature, _ argument: A.Type
  ) throws -> WorkerFunction {
    let isAsync = signature.call == .asyncUnary
    if let state = signature.state {
      return try state.unaryAction(signature.location, isAsync: isAsync, argument)
    }
    if isAsync {
      let function = try AsyncUnaryAction<A>(at: signature.location)
      return .async(AsyncUnaryActionCall(function: function))
    }
    return .blocking(UnaryActionCall(function: try UnaryAction<A>(at: signature.location)))
  }

  private static func task<T: ProcessTask>(_ type: T.Type) -> WorkerFunction {
    .async(TaskCall<T>())
  }
}

private struct TaskSignature {
  var location: FunctionLocation
  var call: FunctionCall
  var output: SentType?
  var state: (any WorkerStateHolder)?
}

private typealias NoTypes = TaskTypes<>

/// The types of a closure's arguments, collected one by one from types known at run time alone.
private struct TaskTypes<each A: Codable> {
  static func function(
    _ signature: TaskSignature, _ types: ArraySlice<SentType>
  ) throws -> WorkerFunction {
    if let next = types.first { return try add(next, signature, types.dropFirst()) }
    let isAsync = signature.call == .asyncAction || signature.call == .asyncFunction
    switch signature.call {
    case .action, .asyncAction:
      if let state = signature.state {
        return try state.action(signature.location, isAsync: isAsync, repeat (each A).self)
      }
      if isAsync {
        let function = try AsyncActionFunction<repeat each A>(at: signature.location)
        return .async(AsyncActionCall(function))
      }
      return .blocking(ActionCall(try ActionFunction<repeat each A>(at: signature.location)))
    case .function, .asyncFunction:
      guard let output = signature.output else {
        throw IPCError(
          .malformedMessage, context: "a task's function: the output's type is missing")
      }
      return try function(signature, isAsync, output)
    case .unary, .asyncUnary:
      throw IPCError(.malformedMessage, context: "a task's function: its call")
    }
  }

  private static func add<Next: Codable>(
    _ next: Next.Type, _ signature: TaskSignature, _ types: ArraySlice<SentType>
  ) throws -> WorkerFunction {
    try TaskTypes<repeat each A, Next>.function(signature, types)
  }

  private static func function<Output: Codable>(
    _ signature: TaskSignature, _ isAsync: Bool, _ output: Output.Type
  ) throws -> WorkerFunction {
    if let state = signature.state {
      return try state.function(
        signature.location, isAsync: isAsync, returning: output, repeat (each A).self)
    }
    if isAsync {
      let function = try AsyncValueFunction<repeat each A, Output>(at: signature.location)
      return .async(AsyncValueCall(function))
    }
    return .blocking(ValueCall(try ValueFunction<repeat each A, Output>(at: signature.location)))
  }
}
