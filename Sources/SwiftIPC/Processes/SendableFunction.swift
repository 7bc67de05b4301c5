// SPDX-License-Identifier: Apache-2.0

// A closure literal that captures nothing, stored in a generic struct, is two words: its function
// and a null context. The function's place in its image names it to another process, and there a
// closure is put together again from the two words. `ClosureLayoutTests` checks the layout.
//
// There is one struct for each way of calling, since the compiler passes results and arguments
// differently in each; the closure must have been written for exactly the struct's own signature,
// or the compiler wraps it and the wrapper has a context.

/// A function of the program that takes any arguments and can be named to another process.
protocol SendableFunction: Sendable {
  static var call: FunctionCall { get }
}

/// How a function is called.
enum FunctionCall: UInt8, Sendable {
  case action, asyncAction, function, asyncFunction
  /// Of one argument that is not in a pack, as `map` takes them.
  case unary, asyncUnary
}

struct ActionFunction<each A>: SendableFunction {
  let body: @Sendable (repeat each A) throws -> Void
  static var call: FunctionCall { .action }
}

struct AsyncActionFunction<each A>: SendableFunction {
  let body: @Sendable (repeat each A) async throws -> Void
  static var call: FunctionCall { .asyncAction }
}

struct ValueFunction<each A, Output>: SendableFunction {
  let body: @Sendable (repeat each A) throws -> Output
  static var call: FunctionCall { .function }
}

struct AsyncValueFunction<each A, Output>: SendableFunction {
  let body: @Sendable (repeat each A) async throws -> Output
  static var call: FunctionCall { .asyncFunction }
}

// The same for tasks of a pool that are handed the state of their worker.

struct StatefulActionFunction<State, each A>: SendableFunction {
  let body: @Sendable (inout State, repeat each A) throws -> Void
  static var call: FunctionCall { .action }
}

struct AsyncStatefulActionFunction<State, each A>: SendableFunction {
  let body: @Sendable (inout State, repeat each A) async throws -> Void
  static var call: FunctionCall { .asyncAction }
}

struct StatefulValueFunction<State, each A, Output>: SendableFunction {
  let body: @Sendable (inout State, repeat each A) throws -> Output
  static var call: FunctionCall { .function }
}

struct AsyncStatefulValueFunction<State, each A, Output>: SendableFunction {
  let body: @Sendable (inout State, repeat each A) async throws -> Output
  static var call: FunctionCall { .asyncFunction }
}

/// The two words of a closure.
@safe private struct ClosureWords {
  var function: UnsafeRawPointer?
  var context: UnsafeRawPointer?
}

// And for those of one argument each: a pack of one is passed differently.

struct UnaryFunction<A, Output>: SendableFunction {
  let body: @Sendable (A) throws -> Output
  static var call: FunctionCall { .unary }
}

struct AsyncUnaryFunction<A, Output>: SendableFunction {
  let body: @Sendable (A) async throws -> Output
  static var call: FunctionCall { .asyncUnary }
}

struct StatefulUnaryFunction<State, A, Output>: SendableFunction {
  let body: @Sendable (inout State, A) throws -> Output
  static var call: FunctionCall { .unary }
}

struct AsyncStatefulUnaryFunction<State, A, Output>: SendableFunction {
  let body: @Sendable (inout State, A) async throws -> Output
  static var call: FunctionCall { .asyncUnary }
}

// Without a result: that is not the same as a result of type Void.

struct UnaryAction<A>: SendableFunction {
  let body: @Sendable (A) throws -> Void
  static var call: FunctionCall { .unary }
}

struct AsyncUnaryAction<A>: SendableFunction {
  let body: @Sendable (A) async throws -> Void
  static var call: FunctionCall { .asyncUnary }
}

struct StatefulUnaryAction<State, A>: SendableFunction {
  let body: @Sendable (inout State, A) throws -> Void
  static var call: FunctionCall { .unary }
}

struct AsyncStatefulUnaryAction<State, A>: SendableFunction {
  let body: @Sendable (inout State, A) async throws -> Void
  static var call: FunctionCall { .asyncUnary }
}

extension SendableFunction {
  /// Where the function is.
  ///
  /// - Throws: `notTransferable` when the closure has a context.
  func location() throws(IPCError) -> ImageLocation {
    try unsafe ImageLocation(of: address(), "the closure")
  }

  /// What tells the function from others in this process.
  ///
  /// - Throws: `notTransferable` when the closure has a context.
  func key() throws(IPCError) -> FunctionKey {
    .closure(UInt(bitPattern: try unsafe address()), ObjectIdentifier(Self.self))
  }

  private func address() throws(IPCError) -> UnsafeRawPointer {
    precondition(MemoryLayout<Self>.size == MemoryLayout<ClosureWords>.size)
    let words = unsafe unsafeBitCast(self, to: ClosureWords.self)
    guard let function = unsafe words.function, unsafe words.context == nil else {
      throw IPCError(
        .notTransferable,
        context: """
          the closure captures something, and a capture cannot be sent to another process: pass \
          what it needs as an argument, as in start(x) { x in … }, or use a ProcessTask; a function \
          that is passed by its name is written as a closure, as in start(x) { square($0) }
          """)
    }
    return unsafe function
  }

  /// The function at a location that `location()` told a process of the same program.
  init(at location: ImageLocation) throws(IPCError) {
    precondition(MemoryLayout<Self>.size == MemoryLayout<ClosureWords>.size)
    let function = try unsafe location.resolve("the closure")
    self = unsafe unsafeBitCast(ClosureWords(function: function, context: nil), to: Self.self)
  }
}
