// SPDX-License-Identifier: Apache-2.0

/// A function of tasks with all its types, which runs on the thread that calls it.
protocol BlockingFunction: Sendable {
  /// What it is handed of its worker: what the initializer made, or nothing.
  associatedtype State
  associatedtype Input: TaskInput
  associatedtype Output

  func call(_ state: inout State, _ input: Input) throws -> Output
}

/// The same, one that can be suspended.
protocol AsyncFunction: Sendable {
  associatedtype State
  associatedtype Input: TaskInput
  associatedtype Output

  @concurrent func call(_ state: inout State, _ input: Input) async throws -> Output
}

/// The state of functions that take none. Not of size 0: see `Guarded`.
struct NoState {
  var unused: UInt8 = 0
}

// The calls are methods of types rather than closures: the compiler (6.3) fails on closures that capture
// packs.

extension ActionFunction: BlockingFunction where repeat each A: Codable {
  func call(
    _ state: inout NoState, _ input: Arguments<repeat each A>
  ) throws {
    try body(repeat each input.values)
  }
}

extension AsyncActionFunction: AsyncFunction where repeat each A: Codable {
  @concurrent func call(
    _ state: inout NoState, _ input: Arguments<repeat each A>
  ) async throws {
    try await body(repeat each input.values)
  }
}

extension ValueFunction: BlockingFunction where repeat each A: Codable {
  func call(
    _ state: inout NoState, _ input: Arguments<repeat each A>
  ) throws -> Output {
    try body(repeat each input.values)
  }
}

extension AsyncValueFunction: AsyncFunction where repeat each A: Codable {
  @concurrent func call(
    _ state: inout NoState, _ input: Arguments<repeat each A>
  ) async throws -> Output {
    try await body(repeat each input.values)
  }
}

extension StatefulActionFunction: BlockingFunction where repeat each A: Codable {
  func call(
    _ state: inout State, _ input: Arguments<repeat each A>
  ) throws {
    try body(&state, repeat each input.values)
  }
}

extension AsyncStatefulActionFunction: AsyncFunction where repeat each A: Codable {
  @concurrent func call(
    _ state: inout State, _ input: Arguments<repeat each A>
  ) async throws {
    try await body(&state, repeat each input.values)
  }
}

extension StatefulValueFunction: BlockingFunction where repeat each A: Codable {
  func call(
    _ state: inout State, _ input: Arguments<repeat each A>
  ) throws -> Output {
    try body(&state, repeat each input.values)
  }
}

extension AsyncStatefulValueFunction: AsyncFunction where repeat each A: Codable {
  @concurrent func call(
    _ state: inout State, _ input: Arguments<repeat each A>
  ) async throws -> Output {
    try await body(&state, repeat each input.values)
  }
}

extension UnaryFunction: BlockingFunction where A: Codable {
  func call(
    _ state: inout NoState, _ input: SingleArgument<A>
  ) throws -> Output {
    try body(input.value)
  }
}

extension StatefulUnaryFunction: BlockingFunction where A: Codable {
  func call(
    _ state: inout State, _ input: SingleArgument<A>
  ) throws -> Output {
    try body(&state, input.value)
  }
}

extension AsyncUnaryFunction: AsyncFunction where A: Codable {
  @concurrent func call(
    _ state: inout NoState, _ input: SingleArgument<A>
  ) async throws -> Output {
    try await body(input.value)
  }
}

extension AsyncStatefulUnaryFunction: AsyncFunction where A: Codable {
  @concurrent func call(
    _ state: inout State, _ input: SingleArgument<A>
  ) async throws -> Output {
    try await body(&state, input.value)
  }
}

extension UnaryAction: BlockingFunction where A: Codable {
  func call(
    _ state: inout NoState, _ input: SingleArgument<A>
  ) throws {
    try body(input.value)
  }
}

extension StatefulUnaryAction: BlockingFunction where A: Codable {
  func call(
    _ state: inout State, _ input: SingleArgument<A>
  ) throws {
    try body(&state, input.value)
  }
}

extension AsyncUnaryAction: AsyncFunction where A: Codable {
  @concurrent func call(
    _ state: inout NoState, _ input: SingleArgument<A>
  ) async throws {
    try await body(input.value)
  }
}

extension AsyncStatefulUnaryAction: AsyncFunction where A: Codable {
  @concurrent func call(
    _ state: inout State, _ input: SingleArgument<A>
  ) async throws {
    try await body(&state, input.value)
  }
}

extension StateAction: BlockingFunction {
  func call(_ state: inout State, _ input: Arguments<>) throws { try body(&state) }
}

extension AsyncStateAction: AsyncFunction {
  @concurrent func call(_ state: inout State, _ input: Arguments<>) async throws {
    try await body(&state)
  }
}

/// The function of a `ProcessTask`.
struct RunTask<T: ProcessTask>: AsyncFunction {
  @concurrent func call(_ state: inout NoState, _ input: SingleArgument<T>) async throws -> T.Output
  {
    try await input.value.run()
  }
}
