// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

// A closure, stored in a generic struct, is two words: its function and its context, which is null
// where it captures nothing. The function's place in its image names it to another process, and there
// a closure is put together again from the two words. `ClosureLayoutTests` checks the layout, and
// `FunctionContext` says what of contexts can be sent.
//
// There is one struct for each way of calling, since the compiler passes results and arguments
// differently in each; the closure must have been written for exactly the struct's own signature,
// or the compiler wraps it and the wrapper has a context.

/// A function of the program that takes any arguments and can be named to another process.
protocol SendableFunction: Sendable {
  static var call: FunctionCall { get }
}

/// How a function is called.
struct FunctionCall: OptionSet, Sendable {
  var rawValue: UInt8

  /// It can be suspended.
  static let async = FunctionCall(rawValue: 1)
  /// It is handed the state of its worker.
  static let takesState = FunctionCall(rawValue: 2)
  /// Of one argument that is not in a pack, as `map` takes them.
  static let unary = FunctionCall(rawValue: 4)
  /// Of a state that is not in front of a pack.
  static let finalizer = FunctionCall(rawValue: 8)

  /// All that there are.
  static let known: FunctionCall = [.async, .takesState, .unary, .finalizer]
}

struct ActionFunction<each A>: SendableFunction {
  let body: @Sendable (repeat each A) throws -> Void
  static var call: FunctionCall { [] }
}

struct AsyncActionFunction<each A>: SendableFunction {
  let body: @concurrent @Sendable (repeat each A) async throws -> Void
  static var call: FunctionCall { [.async] }
}

struct ValueFunction<each A, Output>: SendableFunction {
  let body: @Sendable (repeat each A) throws -> Output
  static var call: FunctionCall { [] }
}

struct AsyncValueFunction<each A, Output>: SendableFunction {
  let body: @concurrent @Sendable (repeat each A) async throws -> Output
  static var call: FunctionCall { [.async] }
}

// The same for tasks of a pool that are handed the state of their worker.

struct StatefulActionFunction<State, each A>: SendableFunction {
  let body: @Sendable (inout State, repeat each A) throws -> Void
  static var call: FunctionCall { [.takesState] }
}

struct AsyncStatefulActionFunction<State, each A>: SendableFunction {
  let body: @concurrent @Sendable (inout State, repeat each A) async throws -> Void
  static var call: FunctionCall { [.async, .takesState] }
}

struct StatefulValueFunction<State, each A, Output>: SendableFunction {
  let body: @Sendable (inout State, repeat each A) throws -> Output
  static var call: FunctionCall { [.takesState] }
}

struct AsyncStatefulValueFunction<State, each A, Output>: SendableFunction {
  let body: @concurrent @Sendable (inout State, repeat each A) async throws -> Output
  static var call: FunctionCall { [.async, .takesState] }
}

// And for those of one argument each: a pack of one is passed differently.

struct UnaryFunction<A, Output>: SendableFunction {
  let body: @Sendable (A) throws -> Output
  static var call: FunctionCall { [.unary] }
}

struct AsyncUnaryFunction<A, Output>: SendableFunction {
  let body: @concurrent @Sendable (A) async throws -> Output
  static var call: FunctionCall { [.async, .unary] }
}

struct StatefulUnaryFunction<State, A, Output>: SendableFunction {
  let body: @Sendable (inout State, A) throws -> Output
  static var call: FunctionCall { [.takesState, .unary] }
}

struct AsyncStatefulUnaryFunction<State, A, Output>: SendableFunction {
  let body: @concurrent @Sendable (inout State, A) async throws -> Output
  static var call: FunctionCall { [.async, .takesState, .unary] }
}

// Without a result: that is not the same as a result of type Void.

struct UnaryAction<A>: SendableFunction {
  let body: @Sendable (A) throws -> Void
  static var call: FunctionCall { [.unary] }
}

struct AsyncUnaryAction<A>: SendableFunction {
  let body: @concurrent @Sendable (A) async throws -> Void
  static var call: FunctionCall { [.async, .unary] }
}

struct StatefulUnaryAction<State, A>: SendableFunction {
  let body: @Sendable (inout State, A) throws -> Void
  static var call: FunctionCall { [.takesState, .unary] }
}

struct AsyncStatefulUnaryAction<State, A>: SendableFunction {
  let body: @concurrent @Sendable (inout State, A) async throws -> Void
  static var call: FunctionCall { [.async, .takesState, .unary] }
}

// And what a worker does with its state before it ends.

struct StateAction<State>: SendableFunction {
  let body: @Sendable (inout State) throws -> Void
  static var call: FunctionCall { [.finalizer, .takesState] }
}

struct AsyncStateAction<State>: SendableFunction {
  let body: @concurrent @Sendable (inout State) async throws -> Void
  static var call: FunctionCall { [.finalizer, .takesState, .async] }
}

extension SendableFunction {
  /// Where the function is, and what it takes along.
  ///
  /// - Throws: `notTransferable` for a closure that captures what cannot be sent.
  func location() throws(IPCError) -> FunctionLocation {
    try FunctionLocation(of: words)
  }

  /// What tells the function from others in this process; `nil` when it has a context, which others
  /// with the same code need not have.
  var key: FunctionKey? {
    guard unsafe words.context == nil else { return nil }
    return .closure(UInt(bitPattern: unsafe words.function), ObjectIdentifier(Self.self))
  }

  private var words: ClosureWords {
    precondition(MemoryLayout<Self>.size == MemoryLayout<ClosureWords>.size)
    return unsafe unsafeBitCast(self, to: ClosureWords.self)
  }

  /// The function at a location that `location()` told a process of the same program.
  init(at location: FunctionLocation) throws(IPCError) {
    precondition(MemoryLayout<Self>.size == MemoryLayout<ClosureWords>.size)
    let words = try location.resolve()
    // Loading takes a reference of its own.
    self = unsafe withUnsafeBytes(of: words) { unsafe $0.load(as: Self.self) }
    if let context = unsafe words.context {
      unsafe Unmanaged<AnyObject>.fromOpaque(context).release()
    }
  }
}
