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
  let body: @Sendable (repeat each A) async throws -> R
  func call(_ arguments: repeat each A) async throws -> R { try await body(repeat each arguments) }
}

private struct Action<each A> {
  let body: @Sendable (repeat each A) throws -> Void
  func call(_ arguments: repeat each A) throws { try body(repeat each arguments) }
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
  _ types: repeat (each A).Type, body: @escaping @Sendable (repeat each A) async throws -> R
) -> AsyncFunction<repeat each A, R> { AsyncFunction(body: body) }

@inline(never)
private func action<each A>(
  _ types: repeat (each A).Type, body: @escaping @Sendable (repeat each A) throws -> Void
) -> Action<repeat each A> { Action(body: body) }

@Suite struct ClosureLayoutTests {
  @Test func aLiteralThatCapturesNothingHasANullContext() {
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

    let thrower = words(action(Int.self) { if $0 < 0 { throw CancellationError() } })
    let throwing = unsafe unsafeBitCast(thrower, to: Action<Int>.self)
    try throwing.call(1)
    #expect(throws: CancellationError.self) { try throwing.call(-1) }
  }
}
