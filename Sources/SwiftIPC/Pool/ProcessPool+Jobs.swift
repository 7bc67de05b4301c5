// SPDX-License-Identifier: Apache-2.0

internal import CIPC
internal import MessageCoding

/// What makes calls of a pool: the pool, or its view with the workers' state.
protocol PoolCaller {
  var pool: ProcessPool { get }
}

extension ProcessPool: PoolCaller {
  var pool: ProcessPool { self }
}

extension PoolCaller {
  private func function<each A, Output>(
    _ function: some SendableFunction, _ output: Output.Type, of arguments: repeat (each A).Type
  ) throws(IPCError) -> PoolFunction {
    var types: [any Any.Type] = []
    for type in repeat each arguments { types.append(type) }
    return try pool.core.functions.function(
      function, arguments: types, output: output == Void.self ? nil : output)
  }

  /// One task.
  func call<each A: Codable & Sendable, Output>(
    _ function: some SendableFunction, _ output: Output.Type, _ arguments: repeat each A,
    options: TaskOptions
  ) throws(IPCError) -> PoolCall<Output> {
    PoolCall(
      pool.core, try self.function(function, output, of: repeat (each A).self),
      TupleInputs([(repeat each arguments)]), 1, options)
  }

  /// A task for each element.
  func list<A: Sendable, Output>(
    _ function: some SendableFunction, _ output: Output.Type, _ inputs: some Sequence<A>,
    _ chunkSize: Int?, _ options: TaskOptions
  ) throws(IPCError) -> PoolCall<Output> {
    PoolCall(
      pool.core, try self.function(function, output, of: A.self), ListInputs(from: inputs),
      chunkSize, options)
  }

  /// A task for each tuple.
  func tuples<each A: Codable & Sendable, Output>(
    _ function: some SendableFunction, _ output: Output.Type,
    _ inputs: some Sequence<(repeat each A)>, _ chunkSize: Int?, _ options: TaskOptions
  ) throws(IPCError) -> PoolCall<Output> {
    PoolCall(
      pool.core, try self.function(function, output, of: repeat (each A).self),
      TupleInputs(Array(inputs)), chunkSize, options)
  }

  /// Tasks that are a type.
  func list<T: ProcessTask>(
    _ tasks: some Sequence<T>, _ chunkSize: Int?, _ options: TaskOptions
  ) throws(IPCError) -> PoolCall<T.Output> {
    PoolCall(
      pool.core, try pool.core.functions.function(of: T.self), ListInputs(from: tasks), chunkSize,
      options)
  }

  /// A task for each element, when its result is asked for.
  func results<A, Output, Inputs: Sequence<A>>(
    _ function: some SendableFunction, of argument: A.Type, _ inputs: Inputs, isOrdered: Bool,
    _ window: Int?, _ chunkSize: Int?, _ options: TaskOptions
  ) -> PoolResults<Inputs, Output> {
    pool.results(of: inputs, isOrdered: isOrdered, window, chunkSize, options) {
      () throws(IPCError) in
      try self.function(function, Output.self, of: argument)
    }
  }

  func results<T: ProcessTask, Tasks: Sequence<T>>(
    of tasks: Tasks, isOrdered: Bool, _ window: Int?, _ chunkSize: Int?, _ options: TaskOptions
  ) -> PoolResults<Tasks, T.Output> {
    pool.results(of: tasks, isOrdered: isOrdered, window, chunkSize, options) {
      () throws(IPCError) in
      try pool.core.functions.function(of: T.self)
    }
  }
}
