// SPDX-License-Identifier: Apache-2.0
internal import CIPC

/// The stack of the calling thread, for code that recurses as deep as a message is nested.
package enum CallStack {
  /// Whether so little is left that nothing may recurse further: a quarter of the thread's stack, and
  /// at most 64 KiB, which is room for the types that are coded, their errors and handlers of signals.
  ///
  /// The levels of a value that was read take more stack in the decoder than they take when the value
  /// is freed, so what could be read on a thread can be freed there.
  package static var isLow: Bool { isLow(beside: 0) }

  /// The same when so many bytes of stack will be wanted.
  package static func isLow(beside wanted: UInt) -> Bool {
    var size = 0
    let left = UInt(bitPattern: unsafe cipc_stack_left(&size))
    // Where nobody knows both are as large as can be.
    return left < min(1 << 16, UInt(bitPattern: size) / 4) + wanted
  }
}
