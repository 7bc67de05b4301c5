// SPDX-License-Identifier: Apache-2.0
import Testing

// What sending a closure rests on, without the library: a literal that captures nothing, stored in
// a generic struct with exactly its signature, is a function and a null context, and the two words
// make the closure again. Run in debug and in release.

private struct Function<each A, R> {
  let body: @Sendable (repeat each A) throws -> R
  func call(_ arguments: repeat each A) throws -> R { try body(repeat each arguments) }
}

private struct AsyncFunction<each A, R> {
  let body: @concurrent @Sendable (repeat each A) async throws -> R
  @concurrent func call(_ arguments: repeat each A) async throws -> R {
    try await body(repeat each arguments)
  }
}

private struct Action<each A> {
  let body: @Sendable (repeat each A) throws -> Void
  func call(_ arguments: repeat each A) throws { try body(repeat each arguments) }
}

private struct Unary<A, R> {
  let body: @Sendable (A) throws -> R
}

private struct Stateful<State, each A, R> {
  let body: @Sendable (inout State, repeat each A) throws -> R
  func call(_ state: inout State, _ arguments: repeat each A) throws -> R {
    try body(&state, repeat each arguments)
  }
}

private struct StatefulUnary<State, A, R> {
  let body: @concurrent @Sendable (inout State, A) async throws -> R
}

private struct Words: Equatable {
  var function: UInt
  var context: UInt
}

private func words<F>(_ function: F) -> Words {
  #expect(MemoryLayout<F>.size == MemoryLayout<Words>.size)
  return unsafe unsafeBitCast(function, to: Words.self)
}

@inline(never)
private func function<each A, R>(
  _ types: repeat (each A).Type, body: @escaping @Sendable (repeat each A) throws -> R
) -> Function<repeat each A, R> { Function(body: body) }

@inline(never)
private func asyncFunction<each A, R>(
  _ types: repeat (each A).Type,
  body: @escaping @concurrent @Sendable (repeat each A) async throws -> R
) -> AsyncFunction<repeat each A, R> { AsyncFunction(body: body) }

@inline(never)
private func action<each A>(
  _ types: repeat (each A).Type, body: @escaping @Sendable (repeat each A) throws -> Void
) -> Action<repeat each A> { Action(body: body) }

@inline(never)
private func unary<A, R>(
  _ type: A.Type, body: @escaping @Sendable (A) throws -> R
) -> Unary<A, R> { Unary(body: body) }

@inline(never)
private func stateful<State, each A, R>(
  state: State.Type, _ types: repeat (each A).Type,
  body: @escaping @Sendable (inout State, repeat each A) throws -> R
) -> Stateful<State, repeat each A, R> { Stateful(body: body) }

@inline(never)
private func statefulUnary<State, A, R>(
  _ state: State.Type, _ type: A.Type,
  body: @escaping @concurrent @Sendable (inout State, A) async throws -> R
) -> StatefulUnary<State, A, R> { StatefulUnary(body: body) }

@Suite struct ClosureLayoutTests {
  @Test func aLiteralThatCapturesNothingHasANullContext() {
    // By themselves: inside of another call the compiler (6.3) takes `inout` for a copy.
    let plain = stateful(state: Int.self) { (state: inout Int) in state += 1 }
    let mixed = stateful(state: Int.self, String.self, Double.self) {
      (state: inout Int, text: String, number: Double) in
      state += 1
      return text + "\(number)"
    }
    let all = [
      words(function { 1 }),
      words(function(Int.self) { $0 * $0 }),
      words(function(Int.self, String.self) { "\($0) \($1)" }),
      words(function(Int.self, String.self, [Double].self) { ($0, $1, $2) }),
      words(asyncFunction { 1 }),
      words(
        asyncFunction(Int.self) { number in
          await Task.yield()
          return number
        }),
      words(asyncFunction(Int.self, String.self, [Double].self) { ($0, $1, $2) }),
      words(action {}),
      words(action(Int.self) { if $0 < 0 { throw CancellationError() } }),
      words(unary(Int.self) { $0 * $0 }),
      words(unary(String.self) { print($0) }),
      words(plain),
      words(mixed),
      words(
        statefulUnary(Int.self, Int.self) { state, number in
          await Task.yield()
          return state + number
        }),
    ]
    for words in all {
      #expect(words.context == 0)
      #expect(words.function != 0)
    }
  }

  @Test func aCaptureShowsInTheContext() {
    let captured = Int.random(in: 0..<10)
    #expect(words(function { captured }).context != 0)
    #expect(words(asyncFunction(Int.self) { $0 + captured }).context != 0)
    #expect(words(action { if captured > 10 { throw CancellationError() } }).context != 0)
  }

  @Test func aClosureCanBeMadeOfItsWords() async throws {
    let square = words(function(Int.self) { $0 * $0 })
    let again = unsafe unsafeBitCast(
      Words(function: square.function, context: 0), to: Function<Int, Int>.self)
    #expect(try again.call(12) == 144)

    let joined = words(
      asyncFunction(Int.self, String.self) { number, text in
        await Task.yield()
        return "\(number) \(text)"
      })
    let asynchronous = unsafe unsafeBitCast(joined, to: AsyncFunction<Int, String, String>.self)
    #expect(try await asynchronous.call(1, "a") == "1 a")

    let adding = stateful(state: Int.self, Int.self) { (state: inout Int, more: Int) in
      state += more
      return "\(state)"
    }
    let counter = words(adding)
    let counting = unsafe unsafeBitCast(counter, to: Stateful<Int, Int, String>.self)
    var state = 40
    #expect(try counting.call(&state, 2) == "42" && state == 42)

    let single = words(unary(Int.self) { $0 * $0 })
    let unary = unsafe unsafeBitCast(single, to: Unary<Int, Int>.self)
    #expect(try unary.body(12) == 144)

    let thrower = words(action(Int.self) { if $0 < 0 { throw CancellationError() } })
    let throwing = unsafe unsafeBitCast(thrower, to: Action<Int>.self)
    try throwing.call(1)
    #expect(throws: CancellationError.self) { try throwing.call(-1) }
  }
}
