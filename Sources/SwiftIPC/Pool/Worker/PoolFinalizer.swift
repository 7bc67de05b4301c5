// SPDX-License-Identifier: Apache-2.0

/// What a worker does with its state before it ends.
struct StateAction<State>: SendableFunction {
  let body: @Sendable (inout State) throws -> Void
  static var call: FunctionCall { .action }
}

/// The same with one that can be suspended.
struct AsyncStateAction<State>: SendableFunction {
  let body: @concurrent @Sendable (inout State) async throws -> Void
  static var call: FunctionCall { .asyncAction }
}

extension TaskHeader {
  /// What names a finalizer to a worker. Its state's type is the initializer's.
  ///
  /// - Throws: `notTransferable`.
  static func finalizer(_ function: some SendableFunction) throws(IPCError) -> TaskHeader {
    TaskHeader(
      name: "", returnsValue: false,
      work: .closure(
        try function.location(), type(of: function).call, arguments: [], output: nil))
  }
}

/// A finalizer as it arrived in a worker.
struct WorkerFinalizer {
  private let location: FunctionLocation
  let isAsync: Bool

  /// `nil` where the order has none.
  ///
  /// - Throws: `malformedMessage`.
  init?(_ reader: inout FrameReader) throws {
    let bytes = try unsafe reader.counted()
    if unsafe bytes.isEmpty { return nil }
    let header = try TaskHeader(unsafe Array(bytes))
    guard case .closure(let location, let call, _, nil) = header.work else {
      throw reader.malformed()
    }
    self.location = location
    isAsync = call == .asyncAction
  }

  /// Runs it, on the state that the worker has. Blocks.
  func run(_ state: any WorkerStateHolder, executor: () -> WorkerExecutor) throws {
    if isAsync {
      try executor().run(step: state.asyncFinalizer(at: location))
    } else {
      try state.finish(at: location)
    }
  }
}

extension WorkerState {
  func finish(at location: FunctionLocation) throws {
    try StateAction<Value>(at: location).body(&value)
  }

  func asyncFinalizer(at location: FunctionLocation) throws -> any AsyncStep {
    AsyncFinalizerCall(function: try AsyncStateAction<Value>(at: location), state: self)
  }
}

private struct AsyncFinalizerCall<State>: AsyncStep {
  let function: AsyncStateAction<State>
  let state: WorkerState<State>

  func run() async throws { try await function.body(&state.value) }
}
