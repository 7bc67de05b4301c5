// SPDX-License-Identifier: Apache-2.0
internal import MessageCoding

/// Something that `firstReady` waits for: a child until it has ended, a connection or queue until
/// there is something.
///
/// A type of your own that has a descriptor can be waited for too:
///
/// ```swift
/// struct Terminal: Waitable {
///   func readiness() -> Readiness {
///     var entry = pollfd(fd: 0, events: Int16(POLLIN), revents: 0)
///     return poll(&entry, 1, 0) > 0 ? .ready : .pending([.readable(0)])
///   }
/// }
/// let ready = try await firstReady(Terminal(), child)
/// ```
public protocol Waitable: Sendable {
  /// Looks whether this is ready, and where it is not, says what to wait for. Must not block.
  ///
  /// It is called again after each wake-up, which may have been for nothing, and may name other
  /// descriptors then. What makes it ready must show in one of those that it named last, also where
  /// another thread does it in this process; ready is also what has been closed, since a caller
  /// that uses it is told so at once.
  ///
  /// - Throws: where it can never be waited for; the wait then ends with this error.
  func readiness() throws(IPCError) -> Readiness
}
