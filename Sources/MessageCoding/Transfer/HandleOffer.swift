// SPDX-License-Identifier: Apache-2.0

/// The announcement that a handle is on its way, made when the handle was encoded: until the receiver
/// has it, or can no longer get it. An offer that ends without `complete` is taken back.
package protocol HandleOffer: Sendable, AnyObject {
  /// Ends also with the death of the participant given, who is to receive it.
  func handOn(to child: UInt64)
  /// Ends also when the descriptor, which is taken over on success, is at its end.
  func end(with descriptor: Int32) throws(IPCError)
  /// The message was sent.
  func complete()
}
