// SPDX-License-Identifier: Apache-2.0

/// What the initializer made in this worker. Unchecked: a worker is in one task at a time.
final class WorkerState<Value>: @unchecked Sendable {
  var value: Value
  init(_ value: Value) { self.value = value }
}

/// The state of any type, from which a function that takes it can be put together.
protocol WorkerStateHolder {
  func action<each A: Codable>(
    _ location: FunctionLocation, isAsync: Bool, _ arguments: repeat (each A).Type
  ) throws -> WorkerFunction
  func function<each A: Codable, Output: Codable>(
    _ location: FunctionLocation, isAsync: Bool, returning: Output.Type,
    _ arguments: repeat (each A).Type
  ) throws -> WorkerFunction
  func unary<A: Codable, Output>(
    _ location: FunctionLocation, isAsync: Bool, _ argument: A.Type, returning: Output.Type
  ) throws -> WorkerFunction
  func unaryAction<A: Codable>(
    _ location: FunctionLocation, isAsync: Bool, _ argument: A.Type
  ) throws -> WorkerFunction
  /// Runs a finalizer.
  func finish(at location: FunctionLocation) throws
  func asyncFinalizer(at location: FunctionLocation) throws -> any AsyncStep
}

extension WorkerState: WorkerStateHolder {
  func action<each A: Codable>(
    _ location: FunctionLocation, isAsync: Bool, _ arguments: repeat (each A).Type
  ) throws -> WorkerFunction {
    if isAsync {
      let function = try AsyncStatefulActionFunction<Value, repeat each A>(at: location)
      return .async(AsyncStatefulActionCall(function, self))
    }
    let function = try StatefulActionFunction<Value, repeat each A>(at: location)
    return .blocking(StatefulActionCall(function, self))
  }

  func function<each A: Codable, Output: Codable>(
    _ location: FunctionLocation, isAsync: Bool, returning: Output.Type,
    _ arguments: repeat (each A).Type
  ) throws -> WorkerFunction {
    if isAsync {
      let function = try AsyncStatefulValueFunction<Value, repeat each A, Output>(at: location)
      return .async(AsyncStatefulValueCall(function, self))
    }
    let function = try StatefulValueFunction<Value, repeat each A, Output>(at: location)
    return .blocking(StatefulValueCall(function, self))
  }

  func unary<A: Codable, Output>(
    _ location: FunctionLocation, isAsync: Bool, _ argument: A.Type, returning: Output.Type
  ) throws -> WorkerFunction {
    if isAsync {
      let function = try AsyncStatefulUnaryFunction<Value, A, Output>(at: location)
      return .async(AsyncStatefulUnaryCall(function: function, state: self))
    }
    let function = try StatefulUnaryFunction<Value, A, Output>(at: location)
    return .blocking(StatefulUnaryCall(function: function, state: self))
  }

  func unaryAction<A: Codable>(
    _ location: FunctionLocation, isAsync: Bool, _ argument: A.Type
  ) throws -> WorkerFunction {
    if isAsync {
      let function = try AsyncStatefulUnaryAction<Value, A>(at: location)
      return .async(AsyncStatefulUnaryActionCall(function: function, state: self))
    }
    let function = try StatefulUnaryAction<Value, A>(at: location)
    return .blocking(StatefulUnaryActionCall(function: function, state: self))
  }
}
