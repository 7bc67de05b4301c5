// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// A function of tasks that was found in this process, ready to be called: by a child once, by a worker for
/// each element that it is sent.
enum ResolvedTask {
  case blocking(any BlockingTask)
  case async(any AsyncTask)

  var isAsync: Bool { if case .async = self { true } else { false } }
}

/// A function and the state that it is handed: a `BlockingCall` of any function.
protocol BlockingTask {
  associatedtype Function: BlockingFunction
  var function: Function { get }
  var state: TaskState<Function.State> { get }
}

/// A function and the state that it is handed: an `AsyncCall` of any function.
protocol AsyncTask: Sendable {
  associatedtype Function: AsyncFunction
  var function: Function { get }
  var state: TaskState<Function.State> { get }
}

struct BlockingCall<Function: BlockingFunction>: BlockingTask {
  let function: Function
  let state: TaskState<Function.State>
}

struct AsyncCall<Function: AsyncFunction>: AsyncTask {
  let function: Function
  let state: TaskState<Function.State>
}

extension BlockingTask {
  /// Decodes the arguments that the function is applied to once.
  ///
  /// - Returns: what calls it.
  func job(_ arguments: IncomingArguments?) throws -> () throws -> Function.Output {
    let input = try Function.Input(message: arguments)
    return { try function.call(&state.value, input) }
  }
}

extension AsyncTask {
  /// Decodes the arguments that the function is applied to once.
  ///
  /// - Returns: what calls it.
  func job(_ arguments: IncomingArguments?) throws
    -> @concurrent @Sendable () async throws
    -> Function.Output
  {
    let input = try Function.Input(message: arguments)
    return { try await function.call(&state.value, input) }
  }
}

/// Finds the functions and types of tasks in this process, as `TaskHeader.Work` names them: for children
/// and for workers alike.
enum TaskResolver {
  /// The task that a header names.
  ///
  /// - Parameter state: what functions that take a state are handed, `nil` where there is none.
  /// - Throws: `bootstrapFailed` where this process does not know the task; `malformedMessage`.
  static func resolve(
    _ work: TaskHeader.Work, state: (any AnyTaskState)? = nil
  ) throws -> ResolvedTask {
    switch work {
    case .inherited:
      throw IPCError(.bootstrapFailed, context: "the task is in its parent's memory alone")
    case .task(let name):
      guard let type = try name.resolve() as? any ProcessTask.Type else {
        throw IPCError(.bootstrapFailed, context: "the task's type is no ProcessTask here")
      }
      return run(type)
    case .closure(let location, let call, let names, let output):
      let signature = TaskSignature(
        location: location, call: call, output: try output.map(sentType))
      let types = try names.map(sentType)
      if !call.contains(.takesState) {
        return try TaskState.stateless.resolve(signature, types)
      }
      guard let state else {
        throw IPCError(.bootstrapFailed, context: "the task takes a state, and there is none")
      }
      return try state.resolve(signature, types)
    }
  }

  /// The function of an initializer, whose output is a state of any type.
  ///
  /// - Throws: as `resolve`.
  static func initializer(_ work: TaskHeader.Work) throws -> ResolvedTask {
    guard case .closure(let location, let call, let names, let state?) = work else {
      throw IPCError(.malformedMessage, context: "an initializer: its function")
    }
    let signature = TaskSignature(location: location, call: call, makesState: true)
    let types = try names.map(sentType)
    func resolve<State>(_ state: State.Type) throws -> ResolvedTask {
      try TaskTypes<State>.resolve(signature, types[...], nil)
    }
    return try _openExistential(try state.resolve(), do: resolve)
  }

  static func run<T: ProcessTask>(_ type: T.Type) -> ResolvedTask {
    .async(AsyncCall(function: RunTask<T>(), state: .stateless))
  }

  private static func sentType(_ name: TypeName) throws -> SentType {
    let type = try name.resolve()
    guard let type = type as? SentType else {
      throw IPCError(.bootstrapFailed, context: "\(type) is not Codable here")
    }
    return type
  }
}

/// What is known of a closure's type but for its arguments.
struct TaskSignature {
  var location: FunctionLocation
  var call: FunctionCall
  /// `nil` for none.
  var output: SentType?
  /// Whether the output is the state instead.
  var makesState = false

  fileprivate func task<F: BlockingFunction & SendableFunction>(
    _ type: F.Type, _ state: TaskState<F.State>?
  ) throws -> ResolvedTask {
    .blocking(BlockingCall(function: try F(at: location), state: try given(state)))
  }

  fileprivate func task<F: AsyncFunction & SendableFunction>(
    _ type: F.Type, _ state: TaskState<F.State>?
  ) throws -> ResolvedTask {
    .async(AsyncCall(function: try F(at: location), state: try given(state)))
  }

  private func given<State>(_ state: TaskState<State>?) throws(IPCError) -> TaskState<State> {
    if let state { return state }
    throw IPCError(.malformedMessage, context: "an initializer that takes a state")
  }
}

extension TaskState: AnyTaskState {
  func resolve(_ signature: TaskSignature, _ arguments: [SentType]) throws -> ResolvedTask {
    if signature.call.contains(.unary) {
      guard arguments.count == 1 else {
        throw IPCError(.malformedMessage, context: "a task's function: its arguments")
      }
      if let output = signature.output {
        return try unary(signature, arguments[0], returning: output)
      }
      return try unary(signature, arguments[0])
    }
    if signature.call.contains(.finalizer) {
      return signature.call.contains(.async)
        ? try signature.task(AsyncStateAction<Value>.self, self)
        : try signature.task(StateAction<Value>.self, self)
    }
    return try TaskTypes<Value>.resolve(signature, arguments[...], self)
  }

  private func unary<A: Codable>(
    _ signature: TaskSignature, _ argument: A.Type
  ) throws -> ResolvedTask {
    switch (signature.call.contains(.takesState), signature.call.contains(.async)) {
    case (false, false): try signature.task(UnaryAction<A>.self, .stateless)
    case (false, true): try signature.task(AsyncUnaryAction<A>.self, .stateless)
    case (true, false): try signature.task(StatefulUnaryAction<Value, A>.self, self)
    case (true, true): try signature.task(AsyncStatefulUnaryAction<Value, A>.self, self)
    }
  }

  private func unary<A: Codable, Output: Codable>(
    _ signature: TaskSignature, _ argument: A.Type, returning: Output.Type
  ) throws -> ResolvedTask {
    switch (signature.call.contains(.takesState), signature.call.contains(.async)) {
    case (false, false): try signature.task(UnaryFunction<A, Output>.self, .stateless)
    case (false, true): try signature.task(AsyncUnaryFunction<A, Output>.self, .stateless)
    case (true, false): try signature.task(StatefulUnaryFunction<Value, A, Output>.self, self)
    case (true, true): try signature.task(AsyncStatefulUnaryFunction<Value, A, Output>.self, self)
    }
  }
}

/// The types of a closure's arguments, collected one by one from types known at run time alone.
private struct TaskTypes<State, each A: Codable> {
  static func resolve(
    _ signature: TaskSignature, _ types: ArraySlice<SentType>, _ state: TaskState<State>?
  ) throws -> ResolvedTask {
    if let next = types.first { return try add(next, signature, types.dropFirst(), state) }
    if signature.makesState { return try value(signature, nil, returning: State.self) }
    if let output = signature.output { return try open(signature, state, output) }
    switch (signature.call.contains(.takesState), signature.call.contains(.async)) {
    case (false, false): return try signature.task(ActionFunction<repeat each A>.self, .stateless)
    case (false, true):
      return try signature.task(AsyncActionFunction<repeat each A>.self, .stateless)
    case (true, false):
      return try signature.task(StatefulActionFunction<State, repeat each A>.self, state)
    case (true, true):
      return try signature.task(AsyncStatefulActionFunction<State, repeat each A>.self, state)
    }
  }

  private static func add<Next: Codable>(
    _ next: Next.Type, _ signature: TaskSignature, _ types: ArraySlice<SentType>,
    _ state: TaskState<State>?
  ) throws -> ResolvedTask {
    try TaskTypes<State, repeat each A, Next>.resolve(signature, types, state)
  }

  private static func open<Output: Codable>(
    _ signature: TaskSignature, _ state: TaskState<State>?, _ output: Output.Type
  ) throws -> ResolvedTask {
    try value(signature, state, returning: output)
  }

  private static func value<Output>(
    _ signature: TaskSignature, _ state: TaskState<State>?, returning: Output.Type
  ) throws -> ResolvedTask {
    switch (signature.call.contains(.takesState), signature.call.contains(.async)) {
    case (false, false): try signature.task(ValueFunction<repeat each A, Output>.self, .stateless)
    case (false, true):
      try signature.task(AsyncValueFunction<repeat each A, Output>.self, .stateless)
    case (true, false):
      try signature.task(StatefulValueFunction<State, repeat each A, Output>.self, state)
    case (true, true):
      try signature.task(AsyncStatefulValueFunction<State, repeat each A, Output>.self, state)
    }
  }
}
