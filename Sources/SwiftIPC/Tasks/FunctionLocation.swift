// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// A function of the program, as another process of the same program understands it: its code, and
/// the context that the compiler gives it.
struct FunctionLocation: Hashable, Sendable {
  var code: ImageLocation
  /// `nil` for a function that needs nothing but its arguments.
  var context: FunctionContext?

  init(code: ImageLocation, context: FunctionContext?) {
    self.code = code
    self.context = context
  }

  /// - Throws: `notTransferable` for a context that cannot be sent; the text names the remedy.
  init(of words: ClosureWords, _ depth: Int = 0) throws(IPCError) {
    guard let function = unsafe words.function else {
      throw IPCError(.notTransferable, context: "the closure has no code")
    }
    code = try unsafe ImageLocation(of: function, "the closure")
    context = nil
    if let found = unsafe words.context {
      context = try unsafe FunctionContext(of: found, depth)
    }
  }

  /// The two words in this process. The caller owns one reference to the context.
  ///
  /// - Throws: `bootstrapFailed` when this process is not the same program.
  func resolve() throws(IPCError) -> ClosureWords {
    let function = try unsafe code.resolve("the closure")
    let object = try unsafe context?.make()
    return unsafe ClosureWords(function: function, context: UnsafeRawPointer(object))
  }
}

/// The two words of a closure.
@safe struct ClosureWords {
  var function: UnsafeRawPointer?
  var context: UnsafeRawPointer?
}
